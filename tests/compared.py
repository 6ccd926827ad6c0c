"""Executed notebooks and records that two attempts may have left, made by hand for comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nightmill.review.compare.compare import Side
from nightmill.review.compare.contents import Cell, read_cells
from nightmill.spec.record import AttemptState, Record
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK, RECORD

STARTED = datetime(2026, 11, 26, 2, 30, tzinfo=UTC)


def code(
    source: str, *outputs: Mapping[str, Any], cell: str | None = None, number: int | None = None
) -> dict[str, Any]:
    """Make a code cell; `cell` is its id."""
    mine = {"nightmill": {"number": number, "title": ""}} if number else {}
    made = {"cell_type": "code", "metadata": mine, "source": source, "outputs": list(outputs)}
    return made | ({"id": cell} if cell else {})


def markdown(source: str, *, cell: str | None = None) -> dict[str, Any]:
    """Make a text cell."""
    made = {"cell_type": "markdown", "metadata": {}, "source": source}
    return made | ({"id": cell} if cell else {})


def shown(**data: Any) -> dict[str, Any]:
    """Make the output of a cell's last line; text_html becomes text/html."""
    bundle = {name.replace("_", "/", 1): value for name, value in data.items()}
    return {"output_type": "execute_result", "data": bundle, "metadata": {}, "execution_count": 1}


def data(mime: str, value: Any) -> dict[str, Any]:
    """Make an output of one type."""
    return {"output_type": "display_data", "data": {mime: value}, "metadata": {}}


def printed(text: str, name: str = "stdout") -> dict[str, Any]:
    """Make what a cell printed."""
    return {"output_type": "stream", "name": name, "text": text}


def error(ename: str, evalue: str, *traceback: str) -> dict[str, Any]:
    """Make the error that ended a cell."""
    known = {"ename": ename, "evalue": evalue, "traceback": list(traceback)}
    return {"output_type": "error"} | known


def notebook(*cells: Mapping[str, Any]) -> bytes:
    """Write an executed notebook."""
    whole = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole).encode()


def cells_of(*cells: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Read the cells of a notebook as a comparison does."""
    found = read_cells(notebook(*cells))
    assert found is not None
    return found


def record(**facts: Any) -> Record:
    """Make the record of a good attempt."""
    usual = {
        "pipeline": "flights",
        "step": "score",
        "partition": "2013-01-01",
        "as_of": "2013-01-01",
        "run": "run-1",
        "order": 1,
        "attempt": 1,
        "state": AttemptState.SUCCEEDED,
        "committed": True,
        "started_at": STARTED,
        "ended_at": STARTED,
        "nightmill": "0.1.0",
        "host": "node",
        "store": "s3://bucket",
        "parameters": {},
    }
    return Record(**{**usual, **facts})


def side(notebook_cells: Sequence[Mapping[str, Any]] = (), /, **facts: Any) -> Side:
    """Make one side of a comparison."""
    return Side(record(**facts), cells_of(*notebook_cells))


def leave(
    store: Store, notebook_bytes: bytes | None, *, is_noted: bool = True, **facts: Any
) -> str:
    """Leave in a store what an attempt does, noted in the index or not; return its prefix."""
    made = record(notebook=None if notebook_bytes is None else "noted", **facts)
    prefix = prefix_of(made)
    if notebook_bytes is not None:
        store.write(f"{prefix}/{NOTEBOOK}", notebook_bytes)
    store.write(f"{prefix}/{RECORD}", made.to_json())
    if is_noted:
        note(store, made)
    return prefix
