"""Whether a step's inputs are there, asked on the worker before anything is spent on the step.

A step whose input is missing or too old fails here, without a pod, or is given back to the
scheduler for a while where its pipeline.yaml says `wait`: that holds no worker, no pod and no
triggerer. The worker's own identity reads the store, as in `outcome`. A worker that may not do so
goes on, and the step finds out by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowRescheduleException

from nightmill.errors import NightmillError
from nightmill.spec.graph import InputSource
from nightmill.spec.project import Project
from nightmill.spec.steprun import StepRun
from nightmill.store.inputs import Lack, find_lack
from nightmill.store.open import open_store

LOOK_EVERY = timedelta(minutes=1)

log = logging.getLogger(__name__)


def missing_inputs(
    context: Mapping[str, Any], run: StepRun, project: Path
) -> dict[str, Any] | None:
    """Return the result of a step that cannot begin, None where it can.

    Raises AirflowRescheduleException while there is still time to wait.
    """
    now = datetime.now(UTC)
    try:
        lack = _find_lack(context, run, project, now)
    except (NightmillError, ImportError) as error:  # ImportError: a worker without boto3
        log.warning("The worker cannot see whether the step's inputs are there: %s", error)
        return None
    if lack is None:
        return None
    if lack.left:
        until = (now + lack.left).isoformat(sep=" ", timespec="minutes")
        log.info("Waiting until %s: %s", until, lack.told)
        moment = now + min(lack.left, LOOK_EVERY)
        raise AirflowRescheduleException(moment)  # type: ignore[no-untyped-call]
    return {"state": "failed", "cause": lack.error.cause.value, "message": lack.message}


def _find_lack(
    context: Mapping[str, Any], run: StepRun, project: Path, now: datetime
) -> Lack | None:
    """Ask the store; whoever waits has read it before, and so may wait for it as well."""
    loaded = Project.load(project)
    sources = loaded.inputs(loaded.pipeline(run.pipeline), run.step)
    if not sources:
        return None
    begun = _waiting_since(context, sources)
    return find_lack(
        open_store(run.store, base=project),
        sources,
        run.partition,
        waited=now - begun if begun else timedelta(),
        patiently=begun is not None,
    )


def _waiting_since(context: Mapping[str, Any], sources: tuple[InputSource, ...]) -> datetime | None:
    """Say when this try was first given back to the scheduler; None if it never was."""
    if not any(source.wait for source in sources):
        return None
    begun: datetime | None = context["ti"].get_first_reschedule_date(context)
    return begun
