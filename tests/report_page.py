"""A report as its reader meets it, and a figure that a run may have drawn."""

import base64
from html.parser import HTMLParser

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel, which stands for figures that a run has drawn."""


class Page(HTMLParser):
    """What a reader of the page meets."""

    def __init__(self, path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.headings, self.texts, self.figures, self.links = [], [], [], []
        self.missing, self.rows = [], []
        self.tag, self.kind = "", None
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found[key] for key in ("src", "href") if key in found]
        if tag == "img":
            self.figures.append(found["alt"])
        else:
            self.tag, self.kind = tag, found.get("class")
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self.tag in ("h2", "h3"):
            self.headings.append(data)
        elif self.tag in ("td", "th"):
            self.rows[-1].append(data)
        elif self.kind == "missing":
            self.missing.append(data)
        self.texts.append(data)
        self.tag = self.kind = None

    @property
    def text(self):
        return " ".join(self.texts)
