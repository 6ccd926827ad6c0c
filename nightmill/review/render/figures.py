"""Outputs that would need scripts: what they are, and what can be said of them without any.

A figure without a picture of its own is told by its title and its parts, so that a reviewer knows
what is missing. Nothing in its JSON is trusted to have the form that its type promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from nightmill.review.render.markup import escape, shortened
from nightmill.spec.executed import part, text_of

REPLAY = "nightmill replay RUN --open"
"""The command that opens a copy of the notebook where scripts run."""

_KINDS = (  # beginning of the type, what people call it
    ("application/vnd.plotly.", "interactive Plotly figure"),
    ("application/vnd.vegalite.", "interactive Vega-Lite figure"),
    ("application/vnd.vega.", "interactive Vega figure"),
    ("application/vnd.bokehjs_load.", "script that loads Bokeh"),
    ("application/vnd.bokehjs_exec.", "interactive Bokeh figure"),
    ("application/vnd.holoviews_load.", "script that loads HoloViews"),
    ("application/vnd.holoviews_exec.", "interactive HoloViews figure"),
    ("application/javascript", "script"),
    ("text/javascript", "script"),
    ("application/ecmascript", "script"),
)
_MOST_PARTS = 12


def kind_of(types: Sequence[str]) -> str:
    """Return what people call an output with one of these types; empty for none that acts."""
    return next((told for begin, told in _KINDS if any(map(_begins(begin), types))), "")


def told(kind: str) -> str:
    """Say in one line what is not running here, and where it would."""
    opened = "" if kind.startswith("script") else f": open it with <code>{REPLAY}</code>"
    return f'<p class="note what">{kind[0].upper()}{kind[1:]}, which does not run here{opened}.</p>'


def summary(bundle: Mapping[str, Any]) -> str:
    """Return what is in a figure that brought no picture along; empty for one of other kinds."""
    facts = list(_facts(bundle))
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts if text
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def _begins(begin: str) -> Any:
    return lambda one: one.startswith(begin)


def _facts(bundle: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind, value in bundle.items():
        if kind.startswith("application/vnd.plotly.") and isinstance(value, dict):
            yield from _plotly(value)
        elif kind.startswith(("application/vnd.vegalite.", "application/vnd.vega.")):
            yield from _vega(value if isinstance(value, dict) else {})


def _plotly(figure: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    layout = part(figure, "layout")
    yield "title", _title(layout.get("title"))
    for axis in ("xaxis", "yaxis"):
        yield f"{axis[0]} axis", _title(part(layout, axis).get("title"))
    traces = figure.get("data")
    found = (
        [one for one in islice(traces, _MOST_PARTS) if isinstance(one, dict)]
        if isinstance(traces, list)
        else []
    )
    yield "traces", ", ".join(filter(None, map(_trace, found)))


def _trace(trace: Mapping[str, Any]) -> str:
    name, kind = _text(trace.get("name")), _text(trace.get("type")) or "scatter"
    return f"{name} ({kind})" if name else kind


def _vega(figure: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "title", _title(figure.get("title"))
    mark = figure.get("mark")
    yield "mark", _text(mark.get("type") if isinstance(mark, dict) else mark)
    for channel, what in islice(part(figure, "encoding").items(), _MOST_PARTS):
        yield _text(channel), _text(what.get("field")) if isinstance(what, dict) else ""
    for many in ("layer", "hconcat", "vconcat", "concat", "marks"):
        parts = figure.get(many)
        yield many, str(len(parts)) if isinstance(parts, list) else ""


def _title(title: object) -> str:
    return _text(title.get("text") if isinstance(title, dict) else title)


def _text(value: object) -> str:
    return shortened(text_of(value), 200)
