from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.errors import InputError, UsageError
from nightmill.run.plan import Request, build_plan, default_as_of, lacking_outputs, new_run
from nightmill.spec.project import Project
from nightmill.store.open import open_store
from nightmill.store.pointer import CommittedOutput, Pointer, Token, commit

DAY, NEXT = "2013-03-01", "2013-03-02"

CHAIN = """
pipeline: nightly
steps:
  report: {notebook: n.ipynb, inputs: [clean]}
  extract: {notebook: n.ipynb, outputs: {raw: raw.txt}}
  clean: {notebook: n.ipynb, inputs: [raw], outputs: {clean: clean.txt}}
  aside: {notebook: n.ipynb, outputs: {aside: aside.txt}}
"""

# One step that reads its own pipeline's `made`, by the version and with the option under test.
READER = """
pipeline: nightly
steps:
  maker: {{notebook: n.ipynb, outputs: {{made: made.txt}}}}
  reader:
    notebook: n.ipynb
    inputs: {{given: {{from: made, version: {version}, optional: {optional}}}}}
    outputs: {{read: read.txt}}
"""


@pytest.fixture
def planning(project):
    """Return a function that plans a run of a pipeline.yaml in the project, and the store."""
    opened = open_store("store", base=project.root)
    for name in ("nightly", "weekly"):
        project.write(f"notebooks/{name}/n.ipynb", "{}")

    def plan(yaml: str, *partitions: str, **wishes: object):
        project.write("notebooks/nightly/pipeline.yaml", yaml)
        loaded = Project.load(project.root)
        request = Request(loaded.pipeline("nightly"), partitions or (DAY,), **wishes)
        return {one.key[:2]: one for one in build_plan(loaded, request, opened)}

    return plan, opened


def commit_step(
    store,
    step: str,
    partition: str = DAY,
    *outputs: str,
    pipeline: str = "nightly",
    order: int = 1,
):
    """Commit these outputs of a step, as an earlier run would have."""
    prefix = f"runs/{pipeline}/{partition}/r/{step}/1"
    made = {
        name: CommittedOutput(name=name, kind="file", prefix=f"{prefix}/{name}", files=())
        for name in outputs
    }
    token = Token(order=order, attempt=1)
    pointer = Pointer(
        pipeline=pipeline,
        step=step,
        partition=partition,
        run="r" if order == 1 else f"r{order}",
        token=token,
        attempt_prefix=prefix,
        outputs=made,
    )
    commit(store, pointer)


def to_run(planned) -> list[str]:
    """Name the steps that a plan is going to run."""
    return [step for (_partition, step), one in planned.items() if one.committed is None]


def test_each_step_comes_after_what_it_needs(planning):
    """A plan lists all steps, each behind those whose outputs it reads, whatever the file says."""
    plan, _store = planning
    planned = plan(CHAIN)
    assert to_run(planned) == ["extract", "clean", "report", "aside"]
    assert planned[DAY, "clean"].needs == {(DAY, "extract", "")}
    assert planned[DAY, "report"].needs == {(DAY, "clean", "")}
    assert planned[DAY, "aside"].needs == planned[DAY, "extract"].needs == frozenset()


def test_what_is_committed_is_left_alone(planning):
    """A committed step does not run again, and those behind it need no step of this run."""
    plan, store = planning
    commit_step(store, "extract", DAY, "raw")
    planned = plan(CHAIN)
    assert to_run(planned) == ["clean", "report", "aside"]
    assert planned[DAY, "extract"].committed.run == "r"
    assert planned[DAY, "clean"].needs == frozenset()


def test_rerun_runs_what_is_committed(planning):
    """--rerun runs every chosen step, committed or not."""
    plan, store = planning
    for step, output in {"extract": "raw", "clean": "clean", "aside": "aside"}.items():
        commit_step(store, step, DAY, output)
    commit_step(store, "report")
    assert to_run(plan(CHAIN)) == []
    assert len(to_run(plan(CHAIN, rerun=True))) == 4
    assert to_run(plan(CHAIN, rerun=True, steps=["aside"])) == ["aside"]


