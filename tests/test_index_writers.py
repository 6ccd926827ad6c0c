"""Who keeps the index: the attempt at its end, and whoever writes down an end from outside."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nightmill.causes import Cause
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.summary import Standing, summarize
from nightmill.store import active
from nightmill.store.amend import amend
from nightmill.store.decision import decide, prepare
from nightmill.store.index import Index
from nightmill.store.keys import active_key, attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import Move
from nightmill.store.sweep import Fate, sweep
from nightmill.store.versions import find_versions
from tests.commit_attempt import DAY as ATTEMPT_DAY
from tests.commit_attempt import PIPELINE as ATTEMPT_PIPELINE
from tests.commit_attempt import STEP as ATTEMPT_STEP
from tests.commit_attempt import Site, no_engine, plant, read_record, run_attempt
from tests.faulty_store import Fault, FaultyStore
from tests.stored_versions import DAY, PIPELINE, STEP, add_version
from tests.stored_versions import prefix_of as prefix_of_version

LOST = Failure(cause=Cause.NODE_LOST, message="the node was lost")
PREFIX = f"runs/{ATTEMPT_PIPELINE}/{ATTEMPT_DAY}/run-1/{ATTEMPT_STEP}/1"
ENTRY = f"write index/{ATTEMPT_PIPELINE}/ENTRY #1"


@pytest.fixture(scope="module")
def site(make_project, tmp_path_factory):
    """Make a project with one step whose attempts start no kernel."""
    project = make_project("index-writers")
    with pytest.MonkeyPatch.context() as patch, no_engine():
        patch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
        patch.setenv("NIGHTMILL_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        yield Site.of(project, str(tmp_path_factory.mktemp("stores") / "store"))


@pytest.fixture
def store(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


def standings(store, pipeline: str = PIPELINE) -> list[tuple[str, Standing, Cause | None]]:
    """Read what the index tells of each attempt."""
    return [(one.run, one.standing, one.cause) for one in Index(store).attempts(pipeline)]


# -- the attempt itself ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(site):
    """Run an attempt to its end, and note its calls of the store."""
    seen: list[FaultyStore] = []
    here = site.at("undisturbed")
    record = run_attempt(here, 1, wrap=lambda one: seen.append(FaultyStore(one)) or seen[0])
    return here.open(), record, seen[0].calls


def test_an_attempt_tells_its_end(undisturbed):
    """The summary in the index is that of the record as it is in the store."""
    store, record, _calls = undisturbed
    index = Index(store)
    (line,) = index.attempts(ATTEMPT_PIPELINE)
    assert (line.prefix, line.standing, line.order) == (PREFIX, Standing.SUCCEEDED, 1)
    assert index.summaries([line]) == {PREFIX: summarize(read_record(store, 1), PREFIX)}
    assert line.ended_at - record.ended_at < timedelta(milliseconds=1)


def test_it_costs_one_request_between_the_record_and_the_mark(undisturbed):
    """The index is told after the last record and before the mark goes, by one write."""
    *_others, record, index, unmark = undisturbed[2]
    assert record.startswith("write ")
    assert "/record.json" in record
    assert index == ENTRY
    assert unmark.startswith("delete active/")
    assert sum("index/" in call for call in undisturbed[2]) == 1


def test_without_inputs_the_first_record_tells_all(undisturbed):
    """What is found out before the first cell is in the first record: it is written three times."""
    written = [call for call in undisturbed[2] if "/record.json" in call and "write" in call]
    assert [call.split()[0] for call in written] == ["write_if", "write", "write"]


def test_the_first_record_is_whole(site):
    """An attempt that is killed in its first cell has left its parameters and its code."""
    seen: list[Record] = []

    class Watched(FaultyStore):
        def write_if(self, key: str, data: bytes, *, etag: str | None) -> str:
            seen.extend([Record.from_json(data)] if key.endswith("record.json") else [])
            return self.store.write_if(key, data, etag=etag)

    run_attempt(site.at("first"), 1, wrap=Watched)
    (first,) = seen
    assert first.state is AttemptState.RUNNING
    assert first.code.notebook == "notebooks/p/make.ipynb"
    assert first.parameters.keys() == {"scores", "plots"}


def test_an_index_that_fails_fails_no_attempt(site):
    """The attempt has committed, says that the index is behind, and a sweep mends that."""
    here, events = site.at("failing"), []
    fault = Fault(ENTRY, "before", "raise")
    record = run_attempt(here, 1, wrap=lambda one: FaultyStore(one, fault), listener=events.append)
    store = here.open()
    assert (record.committed, record.failure, record.warnings) == (True, None, ())
    (told,) = [one["text"] for one in events if one["event"] == "warning"]
    assert "`nightmill sweep`" in told
    (left,) = Index(store).attempts(ATTEMPT_PIPELINE)
    assert left.standing is Standing.RUNNING
    (swept,) = sweep(store, silent_for=timedelta(hours=1), by="test")
    assert swept.fate is Fate.MARK_REMOVED
    (line,) = Index(store).attempts(ATTEMPT_PIPELINE)
    assert (line.standing, line.ended_at - record.ended_at < timedelta(seconds=1)) == (
        Standing.SUCCEEDED,
        True,
    )


def test_an_end_that_was_not_stored_is_not_told(site):
    """An end that is in no record is in no index: the mark stays, and a sweep tells both."""
    here = site.at("no-record")
    store = here.open()
    plant(store, 5)
    last = f"write {PREFIX.replace('run-1', 'RUN').removesuffix('1')}N/record.json #1"
    record = run_attempt(here, 1, wrap=lambda one: FaultyStore(one, Fault(last, "before", "raise")))
    assert record.failure.cause is Cause.FENCED
    assert "record_not_stored" in record.failure.evidence
    assert standings(store, ATTEMPT_PIPELINE) == [("run-1", Standing.RUNNING, None)]
    (swept,) = sweep(store, silent_for=timedelta(0), by="test")
    assert swept.fate is Fate.AMENDED
    told = ("run-1", Standing.FAILED, Cause.TERMINATED)
    assert standings(store, ATTEMPT_PIPELINE) == [told]


def test_an_attempt_that_had_committed_is_told_when_it_is_started_again(site):
    """Cut off between its commit and its last record, it tells record and index the second time."""
    here = site.at("again")
    pointer = f"write_if current/{ATTEMPT_PIPELINE}/{ATTEMPT_STEP}/{ATTEMPT_DAY}.json #1"

    class DiesError(BaseException):
        """Nobody catches it, as nobody does a SIGKILL."""

    class Dies(FaultyStore):
        def _act(self, *_call: str) -> None:
            raise DiesError

    with pytest.raises(DiesError):
        run_attempt(here, 1, wrap=lambda one: Dies(one, Fault(pointer, "after", "kill")))
    store = here.open()
    assert standings(store, ATTEMPT_PIPELINE) == [("run-1", Standing.RUNNING, None)]
    run_attempt(here, 1)
    assert standings(store, ATTEMPT_PIPELINE) == [("run-1", Standing.SUCCEEDED, None)]
    assert store.read(active_key(PREFIX)) is None


# -- from outside ---------------------------------------------------------------------------------


def leave_running(store, order: int = 1) -> str:
    """Leave what an attempt leaves that was killed; return its prefix."""
    facts = {"state": AttemptState.RUNNING, "ended_at": None, "failure": None}
    add_version(store, order, commits=False, **facts)
    prefix = prefix_of_version(order)
    active.mark(store, prefix, order=order)
    return prefix


def test_whoever_amends_tells_the_index(store):
    """A killed attempt is told with the cause that its record got, and runs no more."""
    prefix = leave_running(store)
    assert standings(store) == [("run-1", Standing.RUNNING, None)]
    amend(store, prefix, LOST, by="test")
    assert standings(store) == [("run-1", Standing.FAILED, Cause.NODE_LOST)]


def test_a_cause_that_is_refined_is_told(store):
    """Who knows more than `terminated` is believed, by record and index alike."""
    prefix = leave_running(store)
    vague = Failure(cause=Cause.TERMINATED, message="no last word")
    amend(store, prefix, vague, by="sweep")
    amend(store, prefix, LOST, by="operator")
    assert standings(store) == [("run-1", Standing.FAILED, Cause.NODE_LOST)]
    amend(store, prefix, vague, by="somebody else")
    assert standings(store) == [("run-1", Standing.FAILED, Cause.NODE_LOST)]


def test_a_crash_at_any_call_of_amend_is_mended_by_the_next_sweep(tmp_path):
    """Whichever call fails, the mark is there until the index knows: a sweep finds it."""
    whole = open_store("whole", base=tmp_path)
    counted = FaultyStore(whole)
    amend(counted, leave_running(whole), LOST, by="test")
    assert len(counted.calls) > 4
    for number, call in enumerate(counted.calls):
        store = open_store(f"crash-{number}", base=tmp_path)
        prefix = leave_running(store)
        with pytest.raises(Exception, match="planted"):
            amend(FaultyStore(store, Fault(call, "before", "raise")), prefix, LOST, by="test")
        list(sweep(store, silent_for=timedelta(0), by="sweep"))
        record = read_version(store, prefix)
        cause = record.failure.cause
        assert standings(store) == [("run-1", Standing.FAILED, cause)], call
        assert list(store.list("active")) == []


def read_version(store, prefix: str) -> Record:
    """Read an attempt's record."""
    return Record.from_json(store.read(f"{prefix}/record.json").data)


