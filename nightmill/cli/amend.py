"""`nightmill amend` and `nightmill sweep`: the truth about attempts that died without a word."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from nightmill.causes import SUMMARY, Cause
from nightmill.cli.history import find_run
from nightmill.cli.options import StoreOption, open_existing, read_span, spec_here
from nightmill.cli.terminal import (
    add_row,
    address,
    counted,
    duration,
    new_table,
    print_table,
    say,
    state_text,
)
from nightmill.errors import EXIT_FAILED, UsageError
from nightmill.publish.publish import publish_committed
from nightmill.spec.names import label
from nightmill.spec.progress import SILENT_AFTER
from nightmill.spec.record import Failure, Record
from nightmill.store.amend import amend as amend_attempt
from nightmill.store.interface import Store
from nightmill.store.keys import attempt_names
from nightmill.store.sweep import Fate, Standing, Swept, attempts, look
from nightmill.store.sweep import sweep as sweep_store

_STYLES = {Fate.ALIVE: "green", Fate.PROBLEM: "bold red", Fate.AMENDED: "yellow"}


def amend(
    run: Annotated[str, typer.Argument(help="The run's name, or its beginning.")],
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
    member: Annotated[str | None, typer.Option(help="Only this member of the step.")] = None,
    cause: Annotated[Cause | None, typer.Option(help="Why it ended, if that is known.")] = None,
    message: Annotated[str | None, typer.Option(help="What happened, in one line.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what may still be at work.")] = False,
    pipeline: Annotated[str | None, typer.Option(help="Only a run of this pipeline.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only a run for this partition.")] = None,
    store: StoreOption = None,
) -> None:
    """Write down how attempts ended that could not do so themselves.

    Without a cause, attempts that still count as running are closed as `terminated`. With one, an
    attempt that only knows that it was terminated learns by what. What has committed succeeded.
    """
    opened = open_existing(store)
    found = find_run(opened, run, pipeline, partition)
    prefixes = [one for one in attempts(opened, *found) if _is_meant(one, step, member)]
    meant = [look(opened, prefix) for prefix in prefixes]
    open_ones = [one for one in meant if not one.has_ended]
    if not force:
        _refuse_living(open_ones)
    changed: list[tuple[Standing, Record]] = []
    for one in open_ones if cause is None else meant:
        failure = _failure(one, cause, message)
        record = amend_attempt(opened, one.prefix, failure, by=_by("amend"))
        changed += [(one, record)] if record != one.record else []
    if changed:
        _print_amended(changed)
        _publish(opened, [record for _before, record in changed])
    else:
        say(f"Nothing to amend: {counted(len(meant), 'attempt')} of {found[2]} stay as they are.")


def sweep(
    older_than: Annotated[
        str, typer.Option(help="How long nothing was heard of an attempt that counts as dead.")
    ] = "15m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write down the end of attempts whose heartbeat stopped.

    Reads the marks of attempts that run, and nothing else of the store: it may run every few
    minutes. Exit codes: 0 all is well or was amended, 1 an attempt could not be swept.
    """
    opened = open_existing(store)
    span = read_span(older_than, "--older-than")
    found = list(sweep_store(opened, silent_for=span, by=_by("sweep"), dry_run=dry_run))
    if not found:
        say(f"No attempt is marked as running in {address(opened.url)}.")
    else:
        _print_swept(found)
        amended = [one.record for one in found if one.fate is Fate.AMENDED]
        _publish(opened, [record for record in amended if record is not None])
    if any(one.fate is Fate.PROBLEM for one in found):
        raise typer.Exit(EXIT_FAILED)


def _publish(store: Store, amended: Sequence[Record]) -> None:
    """Publish what turned out to have committed, and died before it had done so itself."""
    for record in amended:
        if record.committed:
            for told in publish_committed(store, spec_here(record.pipeline), record):
                say(Text(f"{record.label} {record.partition}: ", style="bold"), told)


def _by(verb: str) -> str:
    return f"nightmill {verb} on {platform.node()}"


def _is_meant(prefix: str, step: str | None, member: str | None) -> bool:
    names = attempt_names(prefix)
    return step in (None, names.step) and member in (None, names.member)


def _refuse_living(standings: Sequence[Standing]) -> None:
    """Keep hands off attempts that may be at work; nothing has been changed by then."""
    for one in standings:
        if not one.is_silent(SILENT_AFTER):
            raise UsageError(
                f"may still be at work: its last sign of life was {_ago(one.last_sign)}",
                where=_place(one.prefix),
                advice="stop it first, or wait; --force amends it all the same",
            )


def _failure(standing: Standing, cause: Cause | None, message: str | None) -> Failure:
    silent = standing.failure()
    if cause is None:
        return Failure(cause=silent.cause, message=message or silent.message)
    return Failure(cause=cause, message=message or SUMMARY[cause])


def _print_amended(changed: Sequence[tuple[Standing, Record]]) -> None:
    table = new_table("step", "attempt", "was", "is now", "cause", "executed notebook")
    for before, record in changed:
        was = _words(before.record)
        notebook = address(record.notebook or "")
        now, cause = state_text(record.state), record.failure.cause if record.failure else ""
        add_row(table, record.label, str(record.attempt), was, now, cause, notebook)
    print_table(table)
    for _before, record in changed:
        if record.failure:
            say(Text(f"\n{record.label} ", style="bold"), record.failure.message)


def _print_swept(found: Sequence[Swept]) -> None:
    table = new_table("attempt", "last sign of life", "", "")
    for one in found:
        says = one.problem or (_words(one.record) if one.fate is Fate.AMENDED else "")
        fate = Text(one.fate.value, style=_STYLES.get(one.fate, ""))
        add_row(table, _place(one.prefix), _ago(one.last_sign), fate, says)
    print_table(table)


def _words(record: Record | None) -> str:
    if record is None:
        return "no record"
    return record.failure.message if record.failure else record.state.value


def _place(prefix: str) -> str:
    try:
        names = attempt_names(prefix)
    except UsageError:  # a stray file among the marks
        return prefix
    run = f"{names.pipeline} {names.partition} {names.run}"
    return f"{run} {label(names.step, names.member)} attempt {names.attempt}"


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "none"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {duration(max(0.0, seconds))} ago"
