"""`nightmill runs` and `nightmill show`: what ran, and everything about one run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.options import StoreOption, open_chosen
from nightmill.cli.terminal import (
    add_row,
    address,
    duration,
    new_table,
    print_table,
    say,
    size,
    state_text,
)
from nightmill.errors import UsageError
from nightmill.spec.problems import shown, suggest
from nightmill.spec.record import AttemptState, Record
from nightmill.store import history
from nightmill.store.interface import Store

_LISTED = 5


def runs(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
    store: StoreOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
) -> None:
    """List the newest runs."""
    opened = open_chosen(store)
    known = history.pipelines(opened)
    if pipeline is not None and pipeline not in known:
        advice = suggest(pipeline, known, noun="pipelines that ran")
        problem = f"no run of the pipeline {shown(pipeline)} in {address(opened.url)}"
        raise UsageError(problem, advice=advice)
    found = [
        (run, name, partition)
        for name in ([pipeline] if pipeline else known)
        for run, partition in history.runs(opened, name)
    ]
    if not found:
        say(f"No runs yet in {address(opened.url)}.")
        return
    table = new_table("run", "pipeline", "partition", "state", "steps", "time")
    for run, name, partition in sorted(found, reverse=True)[:limit]:
        found_records = history.records(opened, name, partition, run)
        add_row(table, run, name, partition, *_summary(found_records))
    print_table(table)


def _summary(found: history.RunRecords) -> Iterable[Text | str]:
    newest = {record.label: record for record in found.records}
    states = {record.state for record in newest.values()}
    order = (AttemptState.FAILED, AttemptState.RUNNING, AttemptState.SUCCEEDED)
    state = next((state for state in order if state in states), "")
    if found.unreadable:
        state = "unreadable"
    spent = sum(record.duration_s or 0 for record in found.records)
    return state_text(state), str(len(newest)), duration(spent)


def show(
    run: Annotated[str, typer.Argument(help="The run's name, or its beginning.")],
    pipeline: Annotated[str | None, typer.Option(help="Only a run of this pipeline.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only a run for this partition.")] = None,
    store: StoreOption = None,
) -> None:
    """Show a run: its steps, outputs, metrics, and why it failed."""
    opened = open_chosen(store)
    pipeline, partition, name = find_run(opened, run, pipeline, partition)
    found = history.records(opened, pipeline, partition, name)
    say(Text(f"{pipeline} {partition}", style="bold"), Text(f" run {name}", style="dim"))
    table = new_table(
        "step", "attempt", "state", "cause", "time", "peak memory", "executed notebook"
    )
    for record in found.records:
        cause = record.failure.cause if record.failure else ""
        peak = size(record.memory.peak_bytes) if record.memory else ""
        figures = [duration(record.duration_s), peak, address(record.notebook or "")]
        state = state_text(record.state)
        add_row(table, record.label, str(record.attempt), state, cause, *figures)
    print_table(table)
    for record in found.records:
        _print_details(record)
    for place in found.unreadable:
        say(Text("\nunreadable record: ", style="bold red"), address(place))


def find_run(
    store: Store, wanted: str, pipeline: str | None, partition: str | None
) -> tuple[str, str, str]:
    """Return pipeline, partition and name of the one run that is meant; raises UsageError."""
    every = [
        (name, of, run)
        for name in history.pipelines(store)
        if pipeline in (None, name)
        for run, of in history.runs(store, name)
        if partition in (None, of)
    ]
    found = [one for one in every if one[2] == wanted] or [
        one for one in every if one[2].startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(f"{run} ({name} {of})" for name, of, run in found[:_LISTED])
        more = ", ..." if len(found) > _LISTED else ""
        raise UsageError(
            f"{shown(wanted)} names {len(found)} runs: {some}{more}",
            advice="type more of the name, or add --pipeline or --partition",
        )
    raise UsageError(
        f"there is no run {shown(wanted)} in {address(store.url)}",
        advice="`nightmill runs` lists them",
    )


def _print_details(record: Record) -> None:
    lines = [f"  {name} = {_shown(value)}" for name, value in record.metrics.items()]
    for name, output in record.outputs.items():
        lines.append(f"  {name}: {address(output.address)} ({size(output.size)})")
    for name, found in record.inputs.items():
        origin = f"{found.pipeline}.{found.output} {found.partition}" if found else "none"
        lines.append(f"  {name} <- {origin}")
    if record.failure:
        lines.append(f"  {record.failure.message}")
    if lines:
        say(Text(f"\n{record.label}", style="bold"))
        say("\n".join(lines))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - one line a metric
