"""The task that asks people about a step's outputs: where it stands, what it says, what it does.

Airflow's side of an answer is in `e2e/test_airflow_review.py`; here an answer is the event by which
Airflow resumes the task, and what the task would write into Airflow's database is caught.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    DownstreamTasksSkipped,
)
from airflow.providers.standard.operators import hitl
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.serialization.serialized_objects import DagSerialization

from nightmill.airflow.assets import output_asset
from nightmill.airflow.outcome import Outcome
from nightmill.airflow.review import Case, make_review
from nightmill.airflow.review_sensor import StepReviewSensor
from nightmill.airflow.review_task import COMMENT, StepReviewOperator
from nightmill.airflow.review_text import body, subject
from nightmill.spec.record import (
    AttemptState,
    CheckResult,
    CheckState,
    Record,
    Review,
)
from nightmill.spec.remarks import make_decision
from nightmill.spec.steprun import StepRun
from nightmill.store.amend import read_record
from nightmill.store.approval import approve, reject
from nightmill.store.keys import data_partition_prefix
from nightmill.store.open import open_store
from tests.stored_versions import (
    DAY,
    PIPELINE,
    STEP,
    add_version,
    count_of,
    current,
    prefix_of,
    usual_files,
)
from tests.test_airflow_operator_fields import Events, context

REPOSITORY = Path(__file__).parents[1]
NOON = datetime(2013, 3, 2, 12, tzinfo=UTC)
YES = make_decision(approved=True, by="page", at=NOON)
NO = make_decision(approved=False, by="page", at=NOON, comment="half is missing")

ASKED = """\
make: {notebook: make.ipynb, outputs: {numbers: {path: n.json, review: required}, more: more/}}
total: {notebook: total.ipynb, inputs: [numbers], outputs: {total: t.txt}}
"""
MANY = """\
part: {notebook: part.ipynb, members: [a, b], outputs: {piece: {path: p.txt, review: required}}}
whole: {notebook: whole.ipynb, inputs: [piece]}
"""
REVIEWED = f"""\
{STEP}:
  notebook: score.ipynb
  outputs: {{scores: {{path: scores.parquet, review: required}}, plots: plots/}}
"""


def parameters(*names: str) -> list[tuple[str, str]]:
    """Make a notebook that declares its inputs and outputs, and nothing else."""
    return [("\n".join(f"{name}: str = ''" for name in names), "parameters")]


@pytest.fixture(scope="module")
def files(make_project):
    """Make a project whose steps are to be reviewed."""
    made = make_project("asked")
    total = parameters("numbers", "total")
    made.pipeline("asked", ASKED, make=parameters("numbers", "more"), total=total)
    whole = [("piece: dict[str, str] = {}", "parameters")]
    made.pipeline("many", MANY, part=parameters("piece"), whole=whole)
    made.pipeline(PIPELINE, REVIEWED, score=parameters("scores", "plots"))
    for file in ("nightmill_dags.py", "nightmill_errors.py"):
        made.write(f"dags/{file}", (REPOSITORY / "dags" / file).read_bytes())
    made.write(
        "dags/platform.yaml", "store: .nightmill/store\nreview_url: https://review.example\n"
    )
    return made


# -- where it stands ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bag(files):
    """Load the DAGs as Airflow does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NIGHTMILL_ENV", raising=False)
        found = DagBag(dag_folder=files.root / "dags")
    assert found.import_errors == {}
    return found


def test_it_stands_between_the_step_and_its_readers(bag):
    """It has the step's outlets, and whoever reads the outputs waits for it."""
    dag = bag.dags["asked"]
    review = dag.get_task("make.review")
    assert isinstance(review, StepReviewOperator)
    assert dag.get_task("make").outlets == []
    assert [asset.name for asset in review.outlets] == ["asked.numbers", "asked.more"]
    assert review.upstream_task_ids == {"make"}
    assert dag.get_task("total").upstream_task_ids == {"make.review"}
    assert [asset.name for asset in dag.get_task("total").outlets] == ["asked.total"]
    assert review.review_url == "https://review.example"


def test_members_are_reviewed_together(bag):
    """One task stands behind all mapped ones; nobody else tells that all are there."""
    dag = bag.dags["many"]
    assert set(dag.task_dict) == {"part", "part.review", "whole"}
    assert dag.get_task("part").is_mapped
    assert dag.get_task("part.review").upstream_task_ids == {"part"}
    assert dag.get_task("whole").upstream_task_ids == {"part.review"}


