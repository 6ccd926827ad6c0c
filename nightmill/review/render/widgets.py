"""Widgets of ipywidgets as what they said last: their values, read from the notebook's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nightmill.review.render.markup import escape, shortened
from nightmill.review.render.sanitize import clean
from nightmill.review.render.tree import leaf
from nightmill.spec.executed import part, text_of

VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
_REFERENCE = "IPY_MODEL_"
_DEEPEST = 6
_MOST = 100  # widgets in one output
_MOST_HTML = 100_000
_HTML = ("HTMLModel", "HTMLMathModel", "LabelModel")
_PROGRESS = ("FloatProgressModel", "IntProgressModel")


class Widgets:
    """The widgets of one notebook, as its metadata tell them."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        kept = part(part(metadata, "widgets"), _STATE)
        self._models = part(kept, "state")

    def view(self, value: object) -> str:
        """Return the widget that an output shows, empty where nothing is known of it."""
        name = value.get("model_id") if isinstance(value, Mapping) else None
        shown: list[str] = []
        for line in self._lines(name, 0):
            shown.append(line)
            if len(shown) >= _MOST:
                break
        return f'<div class="widget">{"".join(shown)}</div>' if shown else ""

    def _lines(self, name: object, depth: int) -> Iterator[str]:
        model = part(self._models, name) if isinstance(name, str) else {}
        state = part(model, "state")
        children = state.get("children")
        if isinstance(children, list) and depth < _DEEPEST:
            for child in children[:_MOST]:
                yield from self._lines(text_of(child).removeprefix(_REFERENCE), depth + 1)
        elif line := _line(text_of(model.get("model_name")), state):
            yield line


def _line(kind: str, state: Mapping[str, Any]) -> str:
    """Return one widget; layouts and styles are models too, and have nothing to say."""
    value = _value(kind, state)
    if not value:
        return ""
    named = escape(shortened(text_of(state.get("description")), 200))
    label = f'<span class="label">{named}</span> ' if named else ""
    return f"<div>{label}{value}</div>"


def _value(kind: str, state: Mapping[str, Any]) -> str:
    value = state.get("value", _chosen(state))
    if kind in _HTML:
        return clean(text_of(value)[:_MOST_HTML]).html
    if kind in _PROGRESS:
        return f"{leaf(value)} of {leaf(state.get('max', 100))}"
    if kind == "ButtonModel":
        return '<span class="soft">button</span>'
    if value is None or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return " to ".join(leaf(one) for one in value[:20])
    return leaf(value) + _bounds(state)


def _chosen(state: Mapping[str, Any]) -> Any:
    """Return the label that a selection shows: it keeps only the place of it."""
    labels, place = state.get("_options_labels"), state.get("index")
    if not isinstance(labels, list) or not isinstance(place, int):
        return None
    return labels[place] if 0 <= place < len(labels) else None


def _bounds(state: Mapping[str, Any]) -> str:
    low, high = state.get("min"), state.get("max")
    if low is None or high is None:
        return ""
    return f' <span class="soft">({leaf(low)} to {leaf(high)})</span>'
