"""A step whose output needs a review: it runs, is held, and nothing reads it until it is decided.

The first part has no kernel and dies at every call to the store; the last is a whole pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from nightmill.causes import Cause
from nightmill.errors import SpecError, StoreError, UsageError
from nightmill.publish.approved import approve_and_publish
from nightmill.run.aftermath import amend_death
from nightmill.run.plan import PlannedStep, Request, build_plan
from nightmill.run.status import StepState, StepStatus
from nightmill.spec.outputs import reviewed
from nightmill.spec.project import Project
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.remarks import make_decision
from nightmill.spec.result import result_of
from nightmill.spec.summary import Standing
from nightmill.step.holding import UNREVIEWED
from nightmill.store.amend import amend
from nightmill.store.approval import approve, reject
from nightmill.store.index import Index
from nightmill.store.inputs import find_lack
from nightmill.store.keys import attempt_prefix
from nightmill.store.pointer import Token
from tests.commit_attempt import (
    CELLS,
    DAY,
    NEW,
    OLD,
    PIPELINE,
    STEP,
    Site,
    check_published,
    check_whole,
    described,
    no_engine,
    plant,
    read_current,
    read_record,
    run_attempt,
)
from tests.faulty_store import Fault, FaultyStore

REVIEWED = """\
make:
  notebook: make.ipynb
  outputs: {scores: {path: scores.bin, review: required}, plots: plots/}
