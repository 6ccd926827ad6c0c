"""DAGs from a plan: the one place where pipelines become Airflow's own objects.

One DAG a pipeline, one task a step, named alike, and one more behind a step whose outputs need a
review (see `review`). What each run is for is decided in `partition`. Beside them there is one DAG
that is no pipeline's (see `housekeeping`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from airflow.sdk import DAG, BaseOperator, Param, get_parsing_context

from nightmill.airflow import alerts
from nightmill.airflow.assets import after_schedule, output_asset
from nightmill.airflow.housekeeping import DAG_ID, make_housekeeping
from nightmill.airflow.local import LocalStepOperator
from nightmill.airflow.members import announce_members, map_members
from nightmill.airflow.partition import PARTITION
from nightmill.airflow.plan import Plan, PlannedPipeline, PlannedStep, make_plan
from nightmill.airflow.review import make_review
from nightmill.airflow.steprun_operator import StepRunFields
from nightmill.airflow.timetable import BoundedCronTimetable
from nightmill.spec.outputs import reviewed
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import gather
from nightmill.spec.retry import MAX_DOUBLINGS

# A truth value in the first versions of Airflow 3; now a factor, for which True would be 1.
_NO_FACTOR = BaseOperator.retry_exponential_backoff
_FACTOR = True if isinstance(_NO_FACTOR, bool) else 2.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def load_dags(folder: Path) -> dict[str, DAG]:
    """Make the DAG of every sound pipeline of the project around this folder, and housekeeping.

    Returns them by name. Broken pipelines are left out here; `raise_errors` tells of them. A task
    asks for its own DAG only. Raises SpecError where platform.yaml is wrong.
    """
    only = get_parsing_context().dag_id
    plan = make_plan(folder, only)
    found = {one.pipeline.name: build_dag(plan, one) for one in plan.pipelines}
    if only in (None, DAG_ID) and (housekeeping := make_housekeeping(plan)):
        found[DAG_ID] = housekeeping
    return found


def raise_errors(folder: Path) -> None:
    """Raise all that is wrong with the pipelines of the project around this folder.

    From a file of its own: Airflow drops every DAG of a file that raises.
    """
    errors = make_plan(folder).errors
    if errors:
        raise gather(errors)


def build_dag(plan: Plan, planned: PlannedPipeline) -> DAG:
    """Make one pipeline's DAG."""
    spec = planned.pipeline.spec
    dag = DAG(
        dag_id=spec.pipeline,
        description=spec.description or None,
        doc_md=_pipeline_doc(planned),
        tags=list(spec.tags),
        schedule=_schedule(plan, spec),
        # Airflow wants a start to catch up from; the true one is the timetable's.
        start_date=_EPOCH if spec.catchup else None,
        catchup=spec.catchup,
        max_active_runs=spec.max_active_runs,
        params=_params(planned),
        default_args={"owner": spec.owner} if spec.owner else {},
        on_success_callback=alerts.callbacks(spec.alerts.success),
        **alerts.deadlines(spec),
    )
    steps = {one.name: _tasks(plan, planned, one, dag) for one in planned.steps}
    for one in planned.steps:
        for needed in one.needs:
            steps[one.name].first.set_upstream(steps[needed].last)
    return dag


def _schedule(plan: Plan, spec: PipelineSpec) -> Any:
    if spec.schedule:
        bounds = {"first": spec.start, "last": spec.end}
        return BoundedCronTimetable(spec.schedule, timezone=spec.timezone, **bounds)
    if spec.after:
        names = [reference.partition(".") for reference in spec.after]
        return after_schedule(
            output_asset(plan.platform.store, plan.root, pipeline, output)
            for pipeline, _, output in names
        )
    return None


class _Tasks(NamedTuple):
    """The task that a step begins with, and the one after which its outputs are there."""

    first: Any
    last: Any


