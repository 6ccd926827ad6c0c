"""Faults found while reading what an author wrote, gathered so that one look shows them all.

A `Fault` knows where it is inside a file (a path of keys) but not which file; whoever holds the
file turns it into a `SpecError` with a line. Messages show foreign text through `shown`, so a
hostile name cannot flood or repaint a terminal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nightmill.errors import ContractError, SpecError

KeyPath = tuple[str | int, ...]

SHOWN_CHARACTERS = 60
LISTED_NAMES = 15
NEAREST_NAMES = 5  # of more than can be listed


class Fault(NamedTuple):
    """One thing that is wrong, and below which keys."""

    problem: str
    advice: str = ""
    at: KeyPath = ()


class Faults(ValueError):  # noqa: N818 - a carrier between our own validators, never shown
    """Faults raised inside a pydantic validator, which lets only a ValueError through."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.problem for fault in self.faults))


class SpecErrors(SpecError):  # noqa: N818 - it is several
    """Several errors at once; its own file, line and key are those of the first."""

    def __init__(self, errors: Sequence[SpecError]) -> None:
        first = errors[0]
        problem = f"{len(errors)} problems"
        super().__init__(problem, file=first.file, line=first.line, key=first.key)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class ContractErrors(ContractError):  # noqa: N818 - it is several
    """Several errors of one notebook; its own cell, line and parameter are those of the first."""

    def __init__(self, errors: Sequence[ContractError]) -> None:
        first = errors[0]
        super().__init__(
            f"{len(errors)} problems",
            notebook=first.notebook,
            cell=first.cell,
            line=first.line,
            parameter=first.parameter,
        )
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def gather(errors: Sequence[SpecError]) -> SpecError:
    """Make one error of one or more."""
    if len(errors) == 1:
        return errors[0]
    contract = [error for error in errors if isinstance(error, ContractError)]
    return ContractErrors(contract) if len(contract) == len(errors) else SpecErrors(errors)


def each(error: SpecError) -> tuple[SpecError, ...]:
    """List the single errors inside an error; the inverse of `gather`."""
    return error.errors if isinstance(error, SpecErrors | ContractErrors) else (error,)


def fail_if(faults: Iterable[Fault]) -> None:
    """Raise `Faults` when there is at least one."""
    found = tuple(faults)
    if found:
        raise Faults(found)


def shown(value: object) -> str:
    """Show foreign text between backticks: short, on one line, no control characters."""
    text = str(value)
    if len(text) > SHOWN_CHARACTERS:
        text = text[: SHOWN_CHARACTERS - 3] + "..."
    return f"`{''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)}`"


def suggest(word: str, known: Iterable[str], *, noun: str = "known", rest: str = "") -> str:
    """Say ``did you mean `x`?``, or list what is known when nothing comes close.

    Of very many only the nearest are listed; `rest` then says where all of them are.
    """
    names = list(known)
    by_folded = {name.casefold(): name for name in names}
    # The comparison is quadratic, so a hostile word is cut before it.
    folded = word[:100].casefold()
    close = difflib.get_close_matches(folded, by_folded, n=1)
    if close:
        return f"did you mean {shown(by_folded[close[0]])}?"
    if not names:
        return f"{noun}: none"
    if len(names) <= LISTED_NAMES:
        return f"{noun}: {', '.join(map(shown, names))}"
    near = difflib.get_close_matches(folded, by_folded, n=NEAREST_NAMES, cutoff=0)
    listed = [by_folded[name] for name in near] if word else names[:NEAREST_NAMES]
    return f"{noun}: {', '.join(map(shown, listed))}, ...{rest}"
