"""JSON as a tree that folds, as far as a person would open it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nightmill.review.render.markup import escape, note, shortened
from nightmill.review.words import counted

_DEEPEST = 8
_MOST_ITEMS = 100  # of one object or array
_MOST_NODES = 1000
_LONGEST = 2000
_OPEN = 12  # items or fewer stand open at the top

_LEAVES: Mapping[type, str] = {bool: "bool", int: "number", float: "number", type(None): "null"}


class _Tree:
    def __init__(self) -> None:
        self.left = _MOST_NODES

    def node(self, value: Any, depth: int) -> str:
        self.left -= 1
        if not isinstance(value, dict | list):
            return leaf(value)
        what = "key" if isinstance(value, dict) else "item"
        if not value:
            return f'<span class="soft">no {what}s</span>'
        if depth >= _DEEPEST:
            return f'<span class="soft">{counted(len(value), what)}, nested too deeply</span>'
        is_open = " open" if depth == 0 and len(value) <= _OPEN else ""
        items = "".join(self._items(value, depth))
        summary = f"<summary>{counted(len(value), what)}</summary>"
        return f"<details{is_open}>{summary}<ul>{items}</ul></details>"

    def _items(self, value: dict[str, Any] | list[Any], depth: int) -> Iterator[str]:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for place, (key, item) in enumerate(pairs):
            if place >= _MOST_ITEMS or self.left <= 0:
                yield f'<li class="soft">{len(value) - place:,} more</li>'
                return
            name = escape(shortened(str(key), 200))
            yield f'<li><span class="j-key">{name}</span>: {self.node(item, depth + 1)}</li>'


def tree(value: Any) -> str:
    """Return JSON as a tree; what is beyond its bounds is counted."""
    return f'<div class="tree">{_Tree().node(value, 0)}</div>'


def leaf(value: Any) -> str:
    """Return text, a number, a truth value or null as HTML."""
    kind = _LEAVES.get(type(value), "string")
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):  # an integer of thousands of digits
        return note("a value that cannot be shown")
    return f'<span class="j-{kind}" dir="auto">{escape(shortened(text, _LONGEST))}</span>'
