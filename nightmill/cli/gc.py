"""`nightmill gc`: what may go of a store, and of this machine; it goes only when so ordered."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, timedelta
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.options import StoreOption, open_existing, read_span
from nightmill.cli.terminal import (
    add_row,
    address,
    complain,
    counted,
    new_table,
    print_table,
    say,
    size,
)
from nightmill.errors import EXIT_FAILED, NightmillError, UsageError
from nightmill.publish.upkeep import collect_from_tables
from nightmill.replay.stage import REPLAYS
from nightmill.spec.problems import shown, suggest
from nightmill.spec.project import Project, find_root
from nightmill.spec.retention import MAX_VERSIONS, Keep
from nightmill.step.leftovers import Leftover, leftovers, remove, unchanged
from nightmill.store import history
from nightmill.store.collect import Collected, Fate, Order, collect
from nightmill.store.index import Index
from nightmill.store.interface import Store
from nightmill.store.retention import YOUNG
from nightmill.store.survey import Size

_SCRATCH_AGE = timedelta(days=7)
_STYLES = {
    Fate.DELETED: "green",
    Fate.MARKED: "yellow",
    Fate.TO_DELETE: "yellow",
    Fate.PROBLEM: "bold red",
}


def gc(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
    delete: Annotated[
        bool, typer.Option("--delete/--dry-run", help="Act, instead of only saying what would be.")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(help="In place of `runs` and `failed` of pipeline.yaml: 90d.")
    ] = None,
    keep_versions: Annotated[
        int | None, typer.Option(min=1, max=MAX_VERSIONS, help="In place of `versions` there.")
    ] = None,
    grace: Annotated[
        str, typer.Option(help="How long what may go is marked before it is deleted.")
    ] = "1d",
    each: Annotated[bool, typer.Option("--each", help="One line for each thing.")] = False,
    scratch: Annotated[
        bool,
        typer.Option(
            "--scratch", help="Of this machine's disk: what failed attempts and replays left, 7d."
        ),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Find what nothing needs any more; --delete deletes it.

    It marks what may go, and deletes what has been marked for a day. Kept are: what is current,
    what any kept attempt has read, what runs or is younger than a day, and what `keep:` in
    pipeline.yaml asks for. A pipeline without a pipeline.yaml here keeps all, unless it is named
    together with --older-than. Exit codes: 0 done, 1 something could not be.
    """
    span = read_span(older_than, "--older-than") if older_than else None
    if scratch:
        _clear_scratch(span or _SCRATCH_AGE, acts=delete)
        return
    opened = open_existing(store)
    order = Order(
        rules=dict(_rules(opened, pipeline, span, keep_versions)),
        by=f"nightmill gc on {platform.node()}",
        acts=delete,
        grace=read_span(grace, "--grace"),
    )
    found = chain(collect(opened, order), collect_from_tables(opened, order))
    has_problem = _print(opened, found, order, each=each)
    if has_problem:
        raise typer.Exit(EXIT_FAILED)


def _rules(
    store: Store, pipeline: str | None, span: timedelta | None, versions: int | None
) -> Iterator[tuple[str, Keep]]:
    """Find the rules of each pipeline that ran; say of which there are none."""
    known, written = history.pipelines(store), _written()
    if pipeline is not None and pipeline not in known:
        problem = f"no run of the pipeline {shown(pipeline)} in {address(store.url)}"
        raise UsageError(problem, advice=suggest(pipeline, known, noun="pipelines that ran"))
    given = {"runs": span, "failed": span, "versions": versions}
    own = {name: value for name, value in given.items() if value is not None}
    for name in [pipeline] if pipeline else known:
        keep = Keep() if pipeline and span else None
        keep = written.get(name, keep)
        if keep is not None:
            yield name, keep.model_copy(update=own)
        else:
            why = "no valid pipeline.yaml here says how long"
            say(Text(f"{name} keeps everything: {why}; or name it with --older-than", style="dim"))


