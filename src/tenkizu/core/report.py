"""A self-contained HTML page from parts that are escaped: text, tables, figures, sections.

The page holds its style sheet and its figures, refers to nothing outside itself and forbids the
browser to try. It follows the reader's light or dark scheme, a phone's width, and prints.
"""

import base64
import html
import io
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenkizu.core.errors import DataError

UNDEFINED = "n/a"
"""What tables show for a number that does not exist."""

_LARGE = 300_000
"""Bytes of a PNG above which it is re-encoded."""

_PNG = b"\x89PNG\r\n\x1a\n"

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --muted: #666; --paper: #fff; --line: #d8d8d8;
  --band: #f4f6f8; --accent: #2b6cb0; --warn: #9a4a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --muted: #a4a4a4; --paper: #16181b;
  --line: #3a3d42; --band: #202327; --accent: #7fb2ea; --warn: #f0a860; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; color: var(--ink);
  background: var(--paper); line-height: 1.5;
  font-family: system-ui, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.35rem; margin: 2.5rem 0 .5rem; padding-bottom: .2rem;
  border-bottom: 2px solid var(--line); }
h3 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0; max-width: 60rem; }
a { color: var(--accent); }
.muted, caption, figcaption { color: var(--muted); font-size: .9rem; }
.missing { color: var(--warn); font-style: italic; }
nav { background: var(--band); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem 1rem; margin: 1rem 0; }
nav ul { margin: 0; padding-left: 1.2rem; columns: 2 18rem; }
nav ul ul { columns: auto; }
nav li { break-inside: avoid; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { vertical-align: bottom; }
.number { text-align: right; }
tr.marked td { font-weight: 600; background: var(--band); }
figure { margin: 1rem 0; overflow-x: auto; }
figure img, video { display: block; width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: .3rem; }
pre { background: var(--band); border: 1px solid var(--line); border-radius: .4rem;
  padding: .7rem; overflow: auto; max-height: 32rem; font-size: .82rem; line-height: 1.4; }
@media (max-width: 45rem) { figure img, video { width: 46rem; max-width: none; } }
@media print { :root { --ink: #000; --paper: #fff; --muted: #444; --line: #bbb; --band: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  pre { max-height: none; white-space: pre-wrap; } figure, tr { break-inside: avoid; }
  .scroll, figure { overflow: visible; } h2, h3 { break-after: avoid; }
  figure img { width: 100%; max-height: 23cm; object-fit: contain; } }
"""


class Html(str):
    """Markup, which is not escaped again; made by the functions of this module."""

    __slots__ = ()


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number as it shall read; None and NaN are undefined."""
    if value is None or math.isnan(value):
        return UNDEFINED
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def element(name: str, *children: object, **attributes: object) -> Html:
    """One element; children and attribute values that are not `Html` are escaped.

    Args:
        name: of the tag.
        children: content, in order.
        attributes: without None; a trailing underscore is dropped, as in ``class_``.
    """
    named = "".join(
        f' {key.rstrip("_")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{named}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Children side by side; those that are not `Html` are escaped."""
    return Html("".join(c if isinstance(c, Html) else html.escape(str(c)) for c in children))


def paragraph(*children: object, muted: bool = False) -> Html:
    """A paragraph, in a quieter colour if ``muted``."""
    return element("p", *children, class_="muted" if muted else None)


def missing(text: str) -> Html:
    """Says that something is not there, and if possible why."""
    return element("p", text, class_="missing")


def preformatted(text: str) -> Html:
    """Text in fixed width, line by line."""
    return element("pre", text.rstrip("\n"))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    caption: str | None = None,
    marked: Collection[int] = (),
) -> Html:
    """A table that scrolls sideways where it is too wide.

    Args:
        columns: headings; may be empty.
        rows: cells as they shall read. Columns of numbers are set to the right.
        caption: said above it.
        marked: indices of rows to stress.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    count = max([len(columns), *map(len, texts)])
    numeric = [all(_is_number(row[i]) for row in texts if i < len(row)) for i in range(count)]

    def cells(tag: str, row: Sequence[str]) -> Iterator[Html]:
        for text, right in zip(row, numeric, strict=False):
            yield element(tag, text, class_="number" if right and texts else None)

    parts = [element("caption", caption)] if caption else []
    if columns:
        parts.append(element("thead", element("tr", *cells("th", columns))))
    body = [
        element("tr", *cells("td", row), class_="marked" if i in marked else None)
        for i, row in enumerate(texts)
    ]
    parts.append(element("tbody", *body))
    return element("div", element("table", *parts), class_="scroll")


def figure(path: str | Path, caption: str) -> Html:
    """A PNG file, embedded, with its caption.

    A large one is embedded as WebP without loss, which takes about half the bytes.

    Raises:
        DataError: the file cannot be read or is not a PNG.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path) from None
    if not data.startswith(_PNG):
        raise DataError("not a PNG picture", file=path, next_step="delete it and draw it again")
    kind = "png"
    if len(data) > _LARGE:
        kind, data = "webp", _as_webp(path)
    source = f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")
    picture = Html(f'<img src="{source}" alt="{html.escape(caption)}">')
    return element("figure", picture, element("figcaption", caption))


def film(path: str | Path, caption: str) -> Html:
    """A film, embedded: ``.mp4`` with controls, ``.gif`` as it runs.

    Raises:
        DataError: the file cannot be read.
    """
    path = Path(path)
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path) from None
    if path.suffix == ".gif":
        shown = f'<img src="data:image/gif;base64,{data}" alt="{html.escape(caption)}">'
    else:
        shown = f'<video controls src="data:video/mp4;base64,{data}"></video>'
    return element("figure", Html(shown), element("figcaption", caption))


