from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nightmill.spec.record import AttemptState, Record
from nightmill.spec.steprun import StepRun
from nightmill.store import history, sweep
from nightmill.store.keys import attempt_prefix
from nightmill.store.pointer import Pointer, Token, commit
from nightmill.store.versions import partition_records
from tests.counting import Counting

START = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)


def step_run(
    step: str = "a",
    *,
    run: str = "r1",
    partition: str = "2013-03-01",
    attempt: int = 1,
    member: str = "",
):
    """Make the identity of an attempt."""
    return StepRun(
        pipeline="p é",
        step=step,
        partition=partition,
        as_of="2013-03-01",
        run=run,
        order=1,
        attempt=attempt,
        member=member,
        store="s",
    )


def write_record(store, run: StepRun, *, after_s: int = 0, **facts: object) -> str:
    """Write the record of an attempt as its step would; return its key."""
    record = Record(
        **run.model_dump(),
        **{"state": AttemptState.RUNNING, **facts},
        started_at=START + timedelta(seconds=after_s),
        nightmill="0",
        host="h",
    )
    key = _key(run)
    store.write(key, record.to_json())
    return key


def _key(run: StepRun) -> str:
    where = (run.pipeline, run.partition, run.run, run.step, run.attempt)
    return f"{attempt_prefix(*where, member=run.member)}/record.json"


def test_an_empty_store_has_no_history(store):
    """Where nothing has run there is nothing to list, and no error."""
    assert history.pipelines(store) == []
    assert history.runs(store, "p é") == []
    assert history.records(store, "p é", "2013-03-01", "r") == history.RunRecords(())


def test_runs_are_listed_newest_first(store):
    """Runs of all partitions are sorted by their names, which begin with their time."""
    for run, partition in [("r1", "2013-03-02"), ("r3", "2013-03-01"), ("r2", "eu [west]/é")]:
        write_record(store, step_run(run=run, partition=partition))
    assert history.pipelines(store) == ["p é"]
    assert history.runs(store, "p é") == [
        ("r3", "2013-03-01"),
        ("r2", "eu [west]/é"),
        ("r1", "2013-03-02"),
    ]


@pytest.mark.parametrize("long", ["東" * 24, "manual__" + ":" * 120])
def test_what_is_listed_is_found_however_long_its_name(store, long):
    """Names that are cut in keys lead from the list of runs to the records, and to the versions."""
    run = step_run(run=long, partition=long)
    write_record(store, run)
    ((name, partition),) = history.runs(store, "p é")
    (record,) = history.records(store, "p é", partition, name).records
    assert (record.run, record.partition) == (long, long)
    assert partition_records(store, "p é", long) == partition_records(store, "p é", partition)
    assert partition_records(store, "p é", long) == [record]


def test_records_come_in_the_order_of_their_start(store):
    """Every attempt of every step is there, the first to start first."""
    write_record(store, step_run("z"), after_s=1)
    write_record(store, step_run("a"), after_s=5)
    write_record(store, step_run("a", attempt=2), after_s=9)
    write_record(store, step_run("other", run="r2"))
    found = history.records(store, "p é", "2013-03-01", "r1")
    assert [(one.step, one.attempt) for one in found.records] == [("z", 1), ("a", 1), ("a", 2)]
    assert found.unreadable == ()


def test_an_output_named_like_a_record_is_none(store):
    """A notebook's own record.json is an output, and says nothing of the run."""
    key = write_record(store, step_run())
    store.write(key.replace("record.json", "outputs/record.json/record.json"), b"{}")
    store.write(key.replace("record.json", "notebook.ipynb"), b"{}")
    found = history.records(store, "p é", "2013-03-01", "r1")
    assert (len(found.records), found.unreadable) == (1, ())


@pytest.mark.parametrize("member", ["outputs", "spilled", "1", "record.json", "runs"])
def test_any_member_is_seen(store, member):
    """A member may have the name of a folder in an attempt, or be a number: it ran like others."""
    key = write_record(store, step_run(member=member))
    store.write(key.replace("record.json", "outputs/o/record.json"), b"{}")
    found = history.records(store, "p é", "2013-03-01", "r1")
    assert [one.member for one in found.records] == [member]
    assert found.unreadable == ()
    prefix = key.removesuffix("/record.json")
    assert sweep.attempts(store, "p é", "2013-03-01", "r1") == [prefix]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", b'{"schema_version": 2}'])
def test_a_damaged_record_hides_no_other(store, data):
    """A record that cannot be read is named by its address, and the others are still told."""
    write_record(store, step_run("a"))
    damaged = _key(step_run("b"))
    store.write(damaged, data)
    found = history.records(store, "p é", "2013-03-01", "r1")
    assert [one.step for one in found.records] == ["a"]
    assert found.unreadable == (store.address(damaged),)


def commit_of(store, run: StepRun, **facts: object) -> None:
    """Write an attempt's record and its pointer as a step that succeeds does."""
    key = write_record(store, run, **{"state": AttemptState.SUCCEEDED, **facts})
    commit(
        store,
        Pointer(
            pipeline=run.pipeline,
            step=run.step,
            partition=run.partition,
            member=run.member,
            run=run.run,
            token=Token(order=run.order, attempt=run.attempt),
            attempt_prefix=key.removesuffix("/record.json"),
            outputs={},
        ),
    )


def test_recent_records_are_of_what_committed_last(store):
    """The newest partitions come first, each by the attempt that committed it; no more are read."""
    for day in ("2013-03-01", "2013-02-28", "2013-03-03", "2013-03-02"):
        commit_of(store, step_run(partition=day, attempt=2))
        write_record(store, step_run(partition=day, run="r2"), state=AttemptState.FAILED)
    commit_of(store, step_run("other", partition="2013-03-09"))
    found = history.recent_records(store, "p é", "a", count=3)
    assert [(one.partition, one.run, one.attempt) for one in found] == [
        ("2013-03-03", "r1", 2),
        ("2013-03-02", "r1", 2),
        ("2013-03-01", "r1", 2),
    ]


def test_recent_records_are_of_one_member(store):
    """A member of a step is compared with itself, and a step without members with itself."""
    for member in ("eu west", "us", ""):
        commit_of(store, step_run(member=member))
    for member in ("eu west", ""):
        (found,) = history.recent_records(store, "p é", "a", member=member)
        assert found.member == member
    assert history.recent_records(store, "p é", "a", member="none") == []


def test_recent_records_leave_out_what_cannot_be_read(store):
    """A record that is gone or damaged is no error: the others are told."""
    for day in ("2013-03-01", "2013-03-02", "2013-03-03"):
        commit_of(store, step_run(partition=day))
    store.write(_key(step_run(partition="2013-03-03")), b"{")
    store.delete(_key(step_run(partition="2013-03-02")))
    found = history.recent_records(store, "p é", "a")
    assert [one.partition for one in found] == ["2013-03-01"]
    assert history.recent_records(store, "p é", "never ran") == []


def test_recent_records_cost_few_requests(store):
    """With hundreds of partitions, a look, one short listing and two reads a record are enough."""
    today = datetime.now(UTC).date()
    for days in range(200):
        commit_of(store, step_run(partition=(today - timedelta(days=days)).isoformat()))
    counting = Counting(store)
    assert len(history.recent_records(counting, "p é", "a", count=5)) == 5
    assert counting.asked.total() == 2 + 2 * 5
    assert counting.listed <= 1 + 32
