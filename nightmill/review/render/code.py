"""Source code in colours, by the language of the kernel or of a cell's own magic."""

from __future__ import annotations

from functools import lru_cache

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name

from nightmill.review.render.markup import escape, show_reordering, visible

_LEXERS = {  # only what was tried: some lexers take quadratic time for hostile text
    "python": "python", "ipython": "python", "python3": "python", "r": "r", "ir": "r",
    "julia": "julia", "bash": "bash", "sh": "bash", "sql": "sql", "javascript": "javascript",
    "js": "javascript",
}  # fmt: skip
_FORMATTER = HtmlFormatter(nowrap=True, classprefix="p-")


def coloured(source: str, language: str, most_chars: int) -> str:
    """Return source code as HTML; text in a language unknown, or longer, has no colours."""
    magic, rest = _split(source)
    lexer = _lexer(magic or language)
    if lexer is None or len(source) > most_chars:
        return show_reordering(escape(source))
    first = source[: len(source) - len(rest)]
    text = highlight(rest, lexer, _FORMATTER).removesuffix("\n")
    return show_reordering(escape(first) + visible(text))


def _split(source: str) -> tuple[str, str]:
    """Return the language that a cell's magic names, and what is below the magic."""
    if not source.startswith("%%"):
        return "", source
    line, end, rest = source.partition("\n")
    name = line[2:].split(" ", 1)[0].lower()
    return (name, rest) if name in _LEXERS and end else ("", source)


@lru_cache(maxsize=32)
def _lexer(language: str) -> Lexer | None:
    name = _LEXERS.get(language.lower())
    return get_lexer_by_name(name, stripnl=False, ensurenl=False) if name else None