def _as_webp(path: Path) -> bytes:
    """The picture as lossless WebP.

    Raises:
        DataError: it is damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture, io.BytesIO() as out:
            picture.convert("RGB").save(out, "WEBP", lossless=True, quality=60)
            return out.getvalue()
    except (OSError, SyntaxError) as error:
        raise DataError(f"cannot be read: {error}", file=path) from None


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading, listed in the table of contents.

    Attributes:
        title: the heading.
        parts: content, in order.
        sections: shown after the parts, one level down.
    """

    title: str
    parts: Sequence[Html]
    sections: Sequence["Section"] = field(default=())


def page(title: str, lead: Sequence[Html], sections: Sequence[Section], footer: str = "") -> str:
    """A whole HTML document.

    Args:
        title: of the page and of the browser's tab.
        lead: what stands above the table of contents.
        sections: the body.
        footer: the last line.
    """
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    head = join(
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'),
        element("title", title),
        element("style", Html(_STYLE)),
    )
    body = join(
        element("h1", title),
        *lead,
        element("nav", element("strong", "Contents"), _contents(sections, "s")) if sections else "",
        element("main", *(_section(s, f"s{i}", 2) for i, s in enumerate(sections, 1))),
        element("footer", paragraph(footer, muted=True)) if footer else "",
    )
    document = element("html", element("head", head), element("body", body), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _contents(sections: Sequence[Section], prefix: str) -> Html:
    """Nested list of links to the sections."""
    entries = []
    for i, section in enumerate(sections, 1):
        anchor = f"{prefix}{i}"
        link = element("a", section.title, href=f"#{anchor}")
        below = _contents(section.sections, f"{anchor}-") if section.sections else ""
        entries.append(element("li", link, below))
    return element("ul", *entries)


def _section(section: Section, anchor: str, level: int) -> Html:
    """A section with all below it."""
    below = (
        _section(s, f"{anchor}-{i}", min(level + 1, 6)) for i, s in enumerate(section.sections, 1)
    )
    heading = element(f"h{level}", section.title)
    return element("section", heading, *section.parts, *below, id=anchor)


def _is_number(text: str) -> bool:
    """Whether a cell reads as a number, perhaps with sign, separators, unit ``%`` or interval."""
    return text in ("", UNDEFINED) or bool(
        re.fullmatch(r"[+\-\N{MINUS SIGN}]?[\d,]*\.?\d+(e[+-]?\d+)?( ?%)?( [(\[].*[)\]])?", text)
    )
