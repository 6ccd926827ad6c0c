"""`nightmill reindex`, and what is told of runs that are older than the index."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from nightmill.spec.record import AttemptState, Decision, Record, Review
from nightmill.spec.summary import Standing
from nightmill.store.active import mark
from nightmill.store.history import prefix_of
from nightmill.store.index import Index, note
from nightmill.store.interface import Store
from nightmill.store.open import open_store
from nightmill.store.reindex import Fate, reindex
from nightmill.store.runs import find_runs
from tests.faulty_store import Fault, FaultyStore
from tests.many_runs import attempts, write

MADE = [one for one, _number in zip(attempts(), range(20), strict=False)]
FLIGHTS = [one.record for one in MADE if one.record.pipeline == "flights"]


@pytest.fixture
def old(store):
    """Leave the records of 20 attempts, 12 of them of `flights`, in a store without an index."""
    leave(store)
    return store


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Open the project's own store in the present folder, empty."""
    monkeypatch.delenv("NIGHTMILL_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    return open_store(".nightmill/store", base=tmp_path)


def leave(store: Store, made=MADE) -> None:
    """Write records, and nothing else."""
    for one in made:
        store.write(f"{prefix_of(one.record)}/record.json", one.record.to_json())


def lines(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Read what the index tells of each pipeline's attempts."""
    index = Index(store)
    return {
        name: [(one.prefix, one.standing, one.cause, one.ended_at) for one in index.attempts(name)]
        for name in ("flights", "taxis")
    }


def fates(found) -> list[tuple[Fate, int]]:
    """Count what was done."""
    told = [one.fate for one in found]
    return [(fate, told.count(fate)) for fate in Fate if fate in told]


def test_the_index_is_made_from_the_records(old, tmp_path):
    """It tells the same as if each attempt had told its end itself, in the same order."""
    told = open_store("told", base=tmp_path)
    for one in MADE:
        write(told, one)
    assert fates(reindex(old)) == [(Fate.WRITTEN, 20)]
    assert lines(old) == lines(told)
    ours, theirs = Index(old), Index(told)
    for name in ("flights", "taxis"):
        found = ours.summaries(ours.attempts(name))
        assert found == theirs.summaries(theirs.attempts(name))
        assert len(found) == sum(one.record.pipeline == name for one in MADE)


def test_only_what_is_missing_is_written(old):
    """The second time there is nothing to do, and what an attempt told itself stays."""
    own = note(old, FLIGHTS[3])
    assert fates(reindex(old)) == [(Fate.WRITTEN, 19), (Fate.KNOWN, 1)]
    entries = [entry.key for entry in old.list("index")]
    assert own in entries
    assert fates(reindex(old)) == [(Fate.KNOWN, 20)]
    assert [entry.key for entry in old.list("index")] == entries


@pytest.fixture
def local(tmp_path):
    """Leave the records of 20 attempts in a directory, for what does not depend on the backend."""
    store = open_store("store", base=tmp_path)
    leave(store)
    return store


def test_it_may_be_interrupted(local):
    """What was written until then is true; the next time goes on from there."""
    begun = reindex(local)
    assert len(list(islice(begun, 7))) == 7
    begun.close()
    list(reindex(local))
    assert len(Index(local).attempts("flights")) == len(FLIGHTS) == 12


def test_anew_replaces_what_is_there(local):
    """Wrong and outdated entries give way to what the records say: one for each attempt."""
    held = FLIGHTS[1].model_copy(update={"committed": False, "review": Review(required=("s",))})
    approved = Decision(approved=True, by="ann", at=datetime.now(UTC))
    decided = held.model_copy(
        update={"committed": True, "review": Review(required=("s",), decision=approved)}
    )
    note(local, held)
    note(local, FLIGHTS[2].model_copy(update={"duration_s": 1.0}))
    local.write(f"{prefix_of(decided)}/record.json", decided.to_json())
    assert fates(reindex(local)) == [(Fate.WRITTEN, 18), (Fate.KNOWN, 2)]
    outdated = {line.prefix: line.standing for line in Index(local).attempts("flights")}
    assert outdated[prefix_of(held)] is Standing.HELD
    assert fates(reindex(local, anew=True)) == [(Fate.WRITTEN, 20)]
    found = {line.prefix: line for line in Index(local).attempts("flights")}
    assert found[prefix_of(decided)].standing is Standing.SUCCEEDED
    assert found[prefix_of(FLIGHTS[2])].duration_s == FLIGHTS[2].duration_s
    assert len(list(local.list("index"))) == 20


def test_a_failure_between_the_new_and_the_old_entry_loses_none(local):
    """The new entry is written before the old one goes: an attempt is always told."""
    note(local, FLIGHTS[2])
    failing = FaultyStore(local, Fault("delete index/flights/ENTRY #1", "before", "raise"))
    with pytest.raises(Exception, match="planted"):
        list(reindex(failing, anew=True))
    assert prefix_of(FLIGHTS[2]) in {line.prefix for line in Index(local).attempts("flights")}
    list(reindex(local, anew=True))
    assert len(list(local.list("index"))) == 20


def test_what_has_no_end_or_cannot_be_read_is_told(local):
    """An attempt without an end gets no entry; a damaged record stops nothing."""
    running = FLIGHTS[0].model_copy(update={"state": AttemptState.RUNNING, "ended_at": None})
    local.write(f"{prefix_of(running)}/record.json", running.to_json())
    local.write(f"{prefix_of(FLIGHTS[1])}/record.json", b"{")
    local.write(f"{prefix_of(FLIGHTS[2])}/outputs/x/record.json", b"an output with this name")
    assert fates(reindex(local)) == [
        (Fate.WRITTEN, 18),
        (Fate.NO_END, 1),
        (Fate.UNREADABLE, 1),
    ]


# -- the command line -----------------------------------------------------------------------------


def test_the_verb_tells_what_it_did(cli, here):
    """A table counts by pipeline; an unreadable record is named, and the exit code says so."""
    assert cli("reindex").out == "No runs yet in .nightmill/store.\n"
    leave(here)
    table = [line.split() for line in cli("reindex").out.splitlines()]
    assert table[1:] == [["flights", "12", "0", "0", "0"], ["taxis", "8", "0", "0", "0"]]
    here.write("runs/flights/d/r/s/1/record.json", b"{")
    ended = cli("reindex")
    assert ended.code == 1
    assert "unreadable record: .nightmill/store/runs/flights/d/r/s/1" in ended.out
    again = [line.split() for line in cli("reindex", "--all").out.splitlines()]
    assert again[1:3] == [["flights", "12", "0", "0", "1"], ["taxis", "8", "0", "0", "0"]]


def test_runs_are_listed_with_an_index_and_without(cli, here):
    """The list is the same; without an index it says what would make it quick."""
    leave(here)
    before = cli("runs", "flights")
    assert len(before.out.splitlines()) == 1 + 4  # nights of three steps each
    assert "the index does not know 4 runs: `nightmill reindex` tells it" in before.err
    cli("reindex")
    after = cli("runs", "flights")
    assert (after.out, after.err) == (before.out, "")


def test_runs_older_than_the_index_are_listed_with_the_others(cli, here):
    """A store that has lived through the upgrade shows nights from before and after."""
    leave(here, [one for one in MADE if one.record is not FLIGHTS[0]])
    note(here, FLIGHTS[4])
    ended = cli("runs", "flights")
    assert len(ended.out.splitlines()) == 1 + 4
    assert "does not know 3 runs" in ended.err


def test_a_run_that_runs_is_listed(cli, here):
    """A run of which nothing has ended is known by its mark."""
    record = Record.model_validate(FLIGHTS[0].model_dump() | {"state": "running", "failure": None})
    here.write(f"{prefix_of(record)}/record.json", record.to_json())
    mark(here, prefix_of(record), order=record.order)
    (row,) = cli("runs").out.splitlines()[1:]
    assert row.split()[:2] == [record.run, "flights"]
    assert cli("runs").err == ""


def test_a_run_older_than_the_index_is_found_by_its_name(cli, here):
    """Also where the index knows its partition by a later run."""
    leave(here)
    later = FLIGHTS[0].model_copy(update={"run": "later"})
    here.write(f"{prefix_of(later)}/record.json", later.to_json())
    note(here, later)
    assert FLIGHTS[0].run not in cli("runs", "flights").out
    assert f"run {FLIGHTS[0].run}" in cli("show", FLIGHTS[0].run).out
    assert "run later" in cli("show", "later").out


def test_an_indexed_store_is_not_listed_partition_by_partition(local):
    """One request for the names of partitions is all that `runs` asks besides the index."""
    list(reindex(local))
    counted = FaultyStore(local)
    found = find_runs(counted, Index(counted), "flights")
    assert (len(found.indexed), found.others) == (4, frozenset())
    assert sorted(counted.calls) == [
        "children runs/flights #1",
        "list active #1",
        "list index/flights #1",
    ]
