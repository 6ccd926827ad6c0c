"""`nightmill runs` and `nightmill show`: what ran, and everything about one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.attempt_view import AttemptView
from nightmill.cli.options import StoreOption, open_existing
from nightmill.cli.terminal import (
    add_row,
    address,
    advise,
    counted,
    duration,
    new_table,
    print_table,
    say,
    size,
    state_text,
)
from nightmill.errors import UsageError
from nightmill.spec.problems import shown, suggest
from nightmill.spec.project import find_root
from nightmill.store import history
from nightmill.store.index import Index
from nightmill.store.interface import Store
from nightmill.store.notes import Notes, notes
from nightmill.store.runs import RunNames, find_all_runs, find_runs

_LISTED = 5
_GRAVEST_FIRST = ("failed", "silent", "rejected", "running", "held for review", "succeeded")


def runs(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
) -> None:
    """List the newest runs."""
    opened = open_existing(store)
    known = history.pipelines(opened)
    if not known and store is None:
        find_root(Path.cwd())  # raises where there is no project: nothing will ever run here
    if pipeline is not None and pipeline not in known:
        advice = suggest(pipeline, known, noun="pipelines that ran")
        problem = f"no run of the pipeline {shown(pipeline)} in {address(opened.url)}"
        raise UsageError(problem, advice=advice)
    index = Index(opened)
    found = [find_runs(opened, index, name) for name in ([pipeline] if pipeline else known)]
    names = {run for one in found for run in (*one.indexed, *one.others)}
    if not names:
        say(f"No runs yet in {address(opened.url)}.")
        return
    rows = [
        (run, name, partition, *_summary(opened, history.records(opened, name, partition, run)))
        for run, name, partition in sorted(names, reverse=True)[:limit]
    ]
    now = ["now"] if any(row[-1] for row in rows) else []
    table = new_table("run", "pipeline", "partition", "state", "steps", "time", *now)
    for row in rows:
        add_row(table, *row[: len(table.columns)])
    print_table(table)
    if older := sum(len(one.others) for one in found):
        advise(f"the index does not know {counted(older, 'run')}: `nightmill reindex` tells it")


def _summary(store: Store, found: history.RunRecords) -> tuple[Text | str, ...]:
    """Return state, number of steps, time spent, and where the steps that run are."""
    every = [AttemptView.of(store, record) for record in found.records]
    newest = {view.record.label: view for view in every}
    views = sorted(newest.values(), key=lambda view: _GRAVEST_FIRST.index(view.state.plain))
    state = views[0].state if views else Text()
    if found.unreadable:
        state = state_text("unreadable")
    now = "; ".join(view.now() for view in views if view.is_running)
    return state, str(len(newest)), duration(_at_work_s(every)), now


def _at_work_s(views: Iterable[AttemptView]) -> float:
    """Return how long at least one attempt was at work: steps may run side by side."""
    total = until = 0.0
    for view in sorted(views, key=lambda one: one.record.started_at):
        begun = view.record.started_at.timestamp()
        end = begun + (view.elapsed_s or 0)
        total += max(end - max(begun, until), 0)
        until = max(until, end)
    return total


def show(
    run: Annotated[str, typer.Argument(help="The run's name, or its beginning.")],
    pipeline: Annotated[str | None, typer.Option(help="Only a run of this pipeline.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only a run for this partition.")] = None,
    store: StoreOption = None,
) -> None:
    """Show a run: its steps, outputs, metrics, failures and notes."""
    opened = open_existing(store)
    pipeline, partition, name = find_run(opened, run, pipeline, partition)
    found = history.records(opened, pipeline, partition, name)
    say(Text(f"{pipeline} {partition}", style="bold"), Text(f" run {name}", style="dim"))
    table = new_table(
        "step", "attempt", "state", "cause", "time", "peak memory", "executed notebook"
    )
    views = [AttemptView.of(opened, record) for record in found.records]
    for view in views:
        record = view.record
        cause = record.failure.cause if record.failure else ""
        peak = size(record.memory.peak_bytes) if record.memory else ""
        figures = [duration(view.elapsed_s), peak, address(record.notebook or "")]
        add_row(table, record.label, str(record.attempt), view.state, cause, *figures)
    print_table(table)
    attempts = Counter(record.label for record in found.records)
    for view in views:
        _print_details(view, is_one_of_several=attempts[view.record.label] > 1)
    for place in found.unreadable:
        say(Text("\nunreadable record: ", style="bold red"), address(place))
    _print_notes(notes(opened, pipeline, partition, name))


def _print_notes(written: Notes) -> None:
    for note in written.found:
        when = f"{note.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        say(Text(f"\nnote by {note.by} at {when}", style="bold"), f"\n{note.text}")
    for place in written.damaged:
        say(Text("\nunreadable note: ", style="bold red"), address(place))


def find_run(
    store: Store, wanted: str, pipeline: str | None, partition: str | None
) -> tuple[str, str, str]:
    """Return pipeline, partition and name of the one run that is meant; raises UsageError."""
    names = [name for name in history.pipelines(store) if pipeline in (None, name)]
    index = Index(store)
    some_runs = [run for name in names for part in find_runs(store, index, name) for run in part]
    found = _matching(some_runs, wanted, partition) or _matching(
        [run for name in names for run in find_all_runs(store, name)], wanted, partition
    )
    if len(found) == 1:
        (one,) = found
        return one.pipeline, one.partition, one.run
    if found:
        some = ", ".join(f"{run} ({name} {of})" for run, name, of in found[:_LISTED])
        more = ", ..." if len(found) > _LISTED else ""
        raise UsageError(
            f"{shown(wanted)} names {len(found)} runs: {some}{more}",
            advice="type more of the name, or add --pipeline or --partition",
        )
    raise UsageError(
        f"there is no run {shown(wanted)} in {address(store.url)}",
        advice="`nightmill runs` lists them",
    )


def _matching(runs: Iterable[RunNames], wanted: str, partition: str | None) -> list[RunNames]:
    """Return those that have the name, else those whose name begins so."""
    meant = sorted((one for one in runs if partition in (None, one.partition)), reverse=True)
    exact = [one for one in meant if one.run == wanted]
    return exact or [one for one in meant if one.run.startswith(wanted)]


def _print_details(view: AttemptView, *, is_one_of_several: bool) -> None:
    lines = list(view.details())
    if lines:
        number = f" attempt {view.record.attempt}" if is_one_of_several else ""
        say(Text(f"\n{view.record.label}", style="bold"), Text(number, style="dim"))
    for line in lines:
        say("  ", line)
