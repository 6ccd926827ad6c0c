"""`nightmill approve`, `reject` and `note`: what a person has to say about a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.history import find_run
from nightmill.cli.options import StoreOption, acting, open_existing, spec_here
from nightmill.cli.terminal import address, say
from nightmill.errors import EXIT_FAILED, UsageError
from nightmill.publish.approved import approve_and_publish
from nightmill.spec.problems import shown
from nightmill.spec.record import Record
from nightmill.spec.remarks import make_decision
from nightmill.store import history, notes
from nightmill.store.approval import reject as reject_attempt
from nightmill.store.history import prefix_of
from nightmill.store.interface import Store

RunArgument = Annotated[str, typer.Argument(help="The run's name, or its beginning.")]
StepOption = Annotated[str | None, typer.Option(help="Only this step.")]
MemberOption = Annotated[str | None, typer.Option(help="Only this member of the step.")]
PipelineOption = Annotated[str | None, typer.Option(help="Only a run of this pipeline.")]
PartitionOption = Annotated[str | None, typer.Option(help="Only a run for this partition.")]
ByOption = Annotated[str | None, typer.Option(help="Who says so; you on this machine by default.")]


def approve(
    run: RunArgument,
    step: StepOption = None,
    member: MemberOption = None,
    comment: Annotated[str, typer.Option(help="For whoever asks later.")] = "",
    by: ByOption = None,
    pipeline: PipelineOption = None,
    partition: PartitionOption = None,
    store: StoreOption = None,
) -> None:
    """Make current what a step made that is held for review.

    Of a step that is held for review, all members together. A newer commit is never replaced. Exit
    codes: 0 it is current, 1 it is not, or could not be published.
    """
    opened = open_existing(store)
    decision = make_decision(approved=True, by=by or acting(), comment=comment)
    chosen = _choose(opened, find_run(opened, run, pipeline, partition), step, member)
    prefixes, spec, failed = list(map(prefix_of, chosen)), spec_here(chosen[0].pipeline), False
    for done in approve_and_publish(opened, prefixes, decision, spec=spec):
        record = done.record
        say(Text(f"{record.label} {record.partition}: ", style="bold"), "approved, and current")
        for name, output in record.outputs.items():
            say(f"  {name}: {address(output.address)}")
        for told in done.warnings:
            say(Text("warning: ", style="yellow"), told)
        failed = failed or bool(spec and done.warnings)
    raise typer.Exit(EXIT_FAILED if failed else 0)


def reject(
    run: RunArgument,
    comment: Annotated[str, typer.Option(help="What is wrong with the outputs.")],
    step: StepOption = None,
    member: MemberOption = None,
    by: ByOption = None,
    pipeline: PipelineOption = None,
    partition: PartitionOption = None,
    store: StoreOption = None,
) -> None:
    """Refuse what is held for review: it never becomes current.

    Nothing else changes.
    """
    opened = open_existing(store)
    decision = make_decision(approved=False, by=by or acting(), comment=comment)
    for record in _choose(opened, find_run(opened, run, pipeline, partition), step, member):
        reject_attempt(opened, prefix_of(record), decision)
        name = Text(f"{record.label} {record.partition}: ", style="bold")
        say(name, "rejected; what is current stays so")


def note(
    run: RunArgument,
    text: Annotated[str, typer.Argument(help="What others should know about the run.")],
    by: ByOption = None,
    pipeline: PipelineOption = None,
    partition: PartitionOption = None,
    store: StoreOption = None,
) -> None:
    """Add a note to a run; `show` and the review pages tell it."""
    opened = open_existing(store)
    found = find_run(opened, run, pipeline, partition)
    notes.add(opened, *found, notes.make_note(by=by or acting(), text=text))
    say(f"noted on {found[2]}")


def _choose(
    store: Store, run: tuple[str, str, str], step: str | None, member: str | None
) -> Sequence[Record]:
    """Return the newest attempt of each member of the one step that is meant and needs a review.

    One that is held stands before one that is decided; whoever decides it again is told by whom.
    """
    meant = [
        one
        for one in history.records(store, *run).records
        if one.review and step in (None, one.step) and member in (None, one.member)
    ]
    in_order = sorted(meant, key=lambda one: (one.is_held, one.attempt))
    chosen = {one.label: one for one in in_order}
    steps = sorted({one.step for one in chosen.values() if one.is_held})
    if len(steps) > 1:
        names = ", ".join(map(shown, steps))
        raise UsageError(f"several steps are held for review: {names}", advice="add --step")
    held = [one for one in chosen.values() if one.is_held]
    if not chosen:
        raise UsageError(
            "nothing that is meant has outputs to be reviewed",
            where=f"run {run[2]}",
            advice="`nightmill show` tells how each step stands",
        )
    return held or list(chosen.values())
