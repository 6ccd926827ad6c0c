"""What a comparison is made of: frozen models, the same for the page and for its JSON.

`before` and `after` are text for people everywhere, cut and free of control characters; where a
machine wants the numbers, they stand beside it. Texts of a notebook (lines, table cells) are as it
has them, cut where a text says so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Change(StrEnum):
    """How one thing is on the later side, held against the earlier."""

    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


def change_of(before: object, after: object) -> Change:
    """Compare two values of which None means that a side does not have it."""
    if before == after:
        return Change.SAME
    if before is None:
        return Change.ADDED
    return Change.REMOVED if after is None else Change.CHANGED


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


# -- facts of the records -------------------------------------------------------------------------


class Fact(_Part):
    """One thing both records may tell; `note` says in words what the difference is."""

    name: str
    change: Change
    before: str | None = None
    after: str | None = None
    note: str = ""
    difference: float | None = None
    relative: float | None = None


class Facts(_Part):
    """Facts of one kind, those that differ or all of them; `same` counts those that do not."""

    shown: tuple[Fact, ...] = ()
    same: int = 0

    @property
    def differing(self) -> int:
        """How many differ."""
        return sum(fact.change is not Change.SAME for fact in self.shown)


# -- text, tables and pictures --------------------------------------------------------------------


class Span(_Part):
    """A piece of a line; marked where it is what differs in the line."""

    text: str
    marked: bool = False


class Line(_Part):
    """One line of a text; of a gap `skipped` says how many equal lines are left out."""

    kind: Literal["same", "removed", "added", "gap"]
    spans: tuple[Span, ...] = ()
    skipped: int = 0


class TextChange(_Part):
    """Two texts by line; `cut` says in words what of them was not compared, or why nothing was."""

    lines: tuple[Line, ...] = ()
    cut: str = ""


class TableCell(_Part):
    """One cell of a table on both sides; None where a side does not have its row or column."""

    change: Change
    before: str | None = None
    after: str | None = None
    is_label: bool = False


class TableRow(_Part):
    """One row of a table, or a gap: `skipped` says how many equal rows are left out."""

    change: Change
    cells: tuple[TableCell, ...] = ()
    skipped: int = 0


class TableChange(_Part):
    """Two tables by cell; `summary` counts in words what differs, `cut` what was not compared."""

    columns: tuple[TableCell, ...] = ()
    rows: tuple[TableRow, ...] = ()
    summary: str = ""
    cut: str = ""


class Image(_Part):
    """A picture in an executed notebook, known by its hash alone; size in bytes.

    `address` is where it can be seen: empty where nobody serves it.
    """

    sha256: str
    mime: str
    size: int
    address: str


class ImageChange(_Part):
    """Two pictures to be shown side by side; None where a side has none."""

    before: Image | None = None
    after: Image | None = None


# -- cells ----------------------------------------------------------------------------------------


class OutputChange(_Part):
    """One output of a cell: what it is, how it differs, and the difference where it can be shown.

    `note` says what else is to be known, as that only addresses in memory differ.
    """

    kind: str
    change: Change
    note: str = ""
    text: TextChange | None = None
    tables: tuple[TableChange, ...] = ()
    image: ImageChange | None = None


class CellChange(_Part):
    """One cell on both sides, by its author's number; None where a side does not have it."""

    kind: Literal["code", "markdown", "raw"]
    title: str
    number_before: int | None
    number_after: int | None
    source: Change
    moved: bool = False
    ran_once: bool = False
    lines: TextChange | None = None
    outputs: tuple[OutputChange, ...] = ()
    outputs_change: Change = Change.SAME

    @property
    def differs(self) -> bool:
        """Whether a reader has something to look at."""
        return self.moved or self.source is not Change.SAME or self.has_other_outputs

    @property
    def has_other_outputs(self) -> bool:
        """Whether its outputs differ."""
        return self.outputs_change is not Change.SAME


class Measure(_Part):
    """A duration in seconds or a peak of memory in bytes, on both sides; ratio is after/before."""

    before: float | None
    after: float | None
    ratio: float | None
    notable: bool


class Cost(_Part):
    """What a cell, or the whole attempt (number None), took."""

    number: int | None
    title: str
    duration: Measure
    memory: Measure

    @property
    def notable(self) -> bool:
        """Whether it changed so much that a reader should know."""
        return self.duration.notable or self.memory.notable


class Counts(_Part):
    """How many cells are how; `volatile` have outputs that differ in what differs every night.

    Of those in `ran_once` the outputs are not compared: only one of both attempts came to them.
    """

    cells: int = 0
    source: int = 0
    outputs: int = 0
    volatile: int = 0
    ran_once: int = 0


class Comparison(_Part):
    """All that differs between an earlier and a later attempt, most telling first.

    `notes` say what could not be compared and why.
    """

    metrics: Facts
    outcome: Facts
    parameters: Facts
    code: Facts
    environment: Facts
    inputs: Facts
    outputs: Facts
    checks: Facts
    total: Cost
    costs: tuple[Cost, ...]
    cells: tuple[CellChange, ...]
    counts: Counts
    notes: tuple[str, ...] = ()

    @property
    def notable_costs(self) -> int:
        """How many cells, and the whole, took notably more or less."""
        return sum(cost.notable for cost in (self.total, *self.costs))
