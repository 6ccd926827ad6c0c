"""`nightmill runs` and `nightmill show`: what ran, and everything about one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from nightmill.cli.run import DEFAULT_STORE
from nightmill.cli.terminal import address, duration, out, print_table, size, state_text
from nightmill.errors import UsageError
from nightmill.spec.problems import suggest
from nightmill.spec.record import AttemptState, Record
from nightmill.store import history
from nightmill.store.interface import Store
from nightmill.store.open import open_store

StoreOption = Annotated[
    str, typer.Option("--store", envvar="NIGHTMILL_STORE", help="A folder, or s3://bucket/prefix.")
]


def runs(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
    store: StoreOption = DEFAULT_STORE,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
) -> None:
    """List the newest runs."""
    opened = open_store(store, base=Path.cwd())
    known = history.pipelines(opened)
    if pipeline is not None and pipeline not in known:
        advice = suggest(pipeline, known, noun="pipelines that ran")
        raise UsageError(f"no run of the pipeline {pipeline!r} in {opened.url}", advice=advice)
    found = [
        (run, name, partition)
        for name in ([pipeline] if pipeline else known)
        for run, partition in history.runs(opened, name)
    ]
    if not found:
        out.print(f"No runs yet in {address(opened.url)}.", soft_wrap=True)
        return
    table = _table("run", "pipeline", "partition", "state", "steps", "time")
    for run, name, partition in sorted(found, reverse=True)[:limit]:
        records = list(history.records(opened, name, partition, run))
        table.add_row(run, name, partition, *_summary(records))
    print_table(table)


def _summary(records: Sequence[Record]) -> Iterable[Text | str]:
    newest = {record.step: record for record in records}
    states = {record.state for record in newest.values()}
    order = (AttemptState.FAILED, AttemptState.RUNNING, AttemptState.SUCCEEDED)
    state = next((state for state in order if state in states), "")
    spent = sum(record.duration_s or 0 for record in records)
    return state_text(state), str(len(newest)), duration(spent)


def show(
    run: Annotated[str, typer.Argument(help="The run's name, or its beginning.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show a run: its steps, outputs, metrics, and why it failed."""
    opened = open_store(store, base=Path.cwd())
    pipeline, partition, name = _find(opened, run)
    records = list(history.records(opened, pipeline, partition, name))
    out.print(Text(f"{pipeline} {partition}", style="bold"), Text(f"run {name}", style="dim"))
    table = _table("step", "attempt", "state", "cause", "time", "peak memory", "executed notebook")
    for record in records:
        cause = record.failure.cause if record.failure else ""
        peak = size(record.memory.peak_bytes) if record.memory else ""
        figures = [duration(record.duration_s), peak, address(record.notebook or "")]
        table.add_row(record.step, str(record.attempt), state_text(record.state), cause, *figures)
    print_table(table)
    for record in records:
        _print_details(record)


def _find(store: Store, wanted: str) -> tuple[str, str, str]:
    every = [
        (pipeline, partition, run)
        for pipeline in history.pipelines(store)
        for run, partition in history.runs(store, pipeline)
    ]
    found = [one for one in every if one[2] == wanted] or [
        one for one in every if one[2].startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(run for _pipeline, _partition, run in found[:5])
        raise UsageError(f"{wanted!r} begins the names of {len(found)} runs: {some}")
    advice = "`nightmill runs` lists them"
    raise UsageError(f"there is no run {wanted!r} in {store.url}", advice=advice)


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
        out.print(Text(f"\n{record.step}", style="bold"))
        out.print("\n".join(lines), soft_wrap=True, markup=False)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - one line a metric


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        right = column in ("time", "peak memory", "steps", "attempt")
        table.add_column(column, justify="right" if right else "left")
    return table
