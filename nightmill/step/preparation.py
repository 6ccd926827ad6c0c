"""When an attempt finds out what it needs: before its first record, where it fetches no input.

Then the record is whole from the start, and one request tells what takes two otherwise. An attempt
with inputs is in the store before the first of them comes: that may take long.
"""

from __future__ import annotations

from nightmill.spec.project import Project
from nightmill.spec.steprun import StepRun
from nightmill.step.ground import Ground
from nightmill.step.notebook_run import Desk
from nightmill.step.prepare import Prepared, prepare


class Preparation:
    """Finds out all that is left, once, and has it in the record before the first cell runs."""

    def __init__(self, run: StepRun, project: Project, desk: Desk) -> None:
        self._run = run
        self._project = project
        self._desk = desk
        self._found: Prepared | Exception | None = None

    def look_ahead(self, ground: Ground | Exception) -> None:
        """Do it now if no input is fetched; what goes wrong waits until there is a record."""
        if isinstance(ground, Exception):
            return
        try:
            if not self._project.inputs(ground.pipeline, self._run.step):
                self._found = self._prepare(ground)
        except Exception as error:  # noqa: BLE001 - it is raised again once there is a record
            self._found = error

    def complete(self, ground: Ground) -> Prepared:
        """Return what was found out, which the store's record tells by now; see `prepare`."""
        if isinstance(self._found, Exception):
            raise self._found
        if self._found is None:
            self._found = self._prepare(ground)
            self._desk.kept.write()
        return self._found

    def _prepare(self, ground: Ground) -> Prepared:
        desk = self._desk
        prefix = desk.kept.prefix
        prepared = prepare(
            self._run,
            self._project,
            ground,
            store=desk.store,
            prefix=prefix,
            listener=desk.listener,
        )
        desk.kept.note(**prepared.facts)
        return prepared
