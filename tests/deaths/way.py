"""A way to die as data: the notebook, what is done to its processes, and what must be known after.

The table itself is in `table`; `here` runs a way on this machine and `plain` does the same to
papermill's command line; `page` writes docs/deaths.md from the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.conftest import KERNEL, Cell, notebook_json
from tests.deaths.acts import Act
from tests.deaths.cells import FIRST, LAST
from tests.deaths.fates import Fate
from tests.deaths.surroundings import Surrounding, open_field


@dataclass(frozen=True)
class Plain:
    """How papermill is put into the same situation: more arguments, another act, and what to say.

    `runs` is false where papermill knows no such situation.
    """

    arguments: tuple[str, ...] = ()
    act: Act | None = None
    note: str = ""
    runs: bool = True


@dataclass(frozen=True)
class Way:
    """One way in which a step can end, and the truth about it.

    `deadly` is the second of three cells, unless `cells` gives them all. `act` is done to the
    processes, `within` is what surrounds them. `recorded` is false where no store could take a
    record, `mended_by` names the command of ours that has to write its end, and it `forgets` where
    cells may have ended that nobody could write down. `evidence` names what the record must hold to
    prove the cause, `warns` is in one of its warnings. With papermill the `cheap` ones run in
    `make test`, the others in `make e2e`.
    """

    name: str
    title: str
    fate: Fate
    deadly: str = LAST
    cells: tuple[Cell, ...] = ()
    act: Act | None = None
    within: Callable[..., Surrounding] = open_field
    where: Literal["here", "pod"] = "here"
    step: str = ""
    others: str = ""
    given: Mapping[str, object] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    source: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    recorded: bool = True
    mended_by: Literal["", "sweep", "amend"] = ""
    forgets: bool = False
    evidence: tuple[str, ...] = ()
    warns: str = ""
    plain: Plain = Plain()
    cheap: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def cause(self) -> str | None:
        """The cause in the record; None: it succeeds."""
        return self.fate.cause

    @property
    def states(self) -> tuple[str, ...]:
        """The states of the author's cells."""
        return self.fate.states

    @property
    def notebook(self) -> tuple[tuple[str, str], ...]:
        """All cells; each ends by telling the test, past Nightmill, that it came to its end."""
        cells = self.cells or (FIRST, self.deadly, LAST)
        return tuple(_with_proof(cell, number) for number, cell in enumerate(cells, start=1))

    @property
    def file(self) -> str:
        """The text of the notebook's file, which is whole unless the way is to break it."""
        kernelspec = {"name": KERNEL, "display_name": KERNEL, "language": "python"}
        metadata = {"kernelspec": kernelspec, "language_info": {"name": "python"}}
        return notebook_json(self.notebook, **metadata) if self.source is None else self.source

    @property
    def silent(self) -> tuple[int, ...]:
        """The numbers of the parameter cells: they hold nothing else, so they tell nothing."""
        tags = [tag for _source, tag in self.notebook]
        return tuple(number for number, tag in enumerate(tags, start=1) if tag == "parameters")

    @property
    def cell(self) -> int | None:
        """The number of the cell that the cause lies in."""
        ends = [state in {"failed", "interrupted"} for state in self.fate.states]
        return ends.index(True) + 1 if True in ends else None


def _with_proof(cell: Cell, number: int) -> tuple[str, str]:
    source, tag = (cell, "") if isinstance(cell, str) else cell
    return (source if tag == "parameters" else f"{source}\ndone({number})", tag)


def authors_cells(notebook: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the code cells that the author wrote: papermill adds some of its own."""
    return [
        cell
        for cell in (notebook or {}).get("cells", ())
        if cell["cell_type"] == "code"
        and "injected-parameters" not in cell["metadata"].get("tags", [])
    ]


def states_of(notebook: Mapping[str, Any] | None) -> list[str]:
    """Return the states of the author's cells in a notebook that Nightmill executed."""
    return [cell["metadata"]["nightmill"]["state"] for cell in authors_cells(notebook)]
