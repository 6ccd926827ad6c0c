"""What `nightmill replay` does once it is known which attempts are meant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from rich.text import Text

from nightmill.cli.display import open_display
from nightmill.cli.terminal import add_row, address, new_table, print_table, say
from nightmill.errors import (
    EXIT_USAGE,
    DamagedError,
    InputError,
    InterruptedRunError,
    KernelError,
    UsageError,
)
from nightmill.replay.beside import CODE, beside
from nightmill.replay.compare import Compared, compare
from nightmill.replay.interactive import write_copy
from nightmill.replay.lab import open_lab, require_lab
from nightmill.replay.stage import Replay, set_up
from nightmill.run.aftermath import amend_death
from nightmill.run.launcher import Launcher
from nightmill.run.plan import PlannedStep
from nightmill.run.process import NIGHTMILL
from nightmill.signals import stop_signals
from nightmill.spec.record import Record
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD


def replay_one(record: Record, root: Path, source: Store, identity: tuple[str, int]) -> bool:
    """Run an attempt again, print how the two compare, and tell whether they are equal."""
    staged = _set_up(record, root, source, identity)
    say(
        Text(f"{record.label} {record.partition}", style="bold"),
        f" run {record.run}, attempt {record.attempt}: code from {staged.code.origin}",
    )
    say(Text(f"  code is {CODE}; other files are not compared", style="dim"))
    for line in beside(record, staged.code, root):
        say(Text("  warning: ", style="yellow"), line)
    now = _run(staged)
    found = compare(staged, now)
    _print_comparison(found)
    say(Text(f"  replayed in {address(str(staged.folder))}", style="dim"))
    return all(one.is_equal for one in found)


def _set_up(
    record: Record, root: Path, source: Store, identity: tuple[str, int], *, copy: bool = False
) -> Replay:
    try:
        return set_up(record, root, source, identity=identity, copy=copy)
    except (DamagedError, InputError, KernelError) as error:
        error.exit_code = EXIT_USAGE  # what is needed is not there any more
        raise


def _run(staged: Replay) -> Record:
    """Run the step as any other is run; return the record that it left."""
    variables = [f"{name}={text}" for name, text in staged.env.items()]
    launcher = Launcher(
        [PlannedStep(staged.run)],
        root=staged.root,
        workers=1,
        on_death=partial(amend_death, staged.store),
        program=["env", *variables, *NIGHTMILL],
    )
    display = open_display(launcher.statuses.values())
    with stop_signals(lambda _number: launcher.stop()), display:
        (status,) = launcher.run(display)
    if launcher.stopped:
        raise InterruptedRunError("stopped", where=f"replay of {staged.original.label}")
    blob = staged.store.read(f"{staged.prefix}/{RECORD}")
    if blob is None:
        raise UsageError(f"the replay could not begin: {status.message}")
    return Record.from_json(blob.data)


def _print_comparison(found: Sequence[Compared]) -> None:
    table = new_table("", "compared", "result")
    for one in found:
        mark = Text("=", style="green") if one.is_equal else Text("!", style="bold red")
        add_row(table, mark, one.what, one.result)
    print_table(table)
    for one in found:
        for line in one.details:
            say(f"  {one.what}: {line}")


def open_copy(
    record: Record, root: Path, source: Store, *, identity: tuple[str, int], browser: bool
) -> None:
    """Write an interactive copy of an attempt, and keep JupyterLab open on it until it is ended."""
    staged = _set_up(record, root, source, identity, copy=True)
    copy = write_copy(staged)
    require_lab(copy)
    say(f"{record.label}: a copy is in {address(str(copy.path))}")
    lab_open = open_lab(staged, copy, browser=browser)
    with stop_signals(_interrupt), suppress(KeyboardInterrupt), lab_open as lab:
        say(f"JupyterLab: {lab.url}")
        say(Text("Ctrl-C ends it; the copy stays.", style="dim"))
        lab.process.wait()


def _interrupt(_number: object) -> NoReturn:
    raise KeyboardInterrupt
