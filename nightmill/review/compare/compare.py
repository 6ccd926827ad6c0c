"""Compares two attempts: from their records and the bytes of their notebooks to one model."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field

from nightmill.review.compare import costs, facts
from nightmill.review.compare.budget import Budget
from nightmill.review.compare.cells import compare_cells, count
from nightmill.review.compare.contents import MAX_CELLS, Cell
from nightmill.review.compare.facts import Files, gather
from nightmill.review.compare.model import CellChange, Change, Comparison
from nightmill.spec.record import Record
from nightmill.store.bundle import Bundle

MAX_SHOWN_CELLS = 500


@dataclass(frozen=True)
class Side:
    """One attempt. `cells` are those of its notebook, None where there is none to be read.

    `why` says in words why there is none. `files` are the hashes of what its code bundle holds.
    """

    record: Record
    cells: tuple[Cell, ...] | None
    why: str = "has no executed notebook"
    files: Files = field(default_factory=dict)


def compare(
    before: Side, after: Side, *, whole: bool = False, budget: Budget | None = None
) -> Comparison:
    """Compare two attempts; without `whole` only what differs is in the result."""
    then, now = before.record, after.record
    cells = _cells(before, after, budget or Budget())
    costed = costs.by_cell(then, now, cells)
    shown = [cell if whole else _brief(cell) for cell in cells if whole or cell.differs]
    return Comparison(
        metrics=gather(facts.metrics(then, now), whole=whole),
        outcome=gather(facts.outcome(then, now), whole=whole),
        parameters=gather(facts.parameters(then, now), whole=whole),
        code=gather(
            facts.code(then.code, now.code, bundles=(before.files, after.files)), whole=whole
        ),
        environment=gather(facts.environment(then, now), whole=whole),
        inputs=gather(facts.inputs(then, now), whole=whole),
        outputs=gather(facts.outputs(then, now), whole=whole),
        checks=gather(facts.checks(then, now), whole=whole),
        total=costs.total(then, now),
        costs=tuple(one for one in costed if whole or one.notable)[:MAX_SHOWN_CELLS],
        cells=tuple(shown[:MAX_SHOWN_CELLS]),
        counts=count(cells),
        notes=tuple(_notes(before, after, len(shown))),
    )


def bundle_files(bundle: Bundle) -> Files:
    """Return the hashes of a bundle's files; their content stays where it is."""
    with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
        return {
            entry.name: hashlib.sha256(content.read()).hexdigest()
            for entry in archive
            if entry.isreg() and (content := archive.extractfile(entry))
        }


def _cells(before: Side, after: Side, budget: Budget) -> tuple[CellChange, ...]:
    if before.cells is None or after.cells is None:
        return ()
    return compare_cells(before.cells, after.cells, budget)


def _brief(cell: CellChange) -> CellChange:
    differing = tuple(one for one in cell.outputs if one.change is not Change.SAME)
    return cell.model_copy(update={"outputs": differing})


def _notes(before: Side, after: Side, shown: int) -> list[str]:
    sides = (("the other attempt", before), ("this attempt", after))
    notes = [
        f"cells are not compared: {name} {side.why}" for name, side in sides if side.cells is None
    ]
    if any(len(side.cells or ()) >= MAX_CELLS for _name, side in sides):
        notes.append(f"only the first {MAX_CELLS:,} cells were compared")
    if shown > MAX_SHOWN_CELLS:
        notes.append(f"{shown - MAX_SHOWN_CELLS:,} more cells are not shown")
    return notes