def test_outputs_that_were_declared_after_the_commit_are_found(planning, project):
    """A committed step is left alone, and what its version lacks is told with its partitions."""
    plan, store = planning
    commit_step(store, "maker", DAY, "made")
    commit_step(store, "maker", NEXT)
    commit_step(store, "maker", "2013-03-03")
    commit_step(store, "other", DAY, "whole", "renamed")
    yaml = """
pipeline: nightly
steps:
  maker: {notebook: n.ipynb, outputs: {made: made.txt}}
  other: {notebook: n.ipynb, outputs: {whole: whole.txt}}
"""
    planned = plan(yaml, DAY, NEXT, "2013-03-03", "2013-03-04")
    assert to_run(planned) == ["other", "other", "maker", "other"]
    spec = Project.load(project.root).pipeline("nightly").spec
    found = lacking_outputs(spec, planned.values())
    assert found == {("maker", ("made",)): [NEXT, "2013-03-03"]}


def test_a_step_whose_input_is_made_anew_runs_again(planning):
    """A committed step is out of date, and runs, when a step that it reads is to run."""
    plan, store = planning
    commit_step(store, "clean", DAY, "clean")
    commit_step(store, "report")
    commit_step(store, "aside", DAY, "aside")
    assert to_run(plan(CHAIN)) == ["extract", "clean", "report"]


@pytest.mark.parametrize(("optional", "runs"), [(False, "needs"), (True, "waits_for")])
def test_an_input_of_the_same_partition_forces_its_reader(planning, optional, runs):
    """A reader is forced by an optional input too, but does not depend on its success."""
    plan, store = planning
    commit_step(store, "reader", DAY, "read")
    yaml = READER.format(version="same_partition", optional=str(optional).lower())
    planned = plan(yaml)
    assert to_run(planned) == ["maker", "reader"]
    found = {name: getattr(planned[DAY, "reader"], name) for name in ("needs", "waits_for")}
    assert found.pop(runs) == {(DAY, "maker", "")}
    assert set(found.values()) == {frozenset()}


@pytest.mark.parametrize(
    ("version", "optional", "needs", "waits_for"),
    [
        ("previous_partition", False, {(DAY, "maker", "")}, set()),
        ("previous_partition", True, set(), {(DAY, "maker", "")}),
        ("latest_before_partition", False, set(), {(DAY, "maker", "")}),
        ("latest", False, set(), {(DAY, "maker", ""), (NEXT, "maker", "")}),
    ],
)
def test_days_of_one_request_wait_for_each_other(planning, version, optional, needs, waits_for):
    """A step that reads an earlier day waits for that day's run; it needs it if nothing else does.

    Where an older version would do as well, the step waits for the newer and takes what there is.
    """
    plan, store = planning
    commit_step(store, "maker", "2013-02-28", "made")
    planned = plan(READER.format(version=version, optional=str(optional).lower()), DAY, NEXT)
    assert planned[NEXT, "reader"].needs == needs
    assert planned[NEXT, "reader"].waits_for == waits_for


def test_only_the_chosen_steps_are_planned(planning):
    """--step plans these steps alone, in the order of the graph."""
    plan, _store = planning
    assert to_run(plan(CHAIN, steps=["clean", "extract"])) == ["extract", "clean"]


def test_an_unknown_step_is_a_usage_error(planning):
    """A misspelt --step is refused with the step that was meant."""
    plan, _store = planning
    with pytest.raises(UsageError) as caught:
        plan(CHAIN, steps=["exract"])
    assert "exract" in caught.value.problem
    assert caught.value.advice == "did you mean `extract`?"


@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("same_partition", f"nightmill run nightly --partition {DAY}"),
        ("previous_partition", "nightmill run nightly --partition 2013-02-28"),
        ("latest_before_partition", "nightmill run nightly --partition"),
    ],
)
def test_an_input_that_nobody_makes_is_an_error_with_a_command(planning, version, command):
    """An input neither committed nor to be made fails early and says what to type."""
    plan, _store = planning
    with pytest.raises(InputError) as caught:
        plan(READER.format(version=version, optional="false"), steps=["reader"])
    assert command in caught.value.advice
    assert caught.value.where == "input given"


def test_an_optional_input_may_be_missing(planning):
    """An optional input that nobody has made stops nothing."""
    plan, _store = planning
    yaml = READER.format(version="previous_partition", optional="true")
    assert to_run(plan(yaml, steps=["reader"])) == ["reader"]