@pytest.mark.parametrize("name", ["asked", "many"])
def test_it_survives_airflows_database(bag, name):
    """What the scheduler reads back has the same edges, and the form has the comment."""
    written = DagSerialization.to_dict(bag.dags[name])
    read = DagSerialization.from_dict(json.loads(json.dumps(written)))
    edges = {task.task_id: task.upstream_task_ids for task in bag.dags[name].tasks}
    assert {task.task_id: task.upstream_task_ids for task in read.tasks} == edges
    (review,) = (task for task in read.tasks if task.task_id.endswith(".review"))
    assert list(review.params) == [COMMENT]


def test_an_older_airflow_waits(files, monkeypatch):
    """Where Airflow cannot ask people, a sensor without a worker waits for the decision."""
    monkeypatch.setitem(sys.modules, "nightmill.airflow.review_task", None)
    fields = {"pipeline": PIPELINE, "step": STEP, "store": "s", "project": str(files.root)}
    fields |= {"dag": None, "outlets": [], "retries": 1, "retry_delay": timedelta(seconds=1)}
    made = make_review(fields | {"on_failure_callback": []}, review_url=None)
    assert isinstance(made, StepReviewSensor)
    assert (made.mode, made.task_id) == ("reschedule", f"{STEP}.review")


# -- what it does ---------------------------------------------------------------------------------


@pytest.fixture
def store(files, tmp_path):
    """Open an empty store."""
    return open_store(str(tmp_path / "store"), base=files.root)


def hold(store, order: int = 1, **facts: object) -> str:
    """Let an attempt leave its outputs for a review; return its prefix."""
    held = {"state": AttemptState.SUCCEEDED, "failure": None}
    held |= {"commits": False, "review": Review(required=("scores",))}
    add_version(store, order, **(held | facts))
    return prefix_of(order, member=str(facts.get("member", "")))


@pytest.fixture
def ask(files, store):
    """Return a function that makes the task for attempts, and its context."""

    def make(*prefixes: str, kind=StepReviewOperator):
        outlet = output_asset(store.url, files.root, PIPELINE, "scores")
        with DAG("d", schedule=None):
            task = kind(
                task_id=f"{STEP}.review",
                pipeline=PIPELINE,
                step=STEP,
                store=store.url,
                project=str(files.root),
                review_url="https://review.example",
                outlets=[outlet],
            )
            task >> EmptyOperator(task_id="behind")
        told = [{"record": store.address(f"{prefix}/record.json")} for prefix in prefixes]
        pulled = told[0] if len(told) == 1 else told
        now = context()
        now["ti"] = SimpleNamespace(
            xcom_pull=lambda *, task_ids, key: pulled if (task_ids, key) == (STEP, "result") else 0,
            xcom_push=lambda **_xcom: None,
            map_index=-1,
        )
        now["task_instance"] = SimpleNamespace(id="ti-id")
        now["task"], now["outlet_events"] = task, Events()
        return task, now

    return make


def answer(choice: str, name: str = "Ann Lee", comment: str = "") -> dict[str, object]:
    """Make the event by which Airflow resumes the task."""
    return {
        "chosen_options": [choice],
        "params_input": {COMMENT: comment},
        "responded_at": NOON,
        "responded_by_user": {"id": "7", "name": name},
    }


def test_it_asks(ask, store, monkeypatch):
    """What people see is made from the record when the task starts; then it waits for them."""
    written = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: written.update(detail))
    task, now = ask(hold(store, metrics={"auc": 0.71}))
    with pytest.raises(TaskAwaitingInput) as raised:
        task.execute(now)
    assert raised.value.method_name == "execute_complete"
    assert written["subject"] == f"{PIPELINE} {DAY}: may scores become current?"
    assert "auc = 0\\.71" in written["body"]
    assert written["options"] == ["Approve", "Reject"]
    assert set(written["params"]) == {COMMENT}


def test_an_approval_commits_and_tells(ask, store):
    """The outputs are current and published, in the responder's name, and who waits is told."""
    prefix = hold(store)
    task, now = ask(prefix)
    task.execute_complete(now, answer("Approve", comment="fine"))
    record = read_record(store, prefix)
    assert record.committed
    assert record.review.decision == make_decision(
        approved=True, by="Ann Lee", at=NOON, comment="fine"
    )
    assert current(store).run == "run-1"
    key = f"{data_partition_prefix(PIPELINE, 'scores', DAY)}/scores.parquet"
    assert store.read(key).data == usual_files(1)["scores"]["scores.parquet"]
    ((asset, event),) = now["outlet_events"].items()
    assert asset.name == f"{PIPELINE}.scores"
    assert (event.extra["partition"], event.extra["run"]) == (DAY, "run-1")
    assert event.extra["address"] == record.outputs["scores"].address
    assert event.partitions == [DAY]


