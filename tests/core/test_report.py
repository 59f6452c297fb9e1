import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tenkizu.core.errors import DataError
from tenkizu.core.report import (
    Section,
    element,
    figure,
    join,
    missing,
    page,
    paragraph,
    preformatted,
    table,
)

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects tags, links, ids and text, and checks that every tag is closed in its turn."""

    def __init__(self, document):
        super().__init__()
        self.open, self.tags, self.text, self.ids, self.links = [], [], [], [], []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.links += [attributes[k] for k in ("src", "href") if k in attributes]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.text.append(data.strip())


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "p.png"
    Figure((1, 1)).savefig(path)
    return path


def test_everything_a_file_or_user_may_name_is_escaped(picture):
    nasty = '<script>alert("1")</script> & co'
    document = page(
        nasty,
        [paragraph(nasty, muted=True), missing(nasty)],
        [
            Section(
                nasty,
                [
                    table([nasty], [[nasty]], nasty),
                    preformatted(nasty),
                    figure(picture, nasty),
                    element("p", nasty, title=nasty),
                ],
            )
        ],
        nasty,
    )
    assert "<script" not in document
    read = Reader(document)
    # Read back, all texts are what was given.
    assert set(read.text) - {"Contents"} - {t for t in read.text if ":root" in t} == {nasty}
    assert ("p", {"title": nasty}) in read.tags
    assert next(a["alt"] for tag, a in read.tags if tag == "img") == nasty


def test_a_page_refers_to_nothing_outside_itself(picture):
    document = page("Run", [], [Section("Maps", [figure(picture, "a map")])])
    read = Reader(document)
    assert read.links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in read.links)
    assert {tag for tag, _ in read.tags}.isdisjoint({"link", "script", "iframe"})
    assert "url(" not in document
    assert "@import" not in document
    policy = next(a for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_every_section_is_in_the_contents_and_every_link_leads_to_one():
    sections = [
        Section(
            "One", [paragraph("a")], [Section("One a", [paragraph("b")]), Section("One b", [])]
        ),
        Section("Two", []),
    ]
    read = Reader(page("T", [], sections))
    assert sorted(link.removeprefix("#") for link in read.links) == sorted(read.ids)
    assert len(set(read.ids)) == 4
    levels = [tag for tag, _ in read.tags if tag in ("h1", "h2", "h3")]
    assert levels == ["h1", "h2", "h3", "h3", "h2"]


def test_a_page_without_sections_has_no_contents():
    assert "Contents" not in page("Empty", [paragraph("nothing")], [])


def test_columns_of_numbers_stand_to_the_right_and_words_to_the_left():
    rows = [
        ["model", "0.5 (0.4 to 0.6)", "1,234", "\N{MINUS SIGN}0.01", "2 mm"],
        ["equal", "n/a", "7", "+1e-07", "3 mm"],
    ]
    read = Reader(table(("method", "skill", "cells", "gain", "rain"), rows, marked=[1]))
    right = [a.get("class") == "number" for tag, a in read.tags if tag == "td"]
    assert right == [False, True, True, True, False] * 2
    marked = [a.get("class") for tag, a in read.tags if tag == "tr"]
    assert marked == [None, None, "marked"]


def test_markup_is_not_escaped_twice():
    assert join("a < b, ", element("b", "c & d")) == "a &lt; b, <b>c &amp; d</b>"


def test_a_picture_that_is_not_a_png_is_refused(tmp_path):
    wrong = tmp_path / "p.png"
    with pytest.raises(DataError, match=r"p\.png: cannot be read"):
        figure(wrong, "c")
    wrong.write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"p\.png: not a PNG"):
        figure(wrong, "c")


def test_pages_suit_phones_dark_rooms_and_paper():
    document = page("T", [], [])
    for what in ("width=device-width", "prefers-color-scheme: dark", "@media print"):
        assert what in document
    assert document.startswith("<!DOCTYPE html>")
    assert '<meta charset="utf-8">' in document


def test_a_large_picture_is_embedded_without_loss_in_fewer_bytes(tmp_path):
    rows, columns = np.mgrid[:700, :900]
    noise = np.random.default_rng(0).integers(0, 24, rows.shape)
    pixels = np.stack([rows // 3 % 256, columns // 4 % 256, noise], axis=-1).astype(np.uint8)
    path = tmp_path / "large.png"
    Image.fromarray(pixels).save(path)
    markup = figure(path, "a map")
    kind, data = re.search(r'src="data:image/(\w+);base64,([^"]+)"', markup).groups()
    assert kind == "webp"
    held = base64.b64decode(data)
    assert len(held) < path.stat().st_size
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(held))), pixels)


def test_a_large_damaged_picture_is_refused(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(400_000))
    with pytest.raises(DataError, match=r"large\.png: cannot be read"):
        figure(path, "a map")