def test_another_pipelines_output_is_no_step_of_this_run(planning, project):
    """An output of another pipeline must be committed; then it makes no edge."""
    plan, store = planning
    project.write(
        "notebooks/weekly/pipeline.yaml",
        "pipeline: weekly\nsteps:\n  train: {notebook: n.ipynb, outputs: {model: m.ubj}}\n",
    )
    yaml = "pipeline: nightly\nsteps:\n  score: {notebook: n.ipynb, inputs: [weekly.model]}\n"
    with pytest.raises(InputError) as caught:
        plan(yaml)
    assert "nightmill run weekly" in caught.value.advice
    commit_step(store, "train", "2013-02-25", "model", pipeline="weekly")
    assert plan(yaml)[DAY, "score"].needs == frozenset()


def test_text_partitions_are_planned_like_days(planning):
    """Partitions that are no days are runs of their own, and their as_of is a day all the same."""
    plan, _store = planning
    planned = plan(CHAIN.replace("steps:", "partition: text\nsteps:"), "eu [west]", "é/ü")
    assert [key[0] for key in planned] == ["eu [west]"] * 4 + ["é/ü"] * 4
    assert planned["é/ü", "clean"].needs == {("é/ü", "extract", "")}
    as_of = planned["é/ü", "clean"].run.as_of
    assert datetime.fromisoformat(as_of).date().isoformat() == as_of


def test_the_step_run_says_what_was_asked_for(planning):
    """A planned step carries store, values, clock and the run that its partition shares."""
    plan, store = planning
    planned = plan(CHAIN, DAY, NEXT, parameters={"clean": {"n": 2}}, as_of="2013-09-09")
    runs = {(one.run.partition, one.run.run, one.run.order) for one in planned.values()}
    assert len(runs) == 2  # one a partition
    assert {one.run.store for one in planned.values()} == {store.url}
    assert {one.run.as_of for one in planned.values()} == {"2013-09-09"}
    assert planned[DAY, "clean"].run.parameters == {"n": 2}
    assert planned[DAY, "extract"].run.parameters == {}


def test_the_clock_of_a_day_is_that_day(planning, project):
    """Without --as-of the notebook takes the partition's own day for today."""
    plan, _store = planning
    assert plan(CHAIN)[DAY, "clean"].run.as_of == DAY
    assert default_as_of(Project.load(project.root).pipeline("nightly"), NEXT) == NEXT


