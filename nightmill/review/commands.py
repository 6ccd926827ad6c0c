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
    named = {
        "--pipeline": record.pipeline,
        "--partition": record.partition,
        "--step": record.step,
        "--member": record.member,
        "--attempt": str(record.attempt),
        "--store": record.store,
    }
    options = [word for name, value in named.items() if value for word in (name, value)]
    line = shlex.join(["nightmill", "replay", record.run, *options])
    yield Command(purpose="Open a copy in JupyterLab, at the failing cell", text=f"{line} --open")
    yield Command(purpose="Run it again and compare", text=line)
