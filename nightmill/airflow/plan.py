"""What Airflow shall run, as plain data: every pipeline of a project, or what is wrong with it.

All files are read here and nothing of Airflow is touched, so that a fault can be told with file
and line, and one broken pipeline takes no other with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from nightmill.airflow.alerts import alert_errors
from nightmill.airflow.params import FormField, form_fields
from nightmill.cluster.platform import Platform, load_platform
from nightmill.cluster.pod import UPLOAD_MARGIN, place
from nightmill.cluster.pool import Pool
from nightmill.errors import SpecError
from nightmill.spec.check import check_pipeline
from nightmill.spec.contract import Contract, read_contract
from nightmill.spec.notebook_index import NotebookIndex, title_of
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import each, gather
from nightmill.spec.project import Project, find_root

INDEX = Path(".nightmill") / "notebooks"
MARGIN = timedelta(minutes=10)  # Airflow's own: what is slower is stopped by a deadline further in


@dataclass(frozen=True)
class PlannedStep:
    """A step and its place in the graph. `most` is Airflow's own limit, above all others."""

    name: str
    spec: StepSpec
    title: str
    needs: tuple[str, ...]
    most: timedelta | None
    airflow_pool: str | None


@dataclass(frozen=True)
class PlannedPipeline:
    """A pipeline that is right in itself and with its notebooks."""

    pipeline: Pipeline
    steps: tuple[PlannedStep, ...]
    fields: Mapping[str, FormField]


@dataclass(frozen=True)
class Plan:
    """All that can run, and all that is wrong with the rest."""

    root: Path
    platform: Platform
    pipelines: tuple[PlannedPipeline, ...]
    errors: tuple[SpecError, ...]


def make_plan(dags: Path, only: str | None = None) -> Plan:
    """Plan the project around a folder of DAGs, or `only` one pipeline of it.

    Raises SpecError for a platform.yaml that is wrong; what is wrong with a pipeline waits in
    `errors`.
    """
    platform = load_platform(dags)
    root = find_root(dags)
    project = Project.load(root)
    errors = [error for some in project.errors.values() for error in some]
    planner = _Planner(project, platform, NotebookIndex(root / INDEX))
    planned: list[PlannedPipeline] = []
    for name, pipeline in project.pipelines.items():
        if pipeline.file not in project.errors and only in (None, name):
            try:
                planned.append(planner.plan(pipeline))
            except SpecError as error:
                errors += each(error)
    return Plan(root=root, platform=platform, pipelines=tuple(planned), errors=tuple(errors))


@dataclass(frozen=True)
class _Planner:
    project: Project
    platform: Platform
    index: NotebookIndex

    def plan(self, pipeline: Pipeline) -> PlannedPipeline:
        """Plan a pipeline; raises SpecError for all that is wrong beyond its own file."""
        errors = check_pipeline(pipeline, self._contract) + alert_errors(pipeline)
        if errors:
            raise gather(errors)
        return PlannedPipeline(
            pipeline=pipeline,
            steps=tuple(self._step(pipeline, name) for name in self.project.step_order(pipeline)),
            fields=form_fields(
                pipeline, {step: self._contract(pipeline, step) for step in pipeline.spec.steps}
            ),
        )

    def _contract(self, pipeline: Pipeline, step: str) -> Contract:
        return read_contract(self.index.read(pipeline.notebook(step)))

    def _step(self, pipeline: Pipeline, name: str) -> PlannedStep:
        spec = pipeline.spec.steps[name]
        pool = None
        if self.platform.launcher != "local":
            pool = place(self.platform, pipeline, name).pool
        return PlannedStep(
            name=name,
            spec=spec,
            title=title_of(self.index.read(pipeline.notebook(name))),
            needs=self.project.upstream(pipeline, name),
            most=_most(spec, pool, self.platform),
            airflow_pool=spec.airflow_pool or (pool.airflow_pool if pool else None),
        )


def _most(spec: StepSpec, pool: Pool | None, platform: Platform) -> timedelta | None:
    """Add up all that a step may take: waiting for a node, its image, the notebook, saving."""
    if pool is None:
        return spec.timeout + UPLOAD_MARGIN + MARGIN if spec.timeout else None
    notebook = spec.timeout or platform.pod_deadline
    return pool.schedule_timeout + pool.startup_timeout + notebook + UPLOAD_MARGIN + MARGIN
