"""An interactive copy of a replayed notebook: what ran, with the run's values filled in.

The cells are the author's own, with the outputs of the run as far as they were kept. The values
stand in a cell of their own behind the `parameters` cell, tagged as papermill tags it: the defaults
stay readable, and another run of papermill over the copy replaces that cell and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightmill.replay.stage import Replay
from nightmill.spec import executed
from nightmill.spec.notebook import to_ipynb
from nightmill.spec.parameters import python_literal
from nightmill.spec.step_values import Address, step_values
from nightmill.step import staging
from nightmill.step.outputs import DeclaredOutput
from nightmill.store.inputs import resolve_inputs
from nightmill.store.keys import NOTEBOOK

_INJECTED = "injected-parameters"
_IDS_SINCE = 5  # minor version of nbformat 4


@dataclass(frozen=True)
class InteractiveCopy:
    """A notebook to be opened, and the id of the cell to open it at: empty for its top."""

    path: Path
    cell_id: str = ""


def write_copy(replay: Replay) -> InteractiveCopy:
    """Write the copy beside the notebook and its modules in the replay's folder.

    Raises StoreError where the executed notebook cannot be read.
    """
    source = replay.code.pipeline.notebook(replay.original.step)
    notebook = to_ipynb(source)
    cells = [_with_id(cell, number) for number, cell in enumerate(notebook["cells"], start=1)]
    failure = replay.original.failure
    at = failure.cell if failure else None
    cell_id = str(cells[at - 1]["id"]) if at is not None and at <= len(cells) else ""
    _add_outputs(cells, replay)
    tagged = replay.contract.cell
    if tagged is not None:
        cells.insert(tagged, _values_cell(replay))
    kernel = replay.kernel.kernel
    spec = {"name": kernel.name, "display_name": kernel.display_name, "language": "python"}
    copy = {
        **notebook,
        "cells": cells,
        "metadata": {**notebook.get("metadata", {}), "kernelspec": spec},
        "nbformat_minor": max(notebook.get("nbformat_minor", 0), _IDS_SINCE),
    }
    path = source.with_name(f"{source.stem}-{replay.original.run}.ipynb")
    path.write_bytes(executed.notebook_bytes(copy))
    return InteractiveCopy(path, cell_id)


def _with_id(cell: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {"id": f"cell-{number}", **cell}


def _add_outputs(cells: list[dict[str, Any]], replay: Replay) -> None:
    """Give each cell what it said in the run; the numbers of cells are the author's in both."""
    blob = replay.source.read(f"{replay.original_prefix}/{NOTEBOOK}")
    ran = executed.parse(blob.data) if blob else None
    for cell in ran["cells"] if ran else ():
        metadata = cell.get("metadata", {})
        number = metadata.get("nightmill", {}).get("number")
        is_own = cell.get("cell_type") == "code" and _INJECTED not in metadata.get("tags", [])
        if is_own and number is not None and number <= len(cells):
            kept = ("outputs", "execution_count")
            cells[number - 1] |= {name: cell[name] for name in kept if name in cell}


def _values_cell(replay: Replay) -> dict[str, Any]:
    record = replay.original
    values = step_values(
        replay.code.pipeline,
        record.step,
        replay.contract,
        given=replay.run.parameters,
        built_in={"partition": record.partition, "as_of": record.as_of, "member": record.member},
        addresses=_addresses(replay),
    )
    declared = replay.contract.parameters
    lines = [
        f"# Parameters of run {record.run}, {record.label}, attempt {record.attempt}",
        *(f"{name} = {python_literal(declared[name], value)}" for name, value in values.items()),
    ]
    return {
        "id": "parameters-of-the-run",
        "cell_type": "code",
        "metadata": {"tags": [_INJECTED]},
        "execution_count": None,
        "outputs": [],
        "source": "\n".join(lines),
    }


def _addresses(replay: Replay) -> dict[str, Address]:
    """Return local paths: of the inputs that the run read, and of places to write outputs to."""
    sources = replay.code.project.inputs(replay.code.pipeline, replay.original.step)
    inputs = resolve_inputs(replay.store, sources, replay.original.partition)
    addresses: dict[str, Address] = {
        name: staging.stage(replay.store, found, replay.folder / "inputs" / name) if found else None
        for name, found in inputs.items()
    }
    for name, declared in replay.spec.outputs.items():
        output = DeclaredOutput(name, declared.path, replay.folder / "outputs" / name)
        output.prepare()
        addresses[name] = str(output.address)
    return addresses
