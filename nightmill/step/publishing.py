"""The step's last act: what it has committed also goes to its plain address.

Whatever happens here, the commit stands and the attempt has succeeded; so it only warns.
"""

from __future__ import annotations

from nightmill.publish.publish import publish_committed, repair_command
from nightmill.spec.project import Project
from nightmill.spec.steprun import StepRun
from nightmill.step.stop import StopRequest
from nightmill.store.interface import Store


def publish(run: StepRun, project: Project, *, store: Store, stop: StopRequest) -> tuple[str, ...]:
    """Publish what is current of the run's step; return warnings for its record."""
    try:
        spec = project.pipeline(run.pipeline).spec
        if not any(output.is_published for output in spec.steps[run.step].outputs.values()):
            return ()
        if stop.times:
            problem = "the step was asked to stop"
        else:
            return publish_committed(store, spec, run)
    except Exception as error:  # noqa: BLE001 - not even a bug may fail what has committed
        problem = f"{type(error).__name__}: {error}"
    command = repair_command(run.pipeline, run.partition)
    return (f"the outputs are committed, but not published: {problem}; `{command}` completes it",)