def _written() -> Mapping[str, Keep]:
    try:
        project = Project.load(find_root(Path.cwd()))
    except UsageError:  # no project here
        return {}
    return {name: pipeline.spec.keep for name, pipeline in project.pipelines.items()}


def _print(store: Store, found: Iterable[Collected], order: Order, *, each: bool) -> bool:
    """Print what was found as a table, or line by line as it comes; say if anything failed."""
    sums: dict[tuple[str, str, str, Fate], tuple[int, Size]] = {}
    for one in found:
        key = (one.what, one.pipeline, one.why, one.fate)
        count, so_far = sums.get(key, (0, Size()))
        sums[key] = (count + 1, so_far.plus(one.size))
        if each:
            fate = Text(one.fate, style=_STYLES.get(one.fate, ""))
            say(fate, f"  {one.what}  {address(store.address(one.key))}  {one.why}")
    if not sums:
        say(f"Nothing may go of {address(store.url)}.{_kept(store, order)}")
        return False
    _print_sums(sums)
    _print_end(sums, order)
    return any(fate is Fate.PROBLEM for _what, _pipeline, _why, fate in sums)


def _kept(store: Store, order: Order) -> str:
    """Say why nothing may go: how many attempts are too young, and what keeps the others."""
    index = Index(store)
    ends = [one.ended_at for name in order.rules for one in index.attempts(name)]
    young = sum(end is None or order.now - end < YOUNG for end in ends)
    kept = {
        "younger than a day": young,
        "current, held for review, read by what stays, or kept by the rules": len(ends) - young,
    }
    told = [f"{counted(count, 'attempt')} {why}" for why, count in kept.items() if count]
    return f" Kept: {'; '.join(told)}." if told else ""


def _print_sums(sums: Mapping[tuple[str, str, str, Fate], tuple[int, Size]]) -> None:
    table = new_table("what", "pipeline", "how many", "files", "size", "why", "")
    for (what, pipeline, why, fate), (count, whole) in sorted(sums.items()):
        figures = [str(count), f"{whole.objects:,}", size(whole.bytes)]
        add_row(table, what, pipeline, *figures, why, Text(fate, style=_STYLES.get(fate, "")))
    print_table(table)


def _print_end(sums: Mapping[tuple[str, str, str, Fate], tuple[int, Size]], order: Order) -> None:
    total = Size()
    for (_what, _pipeline, _why, fate), (_count, whole) in sums.items():
        total = total.plus(whole) if fate is Fate.DELETED else total
    fates = {fate for _what, _pipeline, _why, fate in sums}
    if total.objects:
        say(f"Deleted: {counted(total.objects, 'file')}, {size(total.bytes)}.")
    if Fate.MARKED in fates:
        when = f"{order.now + order.grace:%Y-%m-%d %H:%M} UTC"
        say(f"What is marked goes with the next `nightmill gc --delete` after {when}, ")
        say("unless it is needed again by then.")
    if not order.acts and fates & {Fate.TO_MARK, Fate.TO_DELETE}:
        say("Nothing was changed: --delete marks what may go, and deletes what was marked before.")


def _replays(older_than: timedelta) -> Iterator[Leftover]:
    try:
        yield from unchanged(find_root(Path.cwd()) / REPLAYS, older_than)
    except UsageError:  # no project here
        return


def _clear_scratch(older_than: timedelta, *, acts: bool) -> None:
    found, failed = [*leftovers(older_than), *_replays(older_than)], False
    if not found:
        say("No attempt or replay left a folder on this machine that is old enough.")
        return
    table = new_table("folder", "files", "size", "last change", "")
    for one in found:
        fate = Fate.DELETED if acts else Fate.TO_DELETE
        try:
            if acts:
                remove(one)
        except NightmillError as error:
            complain(error)
            fate, failed = Fate.PROBLEM, True
        when = f"{one.changed.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        add_row(table, address(str(one.path)), f"{one.files:,}", size(one.size), when, fate)
    print_table(table)
    if failed:
        raise typer.Exit(EXIT_FAILED)
