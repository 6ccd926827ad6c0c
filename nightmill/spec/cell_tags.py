"""What the tags of a cell ask for: its own time limit, as in `timeout=30m`.

Jupyter's own tags (`parameters`, `skip-execution`, `raises-exception`) are read where they matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from nightmill.errors import ContractError
from nightmill.spec.notebook import Cell, SourceNotebook
from nightmill.spec.problems import Faults, shown
from nightmill.spec.units import parse_duration

_TIMEOUT = re.compile(r"\s*timeout\s*(?:[=:].*)?", re.IGNORECASE)
_ADVICE = "write it like timeout=90s, timeout=30m or timeout=2h"


class TagError(ValueError):
    """A tag asks for what cannot be given; says what is wrong and what to do."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


def own_timeout(tags: Iterable[str]) -> float | None:
    """Return the seconds that a cell's tags allow it, None where they say nothing of it.

    Raises TagError for a tag that says it otherwise than `timeout=30s`, and for two of them.
    """
    found = [tag for tag in tags if _TIMEOUT.fullmatch(tag)]
    if not found:
        return None
    if len(found) > 1:
        raise TagError(f"has {len(found)} time limits: {', '.join(map(shown, found))}", "leave one")
    name, _equals, span = found[0].partition("=")
    if name != "timeout":
        raise TagError(f"the tag {shown(found[0])} is no time limit", _ADVICE)
    try:
        return parse_duration(span).total_seconds()
    except Faults as faults:
        raise TagError(f"the tag {shown(found[0])} is no time limit", _ADVICE) from faults


def check_tags(notebook: SourceNotebook, path: Path) -> list[ContractError]:
    """Find the tags that ask for what cannot be given; `path` is how errors name the notebook."""
    return list(_errors(notebook.cells, path))


def _errors(cells: Iterable[Cell], path: Path) -> Iterator[ContractError]:
    for cell in cells:
        try:
            limit = own_timeout(cell.tags)
        except TagError as error:
            yield ContractError(error.problem, notebook=path, cell=cell.number, advice=error.advice)
            continue
        if limit is not None and cell.kind != "code":
            yield ContractError(
                f"has a time limit, but it is a {cell.kind} cell and never runs",
                notebook=path,
                cell=cell.number,
                advice="move the tag to a code cell",
            )
