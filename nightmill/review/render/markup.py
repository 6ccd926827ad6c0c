"""Text as HTML: every character that a notebook may hold, made harmless and visible.

All rooms of the renderer write text through `escape` and nothing else.
"""

from __future__ import annotations

from html import escape as escape_html
from itertools import chain

from nightmill.spec.executed import valid_unicode

_PICTURES = 0x2400  # where Unicode has signs that stand for control characters
_KEPT = "\t\n"
_CONTROLS = {code: chr(_PICTURES + code) for code in range(0x20) if chr(code) not in _KEPT}
_CONTROLS |= {0x7F: "\u2421"} | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
_REORDERING = tuple(map(chr, chain(range(0x202A, 0x202F), range(0x2066, 0x206A))))


def escape(text: str) -> str:
    """Return text for the content of an element or of a quoted attribute; no control acts."""
    return escape_html(visible(text))


def visible(text: str) -> str:
    """Return text with a sign in place of each control character and lone surrogate."""
    return valid_unicode(text).translate(_CONTROLS)


def show_reordering(html: str) -> str:
    """Show in source code the characters that make it read differently from what it does."""
    for character in _REORDERING:
        if character in html:
            mark = f'<span class="control">U+{ord(character):04X}</span>'
            html = html.replace(character, mark)
    return html


def shortened(text: str, most: int) -> str:
    """Cut text to so many characters, and show that it was."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def note(text: str) -> str:
    """Say something about the page, in the page's own voice."""
    return f'<p class="note">{escape(text)}</p>'


def link(address: str, text: str) -> str:
    """Lead to an address of the page's own server, in a tab of its own."""
    return f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(text)}</a>'


def words(text: str) -> frozenset[str]:
    """Return the names of a list written as prose."""
    return frozenset(text.split())