moments = st.datetimes(
    min_value=datetime(2001, 9, 9),  # noqa: DTZ001 - hypothesis takes naive bounds and adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)


@given(moments, st.lists(st.integers(0, 20_000), min_size=2, max_size=5, unique=True))
def test_names_of_runs_are_unique_and_sort_by_age(created, offsets):
    """The runs of one request differ in name and order, and both sort alike."""
    made = [new_run(created, offset) for offset in sorted(offsets)]
    assert len(set(made)) == len(offsets)
    assert [name for name, _order in made] == sorted(name for name, _order in made)
    assert [order for _name, order in made] == sorted({order for _name, order in made})


@given(moments)
def test_the_order_of_a_run_is_its_age_in_microseconds(created):
    """The order is exact: two runs a microsecond apart are never taken for one."""
    second = created.replace(microsecond=0)
    assert new_run(created)[1] == int(second.timestamp()) * 1_000_000 + created.microsecond


def test_two_runs_of_the_same_moment_have_two_names():
    """Two people who start a run in the same microsecond do not write to one prefix."""
    now = datetime.now(UTC)
    assert new_run(now)[0] != new_run(now)[0]


def micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def test_a_run_goes_above_a_clock_that_was_wrong(planning):
    """A run's order and name come after whatever it replaces, also what lies years ahead."""
    plan, store = planning
    future = micros(datetime.now(UTC)) + 3650 * 86400 * 10**6
    commit_step(store, "extract", DAY, "raw", order=future)
    commit_step(store, "aside", NEXT, "aside", order=future)
    runs = []
    for _ in range(3):
        planned = plan(CHAIN, DAY, NEXT, rerun=True)
        assert len({(one.run.run, one.run.order) for one in planned.values()}) == 2
        assert all(one.run.order > future for one in planned.values())
        run = planned[DAY, "extract"].run
        runs.append((run.order, run.run))
    assert runs == sorted(runs), "those that see the same are ordered as they were started"
    assert len({order for order, _name in runs}) == 3
    commit_step(store, "extract", DAY, "raw", order=runs[-1][0])
    again = plan(CHAIN, DAY, rerun=True)[DAY, "extract"].run
    assert again.order > runs[-1][0]


@pytest.mark.parametrize("order", [253_402_300_799_999_999, 1_764_162_000 * 10**9, 2**62])
def test_a_run_goes_above_a_clock_past_the_year_9999(planning, order):
    """No order is too wrong to be replaced, and names sort after those of all years."""
    plan, store = planning
    name = new_run(datetime.max.replace(tzinfo=UTC) - timedelta(seconds=1))[0]
    for _ in range(2):
        commit_step(store, "extract", DAY, "raw", order=order)
        run = plan(CHAIN, DAY, rerun=True)[DAY, "extract"].run
        assert run.order > order
        assert run.run > name
        name, order = run.run, run.order


@pytest.mark.parametrize("ahead_s", [0, 300])
def test_clocks_that_differ_a_little_change_no_order(planning, ahead_s):
    """What was committed up to some minutes from now leaves a new run its own time."""
    plan, store = planning
    now = micros(datetime.now(UTC))
    commit_step(store, "extract", DAY, "raw", order=now + ahead_s * 10**6)
    order = plan(CHAIN, DAY, rerun=True)[DAY, "extract"].run.order
    assert now <= order < now + 60 * 10**6


def test_what_is_left_alone_moves_no_order(planning):
    """A wrong clock's commit that this run does not replace has no say in its order."""
    plan, store = planning
    future = micros(datetime.now(UTC)) + 86400 * 10**6
    commit_step(store, "extract", DAY, "raw", order=future)
    assert plan(CHAIN, DAY)[DAY, "clean"].run.order < future


RETRIED = """
pipeline: nightly
{above}
steps:
  one: {{notebook: n.ipynb, outputs: {{a: a.txt}}{here}}}
"""
MINUTES = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("above", "here", "wishes", "count", "delay"),
    [
        ("", "", {}, 0, timedelta(seconds=10)),
        ("retries: 4", "", {}, 4, timedelta(seconds=10)),
        ("retry_delay: 5m", ", retries: 1", {}, 1, 5 * MINUTES),
        ("retries: 4", ", retries: 0, retry_delay: 2m", {}, 0, 2 * MINUTES),
        ("", "", {"retries": 3}, 3, timedelta(seconds=10)),
        ("retries: 4", ", retry_delay: 2m", {"retries": 0, "retry_delay": MINUTES}, 0, MINUTES),
    ],
)
def test_a_step_is_tried_again_only_if_somebody_said_so(
    planning, above, here, wishes, count, delay
):
    """The command line goes first, then pipeline.yaml; without either, nothing is tried again."""
    plan, _store = planning
    (one,) = plan(RETRIED.format(above=above, here=here), DAY, **wishes).values()
    assert (one.retries.count, one.retries.delay) == (count, delay)


def test_a_steps_word_on_causes_is_in_the_plan(planning):
    """Which causes are worth another attempt comes from pipeline.yaml here as well."""
    plan, _store = planning
    yaml = RETRIED.format(above="retry: {image: never}", here=", retry: {store: never}")
    (one,) = plan(yaml, DAY).values()
    assert one.retries.own == {"image": "never", "store": "never"}


def test_an_input_that_may_be_waited_for(planning, project):
    """A step that says `wait` is planned without its input, and tells which it waits for."""
    plan, _store = planning
    project.write(
        "notebooks/weekly/pipeline.yaml",
        "pipeline: weekly\nsteps:\n  train: {notebook: n.ipynb, outputs: {model: m.ubj}}\n",
    )
    step = "score: {notebook: n.ipynb, inputs: {model: {from: weekly.model, wait: 2h%s}}}\n"
    yaml = f"pipeline: nightly\nsteps:\n  {step % ''}"
    one = plan(yaml)[DAY, "score"]
    assert [(given.parameter, given.wait) for given in one.awaits] == [
        ("model", timedelta(hours=2))
    ]
    both = yaml.replace("{model:", "{other: {from: weekly.model}, model:")
    with pytest.raises(InputError) as caught:
        plan(both)
    assert caught.value.where == "input other"
