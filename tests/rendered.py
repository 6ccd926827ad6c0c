"""Reads a rendered notebook as a browser would, and tells whether anything in it could act."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from nightmill.review.render import NotebookPage, render

_VOID = {"br", "col", "hr", "img", "meta", "wbr"}
_SILENT = {"style", "title"}
_INLINE = {"a", "b", "code", "em", "i", "s", "span", "strong"}  # what no space stands around
_DOCUMENT = "html head body meta title style main header section nav h1 div p span details summary"
_TEXT = (
    "h2 h3 h4 h5 h6 a strong b em i u s del ins mark small sub sup code pre kbd samp var q cite "
    "abbr dfn time img figure figcaption ul ol li dl dt dd hr br wbr blockquote center progress "
    "ruby rt rp bdi bdo strike tt table caption colgroup col thead tbody tfoot tr th td"
)
_MATH = (
    "math mrow mi mn mo ms mtext mspace msqrt mstyle mfrac msub msup munder mover mroot msubsup "
    "munderover mmultiscripts mprescripts none mtable mtr mtd mpadded mphantom menclose"
)
_ALLOWED = {tag for group in (_DOCUMENT, _TEXT, _MATH) for tag in group.split()}
_LINK = re.compile(r"https?://|mailto:|#")
_LOADS = re.compile(r"url\(|@import|expression\(|image-set|position\s*:|behavior|-moz-binding")


@dataclass
class Element:
    """One element with its attributes."""

    tag: str
    attributes: dict[str, str]


@dataclass
class Page(HTMLParser):
    """What a reader sees of a page, and the elements it is made of."""

    html: str
    elements: list[Element] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        self._space(tag)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """Close an element; what is open stays in order."""
        self._space(tag)
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        """Note what is seen, and apart from it the styles."""
        inside = self._open[-1] if self._open else ""
        if inside == "style":
            self.sheets.append(data)
        elif inside not in _SILENT:
            self.words.append(data)

    def _space(self, tag: str) -> None:
        if tag not in _INLINE:
            self.words.append(" ")

    @property
    def text(self) -> str:
        """All that can be read, with single spaces."""
        return " ".join("".join(self.words).split())

    def find(self, tag: str, **attributes: str) -> list[Element]:
        """Find elements; `class_` is one of several."""
        return [one for one in self.elements if one.tag == tag and _has(one, attributes)]


def _has(element: Element, wanted: dict[str, str]) -> bool:
    classes = element.attributes.get("class", "").split()
    plain = {name: value for name, value in wanted.items() if name != "class_"}
    is_same = all(element.attributes.get(name) == value for name, value in plain.items())
    return is_same and ("class_" not in wanted or wanted["class_"] in classes)


def page_of(data: bytes, title: str = "a notebook", **facts: object) -> Page:
    """Render a notebook and read its page."""
    return Page("".join(render(data, NotebookPage(title=title, **facts))))


def check_inert(page: Page) -> None:
    """See that nothing in a page can act, load or be taken for a part of another page."""
    page.html.encode()
    assert {one.tag for one in page.elements} <= _ALLOWED
    for element in page.elements:
        for name, value in element.attributes.items():
            _check_attribute(element.tag, name, value)
    identities = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    own = [one for one in identities if not one.startswith("u-")]
    assert len(own) == len(set(own))
    assert not _LOADS.search("".join(page.sheets[1:])), "a style sheet of the notebook"
    assert len(page.find("h1")) == 1
    assert len(page.find("title")) == len(page.find("main")) == 1


def _check_attribute(tag: str, name: str, value: str) -> None:
    assert not name.startswith("on"), (tag, name)
    assert name not in {"srcdoc", "srcset", "action", "formaction", "background", "poster"}
    if name == "href":
        assert tag == "a"
        assert _LINK.match(value), value
    if name == "src":
        assert value.startswith("data:image/"), value
    if name == "style":
        assert not _LOADS.search(value), value
    if name == "target":
        assert value == "_blank"
    if name == "http-equiv":
        assert value == "Content-Security-Policy"
