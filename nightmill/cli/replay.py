"""`nightmill replay`: a step of a past run once more, compared, or opened in JupyterLab."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nightmill.cli.history import find_run
from nightmill.cli.options import StoreOption, open_existing
from nightmill.cli.terminal import say
from nightmill.errors import EXIT_FAILED, UsageError
from nightmill.run.plan import new_run
from nightmill.spec.problems import suggest
from nightmill.spec.project import find_root
from nightmill.spec.record import AttemptState, Record
from nightmill.store import history


def replay(
    run: Annotated[str, typer.Argument(help="The run's name, or its beginning.")],
    step: Annotated[
        str | None, typer.Option(help="Only this step; all that the run tried by default.")
    ] = None,
    member: Annotated[str | None, typer.Option(help="Only this member of a step.")] = None,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="This attempt; the last one by default.")
    ] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only a run of this pipeline.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only a run for this partition.")] = None,
    store: StoreOption = None,
    interactive: Annotated[
        bool, typer.Option("--open", help="Open a copy in JupyterLab, and run nothing.")
    ] = False,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser", help="With --open: or only serve it, and say where."
        ),
    ] = True,
) -> None:
    """Run a past run again and compare.

    Code, kernel, values and input versions are those of the record; secrets come from the
    environment. What is current stays as it is: a replay has a store of its own. Exit codes: 0 all
    is equal, 1 something differs or an error, 2 what is needed is not there any more.
    """
    # Only here: a machine that only checks or shows has no need of the extra [runner].
    from nightmill.cli.replaying import open_copy, replay_one  # noqa: PLC0415 - see above

    root = find_root(Path.cwd())
    opened = open_existing(store)
    where = find_run(opened, run, pipeline, partition)
    found = history.records(opened, *where).records
    chosen = _choose(found, step, member, attempt)
    identity = new_run(datetime.now(UTC))
    if interactive:
        open_copy(_the_one(chosen), root, opened, identity=identity, browser=browser)
        return
    are_equal = [replay_one(record, root, opened, identity) for record in chosen]
    raise typer.Exit(0 if all(are_equal) else EXIT_FAILED)


def _choose(
    records: Sequence[Record], step: str | None, member: str | None, attempt: int | None
) -> list[Record]:
    """Return the last attempt of each step that is meant; raises UsageError if there is none."""
    if step is not None and step not in {one.step for one in records}:
        known = sorted({one.step for one in records})
        advice = suggest(step, known, noun="steps that it tried")
        raise UsageError(f"the run has no step {step!r}", advice=advice)
    meant = [
        one
        for one in records
        if step in (None, one.step)
        and member in (None, one.member)
        and attempt in (None, one.attempt)
    ]
    last = {one.label: one for one in sorted(meant, key=lambda one: one.attempt)}
    over = [one for one in last.values() if one.state is not AttemptState.RUNNING]
    if not over:
        problem = "is still running" if last else "has no such attempt"
        raise UsageError(f"the run {problem}", advice="`nightmill show RUN` tells what there is")
    return over if step else _that_ran(over)


def _that_ran(records: Sequence[Record]) -> list[Record]:
    """Leave out what never began, and say so; where nothing did, that is told as an error later."""
    ran = [one for one in records if one.code is not None]
    for one in records if ran else ():
        if one.code is None:
            say(f"note: {one.label} ended before anything of it ran, and is left out")
    return ran or list(records)


def _the_one(records: Sequence[Record]) -> Record:
    """Return the record to open: the only one, or the only one that failed."""
    failed = [one for one in records if one.state is AttemptState.FAILED]
    for some in (records, failed):
        if len(some) == 1:
            return some[0]
    labels = ", ".join(one.label for one in records)
    raise UsageError(f"which one is to be opened: {labels}?", advice="add --step, or --member")
