"""Commands of the terminal that a page offers to copy, quoted for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from nightmill.spec.record import Record


class Command(BaseModel):
    """A command, and what it is for."""

    model_config = ConfigDict(frozen=True)

    purpose: str
    text: str


def replays(record: Record) -> Iterator[Command]:
    """Return the commands that run an attempt once more, or open it."""
    line = _line("replay", record, **_step(record), attempt=str(record.attempt))
    where = ", at the failing cell" if record.failure else ""
    yield Command(purpose=f"Open a copy in JupyterLab{where}", text=f"{line} --open")
    yield Command(purpose="Run it again and compare", text=line)


def shows(record: Record) -> Command:
    """Return the command that tells in a terminal what the page of a record's run does."""
    return Command(purpose="Show this run in a terminal", text=_line("show", record))


def decides(record: Record) -> Iterator[Command]:
    """Return the commands that decide about what an attempt is held for."""
    for verb, purpose in (("approve", "Approve it"), ("reject", "Reject it")):
        yield Command(purpose=purpose, text=_line(verb, record, **_step(record)))


def terminal(verb: str, *words: str, **options: str) -> str:
    """Return a command as a shell must get it; options that are empty are left out."""
    given = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return shlex.join(["nightmill", verb, *words, *given])


def _step(record: Record) -> dict[str, str]:
    return {"step": record.step, "member": record.member}


def _line(verb: str, record: Record, **options: str) -> str:
    """Return a command about a record's run that means no other one."""
    named = {
        "pipeline": record.pipeline,
        "partition": record.partition,
        **options,
        "store": record.store,
    }
    return terminal(verb, record.run, **named)