def _tasks(plan: Plan, planned: PlannedPipeline, step: PlannedStep, dag: DAG) -> _Tasks:
    """Make a step's task, or its mapped tasks, and what stands behind them."""
    kind, own = _kind(plan, planned, step)
    fields = {
        "pipeline": planned.pipeline.name,
        "step": step.name,
        "store": plan.platform.store,
        "project": str(plan.root),
        **own,
        **_task_arguments(plan, planned, step),
        "dag": dag,
    }
    if reviewed(step.spec.outputs):
        review = make_review(fields, review_url=plan.platform.review_url)
        task = _run_task(kind, fields | {"outlets": []}, step)
        review.set_upstream(task)
        return _Tasks(task, review)
    task = _run_task(kind, fields, step)
    if step.spec.members and step.spec.outputs:
        announce_members(fields).set_upstream(task)
    return _Tasks(task, task)


def _run_task(kind: type[StepRunFields], fields: dict[str, Any], step: PlannedStep) -> Any:
    members = step.spec.members
    return map_members(kind, fields, members) if members else kind(**fields)


def _kind(
    plan: Plan, planned: PlannedPipeline, step: PlannedStep
) -> tuple[type[StepRunFields], dict[str, Any]]:
    """Choose the operator that the platform's launcher asks for, and what it needs."""
    if plan.platform.launcher == "local":
        variables = plan.platform.environment.items()
        plain = {name: one.value for name, one in variables if one.value is not None}
        return LocalStepOperator, {"environment": plain, "review_url": plan.platform.review_url}
    # Only here: the client of Kubernetes takes seconds to import.
    from nightmill.airflow.operator import pod_operator_kind  # noqa: PLC0415 - see above

    return pod_operator_kind(plan.platform, planned.pipeline, step.name)


def _task_arguments(plan: Plan, planned: PlannedPipeline, step: PlannedStep) -> dict[str, Any]:
    pipeline, spec = planned.pipeline.spec, step.spec
    retries = pipeline.retries_of(spec)
    return {
        "task_id": step.name,
        "doc_md": _step_doc(step),
        "retries": retries.count,
        "retry_delay": retries.delay,
        "retry_exponential_backoff": _FACTOR if retries.backoff else _NO_FACTOR,
        "max_retry_delay": retries.delay * 2**MAX_DOUBLINGS,
        "retry_by_cause": {cause.value: retry.value for cause, retry in retries.own.items()},
        "execution_timeout": step.most,
        "trigger_rule": spec.trigger_rule,
        "priority_weight": spec.priority,
        "on_failure_callback": alerts.callbacks(pipeline.alerts.failure),
        "on_retry_callback": alerts.callbacks(pipeline.alerts.retry),
        "outlets": [
            output_asset(plan.platform.store, plan.root, pipeline.pipeline, output)
            for output in spec.outputs
        ],
        **({"pool": step.airflow_pool} if step.airflow_pool else {}),
    }


def _params(planned: PlannedPipeline) -> dict[str, Param]:
    """Make the trigger form: the partition, then what the notebooks declare."""
    spec = planned.pipeline.spec
    what = "The day" if spec.partition == "date" else "The partition"
    otherwise = " Empty: the date of the run itself." if spec.partition == "date" else ""
    schema: dict[str, Any] = {"format": "date"} if spec.partition == "date" else {}
    params = {
        PARTITION: Param(
            None,
            title=PARTITION,
            description=f"{what} to run for.{otherwise}",
            type=["string", "null"],
            **schema,
        )
    }
    for name, one in planned.fields.items():
        default = {"default": one.default} if one.has_default else {}
        params[name] = Param(**default, title=name, description=one.help or None, **one.schema)
    return params


def _pipeline_doc(planned: PlannedPipeline) -> str:
    spec = planned.pipeline.spec
    lines = [spec.description, ""] if spec.description else []
    lines += ["| step | notebook | reads | makes |", "|---|---|---|---|"]
    lines += [_row(one) for one in planned.steps]
    return "\n".join(lines)


def _row(step: PlannedStep) -> str:
    cells = (
        step.name,
        f"{step.title or step.spec.notebook} (`{step.spec.notebook}`)",
        ", ".join(step.spec.inputs),
        ", ".join(step.spec.outputs),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _step_doc(step: PlannedStep) -> str:
    return f"**{step.title or step.name}**\n\n`{step.spec.notebook}`"
