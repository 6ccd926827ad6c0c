"""What gc takes of the index and of notes: what tells of attempts that are gone, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nightmill.causes import Cause
from nightmill.spec.record import AttemptState, Failure
from nightmill.spec.retention import Keep
from nightmill.store.collect import Collected, Fate, Order, collect
from nightmill.store.history import prefix_of as prefix_of_record
from nightmill.store.index import Index, note
from nightmill.store.notes import add, make_note, notes
from nightmill.store.open import open_store
from tests.faulty_store import Fault, FaultyStore
from tests.stored_versions import DAY, PIPELINE, add_version, prefix_of

RULES = {PIPELINE: Keep(runs="1d", versions=1, failed="1d")}


def run_gc(store, days: float, *, rules=RULES, acts: bool = True) -> list[Collected]:
    """Run a gc so many days from now."""
    now = datetime.now(UTC) + timedelta(days=days)
    return list(collect(store, Order(rules, by="test", acts=acts, now=now)))


def told(store) -> list[str]:
    """Read which runs the index tells of."""
    return sorted(line.run for line in Index(store).attempts(PIPELINE))


def noted(store, run: str) -> list[str]:
    """Read what was noted on a run."""
    return [one.text for one in notes(store, PIPELINE, DAY, run).found]


@pytest.fixture
def three(store):
    """Leave two replaced versions and the current one, each told by the index and noted on."""
    for order in (1, 2, 3):
        note(store, add_version(store, order))
        add(store, PIPELINE, DAY, f"run-{order}", make_note(by="ann", text=f"note {order}"))
    return store


def test_what_tells_of_a_deleted_attempt_goes_with_it(three):
    """The gc that deletes an attempt takes its entry, and the notes on a run that has no other."""
    run_gc(three, 100)
    assert told(three) == ["run-1", "run-2", "run-3"]  # marked so far
    assert noted(three, "run-1") == ["note 1"]
    found = run_gc(three, 102)
    assert told(three) == ["run-3"]
    assert [noted(three, f"run-{order}") for order in (1, 2, 3)] == [[], [], ["note 3"]]
    whats = [one.what for one in found if one.fate is Fate.DELETED]
    assert whats.count("index entry") == whats.count("note on a run") == 2
    assert [one for one in run_gc(three, 104) if one.fate is Fate.DELETED] == []


def test_a_note_stays_while_its_run_has_an_attempt(store):
    """A run that keeps one of its attempts keeps what people wrote about it."""
    failure = Failure(cause=Cause.FENCED, message="fenced")
    lost = {"commits": False, "state": AttemptState.FAILED, "failure": failure}
    for attempt, facts in ((1, lost), (2, {})):
        note(store, add_version(store, 1, attempt, **facts))
    add(store, PIPELINE, DAY, "run-1", make_note(by="ann", text="looked at it"))
    for days in (100, 102):
        run_gc(store, days)
    (line,) = Index(store).attempts(PIPELINE)
    assert line.attempt == 2
    assert noted(store, "run-1") == ["looked at it"]


@pytest.fixture
def local(tmp_path):
    """Open an empty store for what does not depend on the backend."""
    return open_store("store", base=tmp_path)


def orphan(store) -> None:
    """Leave an entry and a note that tell of an attempt which is not there."""
    record = add_version(store, 7, commits=False)
    note(store, record)
    add(store, PIPELINE, DAY, "run-7", make_note(by="ann", text="gone"))
    for entry in list(store.list(prefix_of(7))):
        store.delete(entry.key)


def test_what_was_left_of_an_attempt_that_is_gone_is_found(local):
    """Whoever died between an attempt and its entry leaves nothing that the next gc overlooks."""
    orphan(local)
    run_gc(local, 2)
    assert (told(local), noted(local, "run-7")) == ([], [])


@pytest.mark.parametrize(
    ("days", "rules", "acts"),
    [
        (0.5, RULES, True),  # an attempt that began after the survey has not been seen by it
        (2, {"another": Keep()}, True),
        (2, RULES, False),
    ],
    ids=["young", "of a pipeline without rules", "dry run"],
)
def test_what_stays(local, days, rules, acts):
    """What is young, what no rules are known for, and all in a dry run, is left where it is."""
    orphan(local)
    found = run_gc(local, days, rules=rules, acts=acts)
    assert (told(local), noted(local, "run-7")) == (["run-7"], ["gone"])
    fates = [one.fate for one in found if one.what in ("index entry", "note on a run")]
    assert fates == ([] if acts else [Fate.TO_DELETE] * 2)


def test_an_entry_that_cannot_be_read_stays(local):
    """Of a hash whose body is damaged nobody can say that its attempt is gone; strays stay too."""
    keys = {
        f"index/{PIPELINE}/8637808504459+{'0' * 32}.json",
        f"index/{PIPELINE}/README.md",
    }
    for key in keys:
        local.write(key, b"?")
    run_gc(local, 100)
    assert {entry.key for entry in local.list("index")} == keys


def test_an_entry_with_a_hash_for_a_name_goes_as_well(local):
    """A name that is too long for a key leads to its attempt by the body, here too."""
    record = add_version(local, 1).model_copy(update={"run": "r" * 230})
    note(local, record)
    assert local.read(f"{prefix_of_record(record)}/record.json") is None
    run_gc(local, 2)
    assert list(local.list("index")) == []


def test_a_gc_that_was_cut_off_is_continued(tmp_path):
    """Whichever call of the second gc fails, the third leaves neither attempt, entry nor note."""

    def prepared(name: str):
        store = open_store(name, base=tmp_path)
        for order in (1, 2):
            note(store, add_version(store, order, files={"scores": {"a": b"a"}}))
        add(store, PIPELINE, DAY, "run-1", make_note(by="ann", text="note"))
        run_gc(store, 100)
        return store

    counted = FaultyStore(prepared("whole"))
    run_gc(counted, 102)
    deletes = [call for call in counted.calls if call.startswith("delete")]
    assert len(deletes) > 4
    for number, call in enumerate(deletes):
        store = prepared(f"cut-{number}")
        run_gc(FaultyStore(store, Fault(call, "before", "raise")), 102)
        run_gc(store, 104)
        assert told(store) == ["run-2"], call
        assert noted(store, "run-1") == [], call
        assert list(store.list(prefix_of(1))) == [], call
