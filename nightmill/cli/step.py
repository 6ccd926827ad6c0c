"""`nightmill step`: one attempt at one step, the command that pods run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from nightmill.cli.program import new_program
from nightmill.cli.step_log import log_lines
from nightmill.cli.terminal import complain
from nightmill.errors import StoreError
from nightmill.spec.project import Project, find_root
from nightmill.spec.record import Record
from nightmill.spec.result import result_of, result_of_error
from nightmill.spec.steprun import StepRun, decode_parameters
from nightmill.step.early import Early


def step(
    context: typer.Context,
    pipeline: Annotated[str, typer.Option(help="The pipeline's name.")],
    step: Annotated[str, typer.Option(help="The step's name.")],
    partition: Annotated[str, typer.Option(help="The day or other key to run for.")],
    as_of: Annotated[str, typer.Option(help="The ISO date that the notebook takes for today.")],
    run: Annotated[str, typer.Option(help="The run's name.")],
    order: Annotated[int, typer.Option(help="When the run was created, in microseconds.")],
    store: Annotated[str, typer.Option(help="Where outputs and records go.")],
    attempt: Annotated[int, typer.Option(help="The attempt's number, from 1.")] = 1,
    member: Annotated[str, typer.Option(help="Which member, of a step that has some.")] = "",
    parameters: Annotated[str, typer.Option(help="base64url of a JSON object.")] = "",
    log_format: Annotated[Literal["text", "json"], typer.Option(help="How to tell.")] = "text",
    die_with_stdin: Annotated[
        bool, typer.Option("--die-with-stdin", help="Stop when standard input closes.")
    ] = False,
) -> None:
    """Run one attempt at one step.

    This is what `nightmill run` and Airflow start. Exit codes: 0 committed, 2 wrong usage, and from
    10 on one for each cause, in the order in which the README lists them.
    """
    step_run = StepRun.checked(
        {
            "pipeline": pipeline,
            "step": step,
            "partition": partition,
            "as_of": as_of,
            "run": run,
            "order": order,
            "store": store,
            "attempt": attempt,
            "member": member,
            "parameters": decode_parameters(parameters),
        }
    )
    # Only here: a machine that only checks or shows has no need of the extra [runner].
    from nightmill.step.attempt import Attempt  # noqa: PLC0415 - see above
    from nightmill.step.redaction import Redactor  # noqa: PLC0415 - see above
    from nightmill.step.termination import write_termination_message  # noqa: PLC0415 - see above

    early: Early = context.obj
    tell = _teller(_json_line if log_format == "json" else log_lines)
    project = Project.load(find_root(Path.cwd()))
    one = Attempt(step_run, project, early.engine, stop=early.stop, listener=tell)
    try:
        record = one.execute(die_with_stdin=die_with_stdin)
    except StoreError as error:  # no record could be kept; this tells
        error.exit_code = error.cause.exit_code
        write_termination_message(Redactor.of(os.environ).tree(result_of_error(error)))
        if one.gave_up:
            complain(error)
            _leave(error.exit_code)
        raise
    write_termination_message(result_of(record, one.record_address))
    tell(_last_event(record))
    if one.gave_up:
        _leave(record.exit_code)
    raise typer.Exit(record.exit_code)


def _leave(exit_code: int) -> NoReturn:
    """Exit although a thread still waits for a store that hangs; Python would wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _last_event(record: Record) -> dict[str, Any]:
    return {
        "event": "step_ended",
        "state": record.state.value,
        "cause": record.failure.cause.value if record.failure else None,
        "message": record.failure.message if record.failure else None,
        "cell": record.failure.cell if record.failure else None,
        "duration_s": record.duration_s,
        "peak_bytes": record.memory.peak_bytes if record.memory else None,
        "notebook": record.notebook,
        "outputs": {name: output.address for name, output in record.outputs.items()},
    }


def _teller(
    lines_of: Callable[[Mapping[str, Any]], list[str]],
) -> Callable[[Mapping[str, Any]], None]:
    """Return a listener that writes whole lines at once, and goes on when nobody reads."""

    def tell(event: Mapping[str, Any]) -> None:
        if lines := lines_of(event):
            try:
                sys.stdout.write("\n".join(lines) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:  # the reader is gone; the record is what counts
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return tell


def _json_line(event: Mapping[str, Any]) -> list[str]:
    return [json.dumps(event)]


app = new_program()
app.command("step")(step)


@app.callback()
def _only_step() -> None:
    """Keep `step` a verb although it is the only one here."""
