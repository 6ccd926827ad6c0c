"""`nightmill run`: a pipeline on this machine, for one partition or a range of days."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from nightmill import kernels
from nightmill.cli.display import open_display, print_result
from nightmill.cli.options import StoreOption, open_chosen, read_span
from nightmill.cli.terminal import address, counted, say
from nightmill.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    ContractError,
    SpecError,
    UsageError,
)
from nightmill.publish.publish import complete, warnings
from nightmill.publish.target import State
from nightmill.run.aftermath import amend_death
from nightmill.run.awaiting import Awaited
from nightmill.run.launcher import Launcher
from nightmill.run.plan import (
    PlannedStep,
    Request,
    build_plan,
    default_as_of,
    lacking_outputs,
)
from nightmill.run.status import FAILURES, StepState, StepStatus
from nightmill.signals import stop_signals
from nightmill.spec.check import read_step_contract, require_step
from nightmill.spec.names import label
from nightmill.spec.partition import check_partition, date_range, parse_partition
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import each, shown
from nightmill.spec.project import Project, find_root
from nightmill.spec.scheduling import MAX_RETRIES
from nightmill.spec.step_values import placeholders, read_overrides, step_values
from nightmill.store.interface import Store
from nightmill.store.pointer import read_pointer


def run(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name.")],
    partition: Annotated[
        str | None, typer.Option("--partition", help="The day (or other key) to run for.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="The first day of a range.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last day of a range.")] = None,
    steps: Annotated[
        list[str] | None, typer.Option("--step", help="Only this step; may be repeated.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", help="name=value or step.name=value; may be repeated."),
    ] = None,
    store: StoreOption = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Steps at once; as many as cores by default.")
    ] = os.cpu_count() or 1,
    rerun: Annotated[bool, typer.Option("--rerun", help="Also what is committed or held.")] = False,
    as_of: Annotated[
        str | None, typer.Option(help="The ISO date for today; the partition by default.")
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_RETRIES, help="More attempts; as pipeline.yaml says, or none."),
    ] = None,
    retry_delay: Annotated[
        str | None, typer.Option(help="Between attempts, like 30s; then twice as long each time.")
    ] = None,
) -> None:
    """Run a pipeline on this machine.

    Steps that are committed or held for review are left alone, and a step that fails or is held
    stops only those that read its outputs. The cause decides whether another attempt is worth it.
    Exit codes: 0 all succeeded or await a review, 1 a step failed or an error, 2 wrong usage, 130
    stopped by Ctrl-C or SIGTERM.
    """
    project = Project.load(find_root(Path.cwd()))
    found = project.pipeline(pipeline)
    request = Request(
        found,
        _partitions(found, partition, first, last),
        steps or [],
        parameters=_values(found, steps or [], parameters or []),
        as_of=parse_partition(as_of) if as_of else None,
        rerun=rerun,
        retries=retries,
        retry_delay=None if retry_delay is None else read_span(retry_delay, "--retry-delay"),
    )
    opened = open_chosen(store)
    planned = build_plan(project, request, opened)
    _warn_of_unused_values(planned)
    _complete(opened, found.spec, planned)
    lacks_outputs = _tell_lacking_outputs(request, planned)
    if all(one.committed for one in planned):
        _say_nothing_to_do(request, len(planned), is_all=not lacks_outputs)
        _print_outputs(opened, planned)
        return
    _check_before(project, request, planned)
    opened.preflight()
    launcher = Launcher(
        planned,
        root=project.root,
        workers=workers,
        on_death=partial(amend_death, opened, found.spec),
        has_inputs=Awaited(opened).are_there,
    )
    statuses = _launch(launcher)
    print_result(statuses)
    succeeded = [one.planned for one in statuses if one.state is StepState.SUCCEEDED]
    _print_outputs(opened, succeeded)
    failed = any(one.state in FAILURES for one in statuses)
    raise typer.Exit(EXIT_INTERRUPTED if launcher.stopped else EXIT_FAILED if failed else 0)


def _partitions(
    pipeline: Pipeline, partition: str | None, first: str | None, last: str | None
) -> list[str]:
    if partition is not None and (first or last):
        raise UsageError("--partition and --from/--to exclude each other", advice="keep one")
    if partition is not None:
        return [check_partition(pipeline, partition)]
    if first and last:
        if pipeline.spec.partition != "date":
            raise UsageError("--from and --to need partitions that are days")
        return [check_partition(pipeline, day) for day in date_range(first, last)]
    if first or last:
        given, lacking = ("--from", "--to") if first else ("--to", "--from")
        raise UsageError(f"{given} is given without {lacking}", advice=f"add {lacking} 2013-03-01")
    raise UsageError(
        "no partition is given",
        advice="add --partition 2013-03-01, or --from and --to for a range",
    )


def _values(
    pipeline: Pipeline, steps: Sequence[str], texts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    known = [step for step in pipeline.spec.steps if not steps or step in steps]
    if not texts or not known:
        return {}
    for step in known:
        read_step_contract(pipeline, step)  # what is wrong with a notebook is its author's to mend
    try:
        return read_overrides(pipeline, known, texts)
    except SpecError as error:
        error.exit_code = EXIT_USAGE
        raise


def _check_before(project: Project, request: Request, planned: Sequence[PlannedStep]) -> None:
    """Find every wrong parameter and missing kernel before anything runs."""
    pipeline = request.pipeline
    for step in dict.fromkeys(one.run.step for one in planned if one.committed is None):
        kernels.require(project.kernel(pipeline.spec.steps[step]), project.root)
        contract = require_step(pipeline, step)
        partition = request.partitions[0]
        as_of = request.as_of or default_as_of(pipeline, partition)
        members = pipeline.spec.steps[step].members
        built_in = {"partition": partition, "as_of": as_of, "member": next(iter(members), "")}
        given = request.parameters.get(step, {})
        known = placeholders(pipeline.spec.steps[step].outputs, project.inputs(pipeline, step))
        try:
            step_values(pipeline, step, contract, given=given, built_in=built_in, addresses=known)
        except ContractError as error:
            if all(one.key in given for one in each(error)):
                error.exit_code = EXIT_USAGE
            raise


def _launch(launcher: Launcher) -> list[StepStatus]:
    display = open_display(launcher.statuses.values())
    with stop_signals(lambda _number: launcher.stop()), display:
        return launcher.run(display)


def _warn_of_unused_values(planned: Sequence[PlannedStep]) -> None:
    """Say which steps will not see their `-p`, since what they made is there already."""
    unused = {one.run.step: None for one in planned if one.committed and one.run.parameters}
    if unused:
        say(f"note: {', '.join(unused)} committed before; add --rerun to run with these values")


def _complete(store: Store, spec: PipelineSpec, planned: Sequence[PlannedStep]) -> None:
    """Publish what is left alone since it has committed, but was killed before it had published."""
    done = tuple(complete(store, spec, (one.run for one in planned if one.committed)))
    for one in done:
        name = f"{label(one.output, one.member)} {one.partition}"
        if one.state is State.PUBLISHED:
            say(f"{name} committed before, and was not published: it is now")
        elif one.state is State.WITHDRAWN:
            say(f"{name} is no output of what is current: withdrawn from where it was published")
    for text in warnings(done, spec.pipeline):
        say(Text("warning: ", style="yellow"), text)


def _tell_lacking_outputs(request: Request, planned: Sequence[PlannedStep]) -> bool:
    """Say which steps are left alone that committed before an output was declared; True if any."""
    found = lacking_outputs(request.pipeline.spec, planned)
    for (step, outputs), partitions in found.items():
        more = f" and {counted(len(partitions) - 1, 'more partition')}" if partitions[1:] else ""
        say(
            f"note: {step} committed without {' and '.join(map(shown, outputs))} for "
            f"{partitions[0]}{more}; add --step {step} --rerun to make what it lacks"
        )
    return bool(found)


def _say_nothing_to_do(request: Request, count: int, *, is_all: bool) -> None:
    first, last = request.partitions[0], request.partitions[-1]
    days = first if first == last else f"{first} to {last}"
    steps = counted(count, "step")
    done = f"all is committed ({steps})" if is_all else f"{steps} committed, some without an output"
    say(f"Nothing to do for {request.pipeline.name}, {days}: {done}. Add --rerun to run again.")


def _print_outputs(store: Store, steps: Sequence[PlannedStep]) -> None:
    """Say where the outputs of the last partition are, and how to learn it of the others."""
    *others, last = dict.fromkeys(one.run.partition for one in steps) or [""]
    day = f"{last} " if others else ""
    names: list[str] = []
    for run in (one.run for one in steps if one.run.partition == last):
        pointer = read_pointer(store, run.pipeline, run.step, last, member=run.member)
        for output in pointer.outputs.values() if pointer else ():
            names.append(f"{run.pipeline}.{output.name}")
            place = address(store.address(output.key))
            say(f"  {day}{label(output.name, run.member)}: {place}")
    if others and names:
        command = f"`nightmill where {names[-1]} --partition {others[0]}`"
        say(f"  those of {counted(len(others), 'other partition')}: {command}")
