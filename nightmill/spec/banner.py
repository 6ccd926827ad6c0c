"""The two text cells that lead a reader of an executed notebook to the place where it ended.

They bear papermill's tag and anchor, so that papermill takes them away before another run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nightmill.spec.executed import Notebook, end_of, place_of_end
from nightmill.spec.words import one_line

_TAG = "papermill-error-cell-tag"
_ANCHOR = "papermill-error-cell"
_STYLE = "color:red; font-family:Helvetica Neue, Helvetica, Arial, sans-serif;"
_WITH_IDS = 5  # the minor version of nbformat 4 in which cells got them

TextCell = dict[str, Any]


def text_cells(what: str, cell: int | None, minor_version: int) -> tuple[TextCell, TextCell]:
    """Return the cell for the top and the one for the place; `cell` is its author's number."""
    place = "" if cell is None else f' in <a href="#{_ANCHOR}">cell {cell}</a>'
    said = escape(one_line(what))
    top = f'<span style="{_STYLE} font-size:1.5em;">Did not run to its end{place}: {said}</span>'
    anchor = f'<span id="{_ANCHOR}" style="{_STYLE}">It ended here:</span>'
    return _text_cell("top", top, minor_version), _text_cell("end", anchor, minor_version)


def lead(notebook: Notebook, what: str) -> dict[str, Any]:
    """Return the notebook with cells that lead to its end, in place of those it had."""
    end, place = end_of(notebook), place_of_end(notebook)
    minor = notebook.get("nbformat_minor")
    version = minor if isinstance(minor, int) else 0
    top, anchor = text_cells(what, end.number if end else None, version)
    return {**notebook, "cells": [top, *_led(notebook["cells"], place, anchor)]}


def _led(cells: list[Any], place: int | None, anchor: TextCell) -> Iterator[Any]:
    for position, cell in enumerate(cells):
        if position == place:
            yield anchor
        if not _is_ours(cell):
            yield cell


def _is_ours(cell: object) -> bool:
    metadata = cell.get("metadata") if isinstance(cell, Mapping) else None
    tags = metadata.get("tags") if isinstance(metadata, Mapping) else None
    return isinstance(tags, list) and _TAG in tags


def _text_cell(name: str, text: str, minor_version: int) -> TextCell:
    identity = {"id": f"nightmill-{name}"} if minor_version >= _WITH_IDS else {}
    return {**identity, "cell_type": "markdown", "metadata": {"tags": [_TAG]}, "source": text}