@pytest.mark.parametrize(
    ("comment", "kept"),
    [("no\r\ngood", "no\ngood"), ("", "without a comment"), ("\x00", "without")],
)
def test_a_rejection_skips_what_stands_behind(ask, store, comment, kept):
    """Nothing is committed and nobody is told; the comment is kept, or that there was none."""
    prefix = hold(store)
    task, now = ask(prefix)
    with pytest.raises(DownstreamTasksSkipped) as raised:
        task.execute_complete(now, answer("Reject", comment=comment))
    assert list(raised.value.tasks) == ["behind"]
    record = read_record(store, prefix)
    assert record.is_rejected
    assert kept in record.review.decision.comment
    assert (current(store), dict(now["outlet_events"]), task.outlets) == (None, {}, [])


@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize(("choice", "other"), [("Approve", NO), ("Reject", YES)])
def test_who_decided_elsewhere_is_heeded(ask, store, is_asked, choice, other):
    """A decision on the page stands before the task asks, and against a later answer."""
    prefix = hold(store)
    task, now = ask(prefix)
    before = (approve if other.approved else reject)(store, prefix, other)

    def go_on():
        return task.execute_complete(now, answer(choice)) if is_asked else task.execute(now)

    if other.approved:
        assert go_on()["chosen_options"] == ["Approve"]
        assert len(now["outlet_events"]) == 1
    else:
        with pytest.raises(DownstreamTasksSkipped):
            go_on()
        assert task.outlets == []
    assert read_record(store, prefix) == before


def test_an_approval_that_was_cut_off_is_finished(ask, store):
    """A task that is tried again after a crash asks nobody twice."""
    prefix = hold(store, review=Review(required=("scores",), decision=YES))
    task, now = ask(prefix)
    assert task.execute(now)["chosen_options"] == ["Approve"]
    assert read_record(store, prefix).committed
    assert current(store).moves[0].by == "page"


def test_a_step_that_ran_without_a_review(ask, store):
    """Its image may be older than its pipeline: what has committed is told, and nobody is asked."""
    add_version(store, 1)
    task, now = ask(prefix_of(1))
    assert task.execute(now) is None
    assert len(now["outlet_events"]) == 1


def test_members_are_approved_or_rejected_as_a_whole(ask, store):
    """One answer decides about all; one that was rejected elsewhere skips what stands behind."""
    first = [hold(store, 1, member=name) for name in ("a", "b", "c")]
    approve(store, first[0], YES)
    task, now = ask(*first)
    task.execute_complete(now, answer("Approve"))
    decided = [read_record(store, one).review.decision.by for one in first]
    assert decided == ["page", "Ann Lee", "Ann Lee"]
    assert next(iter(now["outlet_events"].values())).extra["address"] is None
    second = [hold(store, 2, member=name) for name in ("a", "b")]
    reject(store, second[0], NO)
    task, now = ask(*second)
    with pytest.raises(DownstreamTasksSkipped):
        task.execute(now)
    assert read_record(store, second[1]).review.decision is None


def test_of_members_none_is_approved_where_one_cannot_be(ask, store):
    """A newer commit of one member is found before the first is decided."""
    held = [hold(store, 1, member=name) for name in ("a", "b")]
    add_version(store, 2, member="b")
    task, now = ask(*held)
    with pytest.raises(AirflowFailException, match="run-2"):
        task.execute_complete(now, answer("Approve"))
    assert [read_record(store, one).is_held for one in held] == [True, True]
    assert current(store, member="a") is None


@pytest.mark.parametrize(
    "told", [None, [], {"state": "succeeded"}, {"record": "/elsewhere/record.json"}]
)
def test_a_record_nobody_knows_of_is_an_error(ask, store, told):
    """Where the step did not tell its record, or it lies elsewhere, no retry would help."""
    task, now = ask(hold(store))
    now["ti"].xcom_pull = lambda **_what: told
    with pytest.raises(AirflowFailException, match=f"record.* of {STEP}"):
        task.execute(now)


