"""`nightmill versions`, `rollback` and `promote`: whose outputs count, and who says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.options import StoreOption, acting, open_existing, spec_here
from nightmill.cli.terminal import add_row, address, new_table, print_table, say, size
from nightmill.errors import EXIT_FAILED, UsageError
from nightmill.publish.publish import publish_committed, repair_command
from nightmill.spec.held import standing
from nightmill.spec.problems import shown, suggest
from nightmill.spec.record import AttemptState
from nightmill.store import history
from nightmill.store.decision import decide, prepare
from nightmill.store.interface import Store
from nightmill.store.keys import attempt_names, decode, pipeline_prefix
from nightmill.store.pointer import Kind, Move, Pointer
from nightmill.store.versions import Version, Versions, find_versions

_LOOKED_BACK = 10  # partitions, where none is named

OutputArgument = Annotated[str, typer.Argument(metavar="PIPELINE.OUTPUT")]
PartitionOption = Annotated[str, typer.Option(help="The partition.")]
ToOption = Annotated[
    str, typer.Option("--to", help="`previous`, a run, or RUN:ATTEMPT, or the beginning of it.")
]
MemberOption = Annotated[str | None, typer.Option(help="Only this member of the step.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for whoever asks later.")]


def versions(
    output: OutputArgument,
    partition: Annotated[
        str | None, typer.Option(help="By default the newest that has a version.")
    ] = None,
    member: MemberOption = None,
    store: StoreOption = None,
) -> None:
    """List the versions of an output, and which one is current.

    It tells where each one is; versions with the same digest have the same bytes.
    """
    opened = open_existing(store)
    pipeline, name = split_output(opened, output)
    with suggesting_outputs(pipeline, name):
        found = _of_members(_find(opened, pipeline, name, partition), member)
    first = found[0].found[0].record
    say(Text(f"{pipeline}.{name} {first.partition}", style="bold"), f" of the step {first.step}")
    has = {
        "member": any(one.found[0].record.member for one in found),
        "rows": any(version.rows is not None for one in found for version in one.found),
    }
    optional = [column for column, is_shown in has.items() if is_shown]
    table = new_table("version", *optional, "ended (UTC)", "size", "digest", "state", "address")
    for one in found:
        for version in one.found:
            add_row(table, *_cells(version, optional))
    print_table(table)
    for one in found:
        _say_moves(one)


def rollback(
    output: OutputArgument,
    partition: PartitionOption,
    to: ToOption,
    reason: ReasonOption = "",
    member: MemberOption = None,
    store: StoreOption = None,
) -> None:
    """Make a version current again that was so before.

    The whole step goes back, since its outputs were made together. Attempts of the run that is
    taken back, and of older ones, cannot commit any more; a run that is started later can. Steps
    that have read the output are not run again.
    """
    opened = open_existing(store)
    _decide("rollback", opened, output, partition, to=to, reason=reason, member=member)


def promote(
    output: OutputArgument,
    partition: PartitionOption,
    to: ToOption,
    reason: ReasonOption = "",
    member: MemberOption = None,
    store: StoreOption = None,
) -> None:
    """Make a version current that never was.

    Its commit was lost, or a newer run was in its way; only one that ran to its end and passed all
    checks. The whole step is promoted, as in rollback.
    """
    opened = open_existing(store)
    _decide("promotion", opened, output, partition, to=to, reason=reason, member=member)


def _decide(
    kind: Kind,
    store: Store,
    output: str,
    partition: str,
    *,
    to: str,
    reason: str,
    member: str | None,
) -> None:
    pipeline, name = split_output(store, output)
    with suggesting_outputs(pipeline, name):
        found = _of_members(find_versions(store, pipeline, name, partition), member)
    chosen = [(one, one.choose(to)) for one in found]
    move = Move(kind=kind, by=acting(), reason=reason)
    # All are prepared, and so known to be possible, before the first one is changed.
    prepared = [
        (one, prepare(store, version, one.current, move))
        for one, version in chosen
        if not version.is_current
    ]
    for one, version in chosen:
        if version.is_current:
            say(f"{one.label} {partition}: {version.name} is current already.")
    for one, pointer in prepared:
        decide(store, pointer, seen=one.current)
        _say_decided(store, one, pointer)
    if prepared:
        say("Steps that have read it are not run again; where that matters, run them with --rerun.")
    # Also what is current already: a decision may have been cut off before it was published.
    before = [one.current.pointer for one, version in chosen if version.is_current]
    _publish(store, [*filter(None, before), *(pointer for _one, pointer in prepared)])


def _publish(store: Store, pointers: Sequence[Pointer]) -> None:
    """Bring the plain addresses up to date; what readers find there is not as decided until then.

    Only the project knows what is published.
    """
    first = pointers[0]
    spec = spec_here(first.pipeline)
    if spec is None or first.step not in spec.steps:
        command = repair_command(first.pipeline, first.partition)
        say(f"To publish it where its outputs are published, run `{command}` in the project.")
        return
    told = [text for one in pointers for text in publish_committed(store, spec, one)]
    for text in told:
        say(Text("warning: ", style="yellow"), text)
    if told:
        raise typer.Exit(EXIT_FAILED)


def split_output(store: Store, output: str) -> tuple[str, str]:
    """Return pipeline and output; raises UsageError for what is no output of anything that ran."""
    pipeline, dot, name = output.rpartition(".")
    known = history.pipelines(store)
    if not dot or not name:
        advice = "for example flight_delays.scores"
        raise UsageError(f"{shown(output)} is no PIPELINE.OUTPUT", advice=advice)
    if pipeline not in known:
        problem = f"no run of the pipeline {shown(pipeline)} in {address(store.url)}"
        raise UsageError(problem, advice=suggest(pipeline, known, noun="pipelines that ran"))
    return pipeline, name


@contextmanager
def suggesting_outputs(pipeline: str, name: str) -> Iterator[None]:
    """Have an error about an output that the project here does not declare say which was meant."""
    try:
        yield
    except UsageError as error:
        spec = spec_here(pipeline)
        declared = (
            [output for step in spec.steps.values() for output in step.outputs] if spec else ()
        )
        if declared and name not in declared:
            error.advice = suggest(name, declared, noun=f"outputs of {pipeline}")
        raise


def _find(store: Store, pipeline: str, name: str, partition: str | None) -> list[Versions]:
    if partition is not None:
        return find_versions(store, pipeline, name, partition)
    names = sorted(map(decode, store.children(pipeline_prefix(pipeline))), reverse=True)
    for newest in names[:_LOOKED_BACK]:
        with suppress(UsageError):
            return find_versions(store, pipeline, name, newest)
    raise UsageError(
        f"the newest {_LOOKED_BACK} partitions of {pipeline} have no output {shown(name)}",
        advice="name one with --partition",
    )


def _of_members(found: Sequence[Versions], member: str | None) -> list[Versions]:
    if member is None:
        return list(found)
    known = [one.found[0].record.member for one in found]
    if member not in known:
        advice = suggest(member, filter(None, known), noun="members")
        raise UsageError(f"no member {shown(member)} has a version", advice=advice)
    return [found[known.index(member)]]


def _cells(version: Version, optional: Sequence[str]) -> list[str | Text]:
    record, stored = version.record, version.stored
    rows = "" if version.rows is None else f"{version.rows:,}"
    given = {"member": record.member, "rows": rows}
    ended = _moment(record.ended_at) if record.ended_at else ""
    extra = [given[column] for column in optional]
    figures = [ended, size(stored.size), version.digest]
    return [version.name, *extra, *figures, _state(version), address(stored.address)]


def _state(version: Version) -> Text:
    record = version.record
    if version.is_current:
        return Text("current", style="green")
    if record.committed:
        return Text("was current", style="dim")
    if record.state is AttemptState.RUNNING:
        return Text("no end in its record", style="cyan")
    why = record.failure.cause if record.failure else standing(record)
    return Text(f"never current: {why}", style="yellow")


def _say_moves(one: Versions) -> None:
    for move in one.current.pointer.moves if one.current.pointer else ():
        reason = f": {' '.join(move.reason.split())}" if move.reason else ""
        replaced = f", in place of {_named(move.replaced)}" if move.replaced else ""
        said = f"{move.kind} by {move.by} at {_moment(move.at)} UTC{replaced}{reason}"
        say(Text(f"{one.label}: {said}", style="yellow"))


def _say_decided(store: Store, one: Versions, pointer: Pointer) -> None:
    replaced = pointer.moves[-1].replaced
    instead = f", in place of {_named(replaced)}" if replaced else ""
    chosen = _named(pointer.attempt_prefix)
    say(Text(f"{one.label} {pointer.partition}: ", style="bold"), f"{chosen} is current{instead}")
    for output in pointer.outputs.values():
        say(f"  {output.name}: {address(store.address(output.key))}")


def _named(prefix: str) -> str:
    names = attempt_names(prefix)
    return f"{names.run}:{names.attempt}"


def _moment(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