def test_a_dry_sweep_writes_nothing(store):
    """Saying what would be done changes neither mark nor index."""
    add_version(store, 1)
    active.mark(store, prefix_of_version(1))
    before = [entry.key for entry in store.list("")]
    (swept,) = sweep(store, silent_for=timedelta(0), by="test", dry_run=True)
    assert swept.fate is Fate.MARK_TO_REMOVE
    assert [entry.key for entry in store.list("")] == before


def move_to(store, version: str, kind: str) -> None:
    """Make another version current, as a person does."""
    (found,) = find_versions(store, PIPELINE, "scores", DAY)
    move = Move(kind=kind, by="ann")
    decide(store, prepare(store, found.choose(version), found.current, move), seen=found.current)


def test_a_promotion_is_told_and_a_rollback_changes_nothing(store):
    """A promoted attempt has committed after all; what is rolled back ended as it did."""
    add_version(store, 1)
    add_version(store, 2)
    record = add_version(store, 3, commits=False)
    move_to(store, "run-3", "promotion")
    assert standings(store) == [("run-3", Standing.SUCCEEDED, None)]
    assert Index(store).attempts(PIPELINE)[0].ended_at == record.ended_at
    move_to(store, "run-1", "rollback")
    assert standings(store) == [("run-3", Standing.SUCCEEDED, None)]


def test_a_record_made_up_of_a_cut_name_leads_to_the_attempt(store):
    """Where only the address is known and a name in it is cut, the entry still leads there."""
    prefix = attempt_prefix(PIPELINE, DAY, "r" * 250, STEP, 1)
    active.mark(store, prefix)
    amend(store, prefix, LOST, by="test")
    (line,) = Index(store).attempts(PIPELINE)
    assert (line.prefix, line.standing) == (prefix, Standing.FAILED)
