"""Formulas as MathML, which browsers draw without any script.

What the converter makes is not trusted: it passes links and styles on, and its own text holds
markup. So its tree is written anew with elements and attributes of a list. A formula that it does
not understand is None, and its source is shown: half a formula is worse than its TeX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

from nightmill.review.render.markup import escape, words

_MOST_CHARS = 2000
_DEEPEST = 60
_CHILDREN = {  # a browser draws an element with more or fewer as an error
    "mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "mroot": 2,
    "msubsup": 3, "munderover": 3,
}  # fmt: skip
_ELEMENTS = words(
    "math mrow mi mn mo ms mtext mspace msqrt mstyle mmultiscripts mprescripts none mtable mtr "
    "mtd mpadded mphantom menclose"
) | frozenset(_CHILDREN)
_ATTRIBUTES = words(
    "display displaystyle mathvariant stretchy fence form accent accentunder columnalign "
    "rowspacing columnspacing columnlines rowlines linethickness lspace rspace minsize maxsize "
    "notation movablelimits separator largeop symmetric width scriptlevel"
)
_VALUE = re.compile(r"-?[a-z0-9. ]{0,40}", re.ASCII)
_HUGE = re.compile(r"\d{3}")  # a length that would cover the page
_NAMES = frozenset(("mi", "mo", "mn"))


class _NotUnderstoodError(Exception):
    """The converter has left something as it was."""


@lru_cache(maxsize=2048)
def mathml(tex: str, *, block: bool) -> str | None:
    """Return a formula as MathML, None for one that is not understood."""
    if len(tex) > _MOST_CHARS or not tex.strip():
        return None
    try:
        tree = convert_to_element(tex, display="block" if block else "inline")
        return "".join(_written(tree, 0))
    except Exception:  # noqa: BLE001 - the converter raises whatever it meets, for odd TeX
        return None


def _written(element: Element, depth: int) -> Iterator[str]:
    name = element.tag
    if depth > _DEEPEST or name not in _ELEMENTS:
        raise _NotUnderstoodError
    if len(element) != _CHILDREN.get(name, len(element)):
        raise _NotUnderstoodError
    yield f"<{name}{''.join(_attributes(element))}>"
    yield escape(_text(element))
    for child in element:
        yield from _written(child, depth + 1)
    yield f"</{name}>"


def _text(element: Element) -> str:
    text = unescape(element.text or "")  # it writes signs as references
    if element.tag in _NAMES and text.startswith("\\"):
        raise _NotUnderstoodError
    return text


def _attributes(element: Element) -> Iterator[str]:
    for name, value in element.attrib.items():
        if name in _ATTRIBUTES and _VALUE.fullmatch(value) and not _HUGE.search(value):
            yield f' {name}="{value}"'