def test_a_store_that_fails_is_tried_again(ask, store):
    """It may be back a moment later, so it is no verdict."""
    prefix = hold(store)
    task, now = ask(prefix)
    store.write(f"{prefix}/outputs/scores/scores.parquet", b"damaged")
    with pytest.raises(AirflowException, match="gone or damaged") as raised:
        task.execute_complete(now, answer("Approve"))
    assert not isinstance(raised.value, AirflowFailException)
    assert read_record(store, prefix).is_held


@pytest.mark.parametrize("name", ["", "\u202e", "x" * 500, "A\nB"])
def test_an_odd_name_loses_no_answer(ask, store, name):
    """Whatever Airflow calls the person, the decision is kept."""
    prefix = hold(store)
    task, now = ask(prefix)
    task.execute_complete(now, answer("Approve", name=name))
    by = read_record(store, prefix).review.decision.by
    assert by == {"": "7", "\u202e": "somebody in Airflow", "A\nB": "A B"}.get(name, "x" * 200)


def test_the_sensor(ask, store):
    """It looks until it is decided; then it goes on, or skips what stands behind."""
    prefix = hold(store)
    task, now = ask(prefix, kind=StepReviewSensor)
    assert task.poke(now) is False
    assert dict(now["outlet_events"]) == {}
    approve(store, prefix, YES)
    assert task.poke(now) is True
    assert len(now["outlet_events"]) == 1
    rejected = hold(store, 2)
    reject(store, rejected, NO)
    task, now = ask(rejected, kind=StepReviewSensor)
    with pytest.raises(DownstreamTasksSkipped):
        task.poke(now)
    assert task.outlets == []


# -- what it says ---------------------------------------------------------------------------------


def case_of(store, **facts: object) -> Case:
    """Make a case of one attempt with these facts."""
    prefix = hold(store, **facts)
    return Case({prefix: read_record(store, prefix)})


def test_what_people_read(store):
    """Rows, checks, metrics and warnings of the record, and where the notebook is shown."""
    failed = CheckResult(
        output="scores",
        check="between",
        severity="warn",
        state=CheckState.FAILED,
        message="3 of 9 too high",
        duration_s=0.1,
    )
    place = store.address(f"{prefix_of(1)}/notebook.ipynb")
    case = case_of(
        store,
        checks=(count_of(336_776), failed),
        metrics={"auc": 0.71},
        warnings=("a thread was alive",),
        notebook=place,
        duration_s=200.0,
    )
    text = body(case, "https://review.example")
    assert "| scores | 336,776 | " in text
    assert "Checks: 1 of 2 passed." in text
    assert "3 of 9 too high" in text
    assert "a thread was alive" in text
    assert "auc = 0\\.71" in text
    assert f"(<https://review.example/runs/{PIPELINE}/{DAY}/run-1/{STEP}/1>)" in text
    assert place not in text
    assert "Executed notebook: " in body(case, "")


def test_what_notebooks_wrote_has_no_effect(store):
    """Marks of Markdown and HTML are shown as they are, on one line, and long lists are cut."""
    hostile = "![x](http://evil.example/?a) <script>alert(1)</script>\n# big\x1b[31m | `code`"
    metrics = {hostile: hostile} | {f"m{number}": number for number in range(100)}
    case = case_of(store, metrics=metrics, warnings=(hostile,) * 40)
    text = body(case, "")
    assert "<script" not in text.replace("\\<", "")
    assert "![" not in text.replace("\\!", "").replace("\\[", "")
    assert "\x1b" not in text
    assert "# big" not in text
    assert "- ... and 71 more" in text
    assert "- ... and 10 more" in text
    assert len(text) < 30_000
    assert "\n" not in subject(case)


def test_many_members_are_counted(store):
    """A page that nobody reads helps nobody: of a thousand members twenty are shown."""
    record = read_record(store, hold(store))
    records = {str(n): record.model_copy(update={"member": f"m{n}"}) for n in range(25)}
    text = body(Case(records), "")
    assert text.count("\n### ") == 20
    assert "... and 5 more members." in text


# -- the step before it -----------------------------------------------------------------------


def test_a_later_try_finds_what_is_held(store, files):
    """A worker that died after the step's end does not make it run again: it is held already."""
    prefix = hold(store)
    record: Record = read_record(store, prefix)
    names = record.model_dump(include={"pipeline", "step", "partition", "as_of", "run", "order"})
    run = StepRun(**names, attempt=3, store=store.url)
    done = Outcome(run, files.root).committed()
    assert (done["state"], done["held"]) == ("succeeded", True)
    assert done["record"] == store.address(f"{prefix}/record.json")
    reject(store, prefix, NO)
    assert Outcome(run, files.root).committed() is None
