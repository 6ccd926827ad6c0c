"""Styles of a notebook's HTML: colours of tables pass, whatever could cover or load does not.

Default deny, written anew from parts that were each recognized: a property of the list, a value of
letters, numbers and the functions of the list, a selector of plain names. Names get a prefix, so
that no style and no id of a notebook can mean an element of the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nightmill.review.render.markup import words

PREFIX = "u-"
"""Before every class and id that comes from a notebook."""

_PROPERTIES = words(
    "color background background-color background-image font-weight font-style font-size "
    "font-family font-variant text-align text-decoration text-transform vertical-align "
    "white-space word-break overflow-wrap line-height letter-spacing padding padding-top "
    "padding-right padding-bottom padding-left border border-top border-right border-bottom "
    "border-left border-color border-style border-width border-collapse border-spacing "
    "border-radius border-top-color border-bottom-color border-left-color border-right-color "
    "border-top-style border-bottom-style border-top-width border-bottom-width width min-width "
    "max-width height max-height caption-side table-layout list-style-type"
)
_FUNCTIONS = frozenset(
    ("rgb", "rgba", "hsl", "hsla", "linear-gradient", "repeating-linear-gradient")
)
_VALUE = re.compile(r"[\w\s#%.,()+\-/]{1,300}", re.ASCII)  # no quotes, colons, stars, backslashes
_FUNCTION = re.compile(r"([\w-]*)\(", re.ASCII)
_NEGATIVE = re.compile(r"(?<![\w#-])-\d")  # what pulls a thing out of its place
_COMPOUND = re.compile(
    r"(?:[a-z][a-z0-9]{0,20})?"
    r"(?:[.#][a-zA-Z_][\w-]{0,100}|:hover|:first-child|:last-child|:nth-child\((?:odd|even|\d{1,4})\))*",
    re.ASCII,
)
_NAME = re.compile(r"[a-zA-Z_][\w-]{0,100}", re.ASCII)
_IDENTITY = re.compile(r"\S{1,200}")
_NAMED = re.compile(r"([.#])(?=[a-zA-Z_])")
_MOST_RULES = 20_000


def declarations(text: str) -> str:
    """Return of a style attribute, or of a rule's body, what may pass; empty for nothing."""
    kept = []
    for one in text[:10_000].split(";"):
        name, _, value = one.partition(":")
        name, value = name.strip().lower(), value.strip()
        value = value.lower().removesuffix("!important").rstrip(" !")
        if name in _PROPERTIES and _is_harmless(value):
            kept.append(f"{name}:{value}")
    return ";".join(kept)


def scoped(sheet: str, scope: str) -> str:
    """Return the rules of a style sheet that may pass, for what is inside the element `#scope`."""
    return "\n".join(_rules(sheet, scope))


def classes(text: str) -> str:
    """Return classes under names that nothing of the page has."""
    kept = (one for one in text[:2000].split() if _NAME.fullmatch(one))
    return " ".join(PREFIX + one for one in kept)


def identity(text: str) -> str:
    """Return an id under a name that nothing of the page has; empty for what is none."""
    return PREFIX + text if _IDENTITY.fullmatch(text) else ""


def _rules(sheet: str, scope: str) -> Iterator[str]:
    for rule in sheet.split("}", _MOST_RULES)[:_MOST_RULES]:
        selectors, brace, body = rule.partition("{")
        kept = declarations(body) if brace and "{" not in body else ""
        found = [_selector(one) for one in selectors.split(",")] if kept else []
        if found and all(found):
            yield ",".join(f"#{scope} {one}" for one in found) + "{" + kept + "}"


def _selector(text: str) -> str:
    parts = text.replace(">", " > ").split()
    if not parts or len(parts) > 12 or not all(map(_is_part, parts)):  # noqa: PLR2004 - deeper than any table's
        return ""
    return " ".join(_NAMED.sub(rf"\1{PREFIX}", one) for one in parts)


def _is_part(text: str) -> bool:
    return text == ">" or _COMPOUND.fullmatch(text) is not None


def _is_harmless(value: str) -> bool:
    return (
        _VALUE.fullmatch(value) is not None
        and _NEGATIVE.search(value) is None
        and _FUNCTIONS.issuperset(_FUNCTION.findall(value))
    )
