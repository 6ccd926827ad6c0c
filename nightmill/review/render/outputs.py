"""The outputs of one cell, each within its bounds, with addresses of what is too large for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from nightmill.review.render import ansi
from nightmill.review.render.cells import Cell
from nightmill.review.render.displays import Place, display
from nightmill.review.render.markup import escape, note, shortened
from nightmill.review.render.page import NotebookPage
from nightmill.review.render.texts import preformatted, traceback
from nightmill.review.render.widgets import Widgets
from nightmill.spec.executed import text_of

_DISPLAYS = ("execute_result", "display_data", "update_display_data", "pyout")
_ERRORS = ("error", "pyerr")
_MOST_TOLD = 500  # characters of an error's value, where it is told in one line


@dataclass(frozen=True)
class Error:
    """The name, value and traceback of an error that an output shows."""

    name: str
    value: str
    traceback: str

    @property
    def told(self) -> str:
        """What it says, in one paragraph."""
        said = shortened(ansi.plain(self.value).strip(), _MOST_TOLD)
        return f"{self.name}: {said}" if said else self.name


def error_of(output: Mapping[str, Any]) -> Error:
    """Read an error output as far as it is one."""
    lines = output.get("traceback")
    shown = lines if isinstance(lines, list) else [text_of(lines)]
    text = "\n".join(map(text_of, shown))
    name = shortened(text_of(output.get("ename")), 200) or "Error"
    return Error(name, text_of(output.get("evalue")), text)


def whole_text(output: Mapping[str, Any]) -> str:
    """Return the whole text of a stream or of an error."""
    if output.get("output_type") in _ERRORS:
        error = error_of(output)
        return error.traceback or error.told
    return text_of(output.get("text"))


def show(cell: Cell, page: NotebookPage, widgets: Widgets) -> Iterator[str]:
    """Return each output of a cell as HTML."""
    for index, output in _together(cell.outputs[: page.limits.outputs], page.limits.text_chars):
        place = _place(cell, index, page, widgets)
        if isinstance(output, Mapping):
            yield _output(output, place)
        else:
            yield note("An output that is no object: the notebook is damaged here.")
    if (more := len(cell.outputs) - page.limits.outputs) > 0:
        yield note(f"{more:,} more outputs are left out here: download the notebook to see them.")


def _together(outputs: Sequence[Any], most_chars: int) -> Iterator[tuple[int, Any]]:
    """Join short pieces of the same stream: a progress bar writes over what it wrote before."""
    for name, same in groupby(enumerate(outputs), key=lambda one: _stream_name(one[1])):
        pieces = list(same)
        texts = [text_of(one.get("text")) for _, one in pieces] if name else []
        if len(texts) > 1 and sum(map(len, texts)) <= most_chars:
            yield pieces[0][0], {**pieces[0][1], "text": "".join(texts)}
        else:
            yield from pieces


def _stream_name(output: object) -> str:
    if not isinstance(output, Mapping) or output.get("output_type") != "stream":
        return ""
    return text_of(output.get("name"))


def _place(cell: Cell, index: int, page: NotebookPage, widgets: Widgets) -> Place:
    address: Callable[[str], str] | None = None
    if page.asset is not None:
        address = partial(page.asset, cell.index, index)
    name = f"output-{cell.index}-{index}"
    words = f"output of {cell.name[0].lower()}{cell.name[1:]}"
    return Place(name, words, address, page.limits, widgets)


def _output(output: Mapping[str, Any], place: Place) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        return _stream(output, place)
    if kind in _ERRORS:
        return _error(output, place)
    if kind in _DISPLAYS or "data" in output:
        return _display(output, place)
    told = note(f"An output of an unknown type: {shortened(text_of(kind), 80) or 'none'}.")
    text = text_of(output.get("text"))
    return told + (preformatted(text, place.amounts()) if text else "")


def _stream(output: Mapping[str, Any], place: Place) -> str:
    text = text_of(output.get("text"))
    if not text:
        return ""
    is_error = output.get("name") == "stderr"
    label = '<p class="label">stderr</p>' if is_error else ""
    kind = "stderr" if is_error else "stdout"
    return f'<div class="out {kind}">{label}{preformatted(text, place.amounts())}</div>'


def _error(output: Mapping[str, Any], place: Place) -> str:
    error = error_of(output)
    text = error.traceback
    shown = traceback(text, place.amounts()) if text.strip() else ""
    told = "" if shown and error.name in text else f'<p class="told">{escape(error.told)}</p>'
    return f'<div class="out error">{told}{shown}</div>'


def _display(output: Mapping[str, Any], place: Place) -> str:
    bundle = output.get("data")
    if not isinstance(bundle, Mapping):
        return note("An output without data: the notebook is damaged here.")
    shown = display(bundle, place)
    return f'<div class="out display">{shown}</div>' if shown else ""