"""
YES = make_decision(approved=True, by="ann", comment="fine")
NO = make_decision(approved=False, by="ann", comment="too few rows")


@pytest.fixture(scope="module")
def place(make_project, tmp_path_factory):
    """Make a place for attempts at a step whose scores need a review."""
    project = make_project("held")
    site = Site.of(project, str(tmp_path_factory.mktemp("held") / "store"))
    project.pipeline(PIPELINE, REVIEWED, make=CELLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
        patch.setenv("NIGHTMILL_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        with no_engine():
            yield site


@pytest.fixture
def site(place, request):
    """Give each test a store of its own."""
    return place.at(request.node.name.replace("[", "-").strip("]"))


def prefix_of(order: int, number: int = 1) -> str:
    """Name the prefix of an attempt."""
    return attempt_prefix(PIPELINE, DAY, f"run-{order}", STEP, number)


def bytes_of(site: Site) -> Mapping[str, bytes]:
    """Read everything in a store but the index, where the same may be said twice."""
    store = site.open()
    keys = [entry.key for entry in store.list("")]
    return {key: store.read(key).data for key in keys if not key.startswith("index/")}


# -- pipeline.yaml ---------------------------------------------------------------------------------


def test_what_pipeline_yaml_says(load_spec):
    """A review is required or not; one output that needs it holds all of its step."""
    text = "pipeline: p\nsteps:\n  s: {{notebook: n.ipynb, outputs: {{a: {}, b: b.txt}}}}\n"
    spec = load_spec(text.format("{path: a.txt, review: required}"))
    assert reviewed(spec.steps["s"].outputs) == ("a",)
    assert reviewed(load_spec(text.format("a.txt")).steps["s"].outputs) == ()
    for wrong in ("maybe", "true", "[required]"):
        with pytest.raises(SpecError, match="review"):
            load_spec(text.format(f"{{path: a.txt, review: {wrong}}}"))


# -- an attempt -----------------------------------------------------------------------------------


def test_it_succeeds_and_commits_nothing(site):
    """Outputs and notebook are stored whole; pointer and plain address stay as they were."""
    store = site.open()
    before = plant(store, OLD)
    record = run_attempt(site, NEW)
    assert record == read_record(store, NEW)
    assert (record.state, record.failure, record.exit_code) == (AttemptState.SUCCEEDED, None, 0)
    assert (record.committed, record.is_held) == (False, True)
    assert (record.review.required, record.review.decision) == (("scores",), None)
    assert set(record.outputs) == {"scores", "plots"}
    assert record.ended_at >= record.started_at
    assert read_current(store) == before
    assert list(store.list("data")) == []
    assert list(store.list("active")) == []
    (line,) = Index(store).attempts(PIPELINE)
    assert (line.prefix, line.standing) == (prefix_of(NEW), Standing.HELD)
    approve(store, prefix_of(NEW), YES)
    assert read_current(store).token == Token(order=NEW, attempt=1)
    check_whole(store, read_current(store))


def test_its_result_says_what_to_do(site):
    """Whoever launched it learns that it is held, and the commands that decide."""
    result = result_of(run_attempt(site, NEW), "/record.json")
    assert (result["state"], result["cause"], result["committed"], result["held"]) == (
        "succeeded",
        None,
        False,
        True,
    )
    for verb in ("approve", "reject"):
        assert f"`nightmill {verb} run-{NEW} --step make`" in result["line"]
    assert result["line"].startswith("held for review: ")


@pytest.mark.parametrize("decision", [None, YES, NO])
def test_the_same_attempt_is_not_run_again(site, decision):
    """Started once more it does nothing and commits nothing, decided or not."""
    first, store = run_attempt(site, NEW), site.open()
    if decision is not None and decision.approved:
        spec = Project.load(Path(site.root)).pipeline(PIPELINE).spec
        (done,) = approve_and_publish(store, [prefix_of(NEW)], decision, spec=spec)
        assert done.warnings == ()
        first = done.record
    elif decision is not None:
        first = reject(store, prefix_of(NEW), decision)
    before = bytes_of(site)
    assert run_attempt(site, NEW) == first
    assert bytes_of(site) == before


def test_an_approval_cut_off_is_completed_by_the_same_attempt(site):
    """Started once more after a crash between pointer and record, it completes the record."""
    run_attempt(site, NEW)
    store = site.open()
    whole = approve(store, prefix_of(NEW), YES)
    cut_off = whole.model_copy(update={"committed": False})
    store.write(f"{prefix_of(NEW)}/record.json", cut_off.to_json())
    assert run_attempt(site, NEW) == whole == read_record(store, NEW)


def test_an_older_attempt_of_another_run_is_another(site):
    """A run that was cleared and has the same name is not mistaken for the one that is held."""
    run_attempt(site, NEW)
    record, store = read_record(site.open(), NEW), site.open()
    other = record.model_copy(update={"order": OLD})
    store.write(f"{prefix_of(NEW)}/record.json", other.to_json())
    with pytest.raises(UsageError, match="has been started before"):
        run_attempt(site, NEW)


def test_a_replay_is_not_held(site, monkeypatch):
    """In a store of its own nobody would ever decide: there it commits."""
    monkeypatch.setenv(UNREVIEWED, "1")
    record = run_attempt(site, NEW)
    assert (record.committed, record.review) == (True, None)
    check_published(site.open(), (NEW, 1))


def calls_of(site: Site) -> list[str]:
    """List the calls of an undisturbed attempt to the store."""
    watched: list[FaultyStore] = []

    def watch(store):
        watched.append(FaultyStore(store))
        return watched[-1]

    run_attempt(site, NEW, wrap=watch)
    return [call for one in watched for call in one.calls]


def test_cut_off_anywhere_it_is_held_or_failed(site):
    """Whatever call is its last, nothing is committed; another attempt is held, and approved."""
    calls = calls_of(site.at("trace"))
    ends = set()
    for number, call in enumerate(calls):
        case = site.at(f"case-{number}")
        fault = Fault(call, "after", "down")
        with suppress(StoreError):
            run_attempt(case, NEW, wrap=lambda store, fault=fault: FaultyStore(store, fault))
        store = case.open()
        assert read_current(store) is None
        before = read_record(store, NEW)
        silent = Failure(cause=Cause.TERMINATED, message="no sign of life")
        after = amend(store, prefix_of(NEW), silent, by="test")
        ends.add((before and before.state, after.is_held))
        assert after.is_held or after.state is AttemptState.FAILED
        assert after == before or not after.is_held
        assert run_attempt(case, NEW, 2).is_held
        assert approve(store, prefix_of(NEW, 2), YES).committed
        check_whole(store, read_current(store))
    running, held = AttemptState.RUNNING, AttemptState.SUCCEEDED
    assert {(running, False), (held, True)} <= ends
    assert all(is_held == (state is held) for state, is_held in ends)


def test_a_process_that_died_after_its_last_word_is_held(site):
    """Its launcher saw it die; the record, and so the run, say that it waits for a person."""
    run_attempt(site, NEW)
    status = StepStatus(
        PlannedStep(described(site, NEW)), state=StepState.FAILED, cause="terminated", died=True
    )
    spec = Project.load(Path(site.root)).pipeline(PIPELINE).spec
    amend_death(site.open(), spec, status)
    assert (status.state, status.cause) == (StepState.HELD, "")
    assert f"nightmill approve run-{NEW} --step make" in status.review


# -- a run ----------------------------------------------------------------------------------------

DAYS = ("2013-03-01", "2013-03-02")
WHOLE = """\
make: {notebook: make.ipynb, outputs: {numbers: {path: numbers.json, review: required}}}
total: {notebook: total.ipynb, inputs: [numbers], outputs: {total: total.txt}}
"""
MAKE = [
    ("partition: str = ''\nnumbers: str = 'n.json'", "parameters"),
    "from pathlib import Path\nPath(numbers).write_text(f'[1, \"{partition}\"]')",
]
TOTAL = [
    ("numbers: str = 'n.json'\ntotal: str = 't.txt'", "parameters"),
    "from pathlib import Path\nPath(total).write_text('total of ' + Path(numbers).read_text())",
]


@pytest.fixture(scope="module")
def files(make_project):
    """Make a pipeline whose first step is to be reviewed."""
    made = make_project("whole")
    made.pipeline("nightly", WHOLE, make=MAKE, total=TOTAL)
    return made


@pytest.fixture(scope="module")
def first(files):
    """Run it for the first time; return how that ended."""
    return files.run("run", "nightly", "--partition", DAYS[0])


@pytest.fixture(scope="module")
def approved(files, first):
    """Approve what the first run made, by the beginning of its name; return how that ended."""
    assert first.code == 0
    run = record_of(files, "make").run
    return files.run("approve", run[:15], "--comment", "looks right", "--step", "make")


def record_of(files, step: str) -> Record:
    """Read the newest record of a step."""
    return Record.model_validate(files.record("nightly", step))


def test_a_run_stops_before_what_reads_it(files, first):
    """The step is held, the next is not run, nothing failed, and the commands are named."""
    assert (first.code, first.err) == (0, "")
    assert "make: held for review in" in first.out
    assert "total: not run: awaits a review" in first.out
    run = record_of(files, "make").run
    assert f"make {DAYS[0]} held for review: `nightmill approve {run} --step make`" in first.out
    assert files.attempts("nightly", "total") == []
    assert not (files.store / "current").exists()
    assert not (files.store / "data").exists()


@pytest.mark.usefixtures("first")
def test_the_next_run_does_not_do_it_again(files):
    """What is held is as good as done: only a person, or --rerun, moves it on."""
    again = files.run("run", "nightly", "--partition", DAYS[0])
    assert (again.code, len(files.attempts("nightly", "make"))) == (0, 1)
    assert "held for review" in again.out
    assert "not run: awaits a review" in again.out


def plan(files, **facts) -> dict[str, PlannedStep]:
    """Plan a run for the first day."""
    project = Project.load(files.root)
    request = Request(project.pipeline("nightly"), [DAYS[0]])
    store = Site(str(files.root), str(files.store), {}).open()
    return {one.run.step: one for one in build_plan(project, replace(request, **facts), store)}


@pytest.mark.usefixtures("first")
def test_a_plan_with_a_held_step(files):
    """It has nothing to do for the step but the words; --rerun plans it as any other."""
    found = plan(files)
    assert "nightmill approve" in found["make"].held
    assert found["total"].needs == {(DAYS[0], "make", "")}
    assert plan(files, rerun=True)["make"].held == ""


@pytest.mark.usefixtures("first")
def test_show_runs_and_versions_say_so(files, cli):
    """Wherever the attempt is told of, it is told as held."""
    run = record_of(files, "make").run
    shown = cli("show", run, cwd=files.root).out
    assert "held for review: `nightmill approve" in shown
    assert "held for review" in cli("runs", cwd=files.root).out
    listed = cli("versions", "nightly.numbers", cwd=files.root).out
    assert "never current: held for review" in listed
    refused = cli("promote", "nightly.numbers", "--partition", DAYS[0], "--to", run)
    assert (refused.code, "held for review" in refused.err) == (2, True)
    assert "nightmill approve" in refused.err


@pytest.mark.usefixtures("first")
def test_another_pipeline_does_not_see_it(files):
    """For whoever reads the output there is none yet: an input that is held is missing."""
    project = Project.load(files.root)
    sources = project.inputs(project.pipeline("nightly"), "total")
    store = Site(str(files.root), str(files.store), {}).open()
    lack = find_lack(store, sources, DAYS[0])
    assert lack is not None
    assert "numbers" in lack.told


@pytest.mark.usefixtures("first")
def test_a_rejection_needs_a_step_and_a_reason(files, cli):
    """Nothing is decided by half a command."""
    run = record_of(files, "make").run
    none = cli("reject", run, "--comment", "no", "--step", "total", cwd=files.root)
    assert (none.code, "nothing that is meant" in none.err) == (2, True)
    assert cli("reject", run, cwd=files.root).code == 2
    assert cli("reject", run, "--comment", " ", cwd=files.root).code == 2
    assert record_of(files, "make").review.decision is None


def test_decisions_by_hand(files, approved, cli):
    """The step that is held becomes current; who, when and why are in the record."""
    assert (approved.code, approved.err) == (0, "")
    assert f"make {DAYS[0]}: approved, and current" in approved.out
    record = record_of(files, "make")
    assert (record.committed, record.review.decision.comment) == (True, "looks right")
    assert " on " in record.review.decision.by
    published = files.store / f"data/nightly/numbers/partition={DAYS[0]}/numbers.json"
    assert json.loads(published.read_text()) == [1, DAYS[0]]
    for verb in (("approve",), ("reject", "--comment", "no")):
        again = cli(*verb, record.run, "--by", "eve", cwd=files.root)
        assert (again.code, "was approved by" in again.err) == (2, True)
    assert "approval by" in cli("versions", "nightly.numbers", cwd=files.root).out


@pytest.mark.usefixtures("first")
def test_notes_on_a_run(files, cli):
    """They are shown with the run, each with its writer."""
    run = record_of(files, "make").run
    added = cli("note", run, "rows of\nJFK are late", "--by", "Ann", cwd=files.root)
    assert (added.code, added.out) == (0, f"noted on {run}\n")
    assert cli("note", run, " ", cwd=files.root).code == 2
    shown = cli("show", run, cwd=files.root).out
    assert "note by Ann at " in shown
    assert "rows of\nJFK are late" in shown


@pytest.mark.usefixtures("approved")
def test_after_the_approval_the_run_goes_on(files):
    """The same command runs what waited, and only that; a replay of the step is not held."""
    ended = files.run("run", "nightly", "--partition", DAYS[0])
    assert (ended.code, len(files.attempts("nightly", "make"))) == (0, 1)
    assert "committed before" in ended.out
    (place,) = files.attempts("nightly", "total")
    assert (place / "outputs/total/total.txt").read_text() == f'total of [1, "{DAYS[0]}"]'
    replayed = files.run("replay", record_of(files, "make").run)
    assert (replayed.code, "held" in replayed.out) == (0, False)
