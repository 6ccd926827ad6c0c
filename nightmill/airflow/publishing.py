"""Publishing on the worker: what a pod has committed, and died before it could publish it.

A worker that may read the store, and not write to it, says in its log what completes it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from nightmill.errors import SpecError, UsageError
from nightmill.publish.publish import Committed, publish_committed, repair_command
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.project import Project
from nightmill.store.interface import Store

log = logging.getLogger(__name__)


def spec_of(project: Path, pipeline: str) -> PipelineSpec | None:
    """Return what the project says of a pipeline; None, and a line in the log, if it cannot."""
    try:
        return Project.load(project).pipeline(pipeline).spec
    except (UsageError, SpecError) as error:
        log.warning("What is published is not known: %s", error)
        return None


def publish(store: Store, project: Path, committed: Committed) -> None:
    """Publish what is current of a step; what could not be published stands in the log."""
    try:
        told = publish_committed(store, spec_of(project, committed.pipeline), committed)
    except Exception as error:  # noqa: BLE001 - such as no deltalake here; the commit stands
        command = repair_command(committed.pipeline, committed.partition)
        told = (f"committed, but not published: {error!r}; `{command}` completes it",)
    for text in told:
        log.warning("%s", text)
