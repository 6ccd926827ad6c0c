"""`nightmill step`: one attempt at one step, the command that pods run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nightmill.cli.program import new_program
from nightmill.spec.project import Project, find_root
from nightmill.spec.steprun import StepRun, decode_parameters
from nightmill.step.early import Early
from nightmill.step.ground import begin


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
    10 on one for each cause, as docs/running.md lists them.
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
    project = Project.load(find_root(Path.cwd()))
    early: Early = context.obj
    begun = begin(step_run, project, early.engine)
    # Only here: the kernel starts meanwhile, and who only checks or shows needs no [runner].
    from nightmill.cli.stepping import run_attempt, teller  # noqa: PLC0415 - see above
    from nightmill.step.attempt import Attempt  # noqa: PLC0415 - see above

    tell = teller(log_format)
    one = Attempt(step_run, project, begun, stop=early.stop, listener=tell)
    raise typer.Exit(run_attempt(one, tell, die_with_stdin=die_with_stdin))


app = new_program()
app.command("step")(step)


@app.callback()
def _only_step() -> None:
    """Keep `step` a verb although it is the only one here."""
