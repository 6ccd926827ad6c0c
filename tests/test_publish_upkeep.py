"""`nightmill gc` in Delta tables: replaced files go after a week, and those of cut-off commits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from nightmill.publish.publish import publish_current
from nightmill.publish.upkeep import collect_from_tables
from nightmill.spec.retention import Keep
from nightmill.store.collect import Fate, Order
from nightmill.store.open import open_store
from tests.published import DELTA, PLACE, TABLE, commit_scores
from tests.stored_versions import PIPELINE


@pytest.fixture
def spec(load_spec):
    """Declare the scores as a table."""
    return load_spec(DELTA)


def order(days: float, *, acts: bool = True, tables: float = 7, pipeline: str = PIPELINE) -> Order:
    """Have a gc act as if it were so many days later."""
    keep = Keep().model_copy(update={"tables": timedelta(days=tables)})
    now = datetime.now(UTC) + timedelta(days=days)
    return Order(rules={pipeline: keep}, by="test", acts=acts, now=now)


def files(store) -> set[str]:
    """Name the data files that lie below the table."""
    return {one.key for one in store.list(TABLE) if "_delta_log" not in one.key}


def open_table(store, **version) -> DeltaTable:
    """Open the table as its readers do."""
    options = dict(store.library_options())
    return DeltaTable(store.address(TABLE), storage_options=options, **version)


def publish(store, spec, *orders: int) -> None:
    """Publish one commit after the other."""
    for number in orders:
        commit_scores(store, number)
        (found,) = publish_current(store, spec, **PLACE)
        assert found.problem == ""


def runs(table: DeltaTable) -> set[int]:
    """Read whose rows a table has."""
    return set(pa.table(table.to_pyarrow_table())["run"].to_pylist())


def test_replaced_files_go_after_their_time_and_the_table_stays_whole(store, spec):
    """In a directory and in S3: first all is kept, later only what the newest commit needs."""
    publish(store, spec, 1, 2, 3)
    before = files(store)
    assert list(collect_from_tables(store, order(6.9))) == []
    found = list(collect_from_tables(store, order(7.1)))
    assert [(one.what, one.fate, one.pipeline) for one in found] == [
        ("table file", Fate.DELETED, PIPELINE)
    ] * 2
    assert all(one.size.bytes > 300 for one in found)
    assert files(store) == before - {one.key for one in found}
    assert runs(open_table(store)) == {3}
    publish(store, spec, 4)
    assert runs(open_table(store)) == {4}


def test_a_dry_run_only_tells(store, spec):
    """Without --delete the same files are named and all stay."""
    publish(store, spec, 1, 2)
    before = files(store)
    (found,) = collect_from_tables(store, order(8, acts=False))
    assert (found.fate, found.why) == (Fate.TO_DELETE, "no part of the table for 7d")
    assert files(store) == before
    assert runs(open_table(store, version=0)) == {1}


def test_what_a_cut_off_commit_left_goes(store, spec):
    """A data file that no commit names is no part of any version, and goes like a replaced one."""
    publish(store, spec, 1)
    left = f"{TABLE}/partition=2013-03-01/part-00000-left-c000.snappy.parquet"
    store.write(left, b"half a file")
    assert list(collect_from_tables(store, order(0.5))) == []
    (found,) = collect_from_tables(store, order(7.1))
    assert (found.key, found.fate) == (left, Fate.DELETED)


@pytest.mark.parametrize("folder", ["_delta_log", "partition=2013-03-01"])
def test_what_a_killed_writer_had_not_finished_goes(store, spec, folder):
    """Until they are whole, files in a directory are named so, and no vacuum sees them."""
    publish(store, spec, 1)
    before = {one.key for one in store.list(TABLE)}
    left = f"{TABLE}/{folder}/00000000000000000001.json#1"
    store.write(left, b"half a file")
    assert list(collect_from_tables(store, order(6.9))) == []
    (found,) = collect_from_tables(store, order(7.1))
    assert (found.key, found.fate, found.size.bytes) == (left, Fate.DELETED, 11)
    assert {one.key for one in store.list(TABLE)} == before


def test_nothing_younger_than_a_day_goes(store, spec):
    """Whatever pipeline.yaml says, a commit or a reader at work may need it."""
    publish(store, spec, 1, 2)
    assert list(collect_from_tables(store, order(0.9, tables=0.01))) == []
    assert len(list(collect_from_tables(store, order(1.1, tables=0.01)))) == 1


@pytest.mark.parametrize("partition", ["a b/é=%", "2013-03-01", "~x"])
def test_partitions_with_odd_names_are_cleared_too(store, partition):
    """Delta writes names of partitions in its own way, and that is the way they are deleted."""
    options = {"storage_options": dict(store.library_options()), "partition_by": ["partition"]}
    for number in (1, 2):
        rows = pa.table({"partition": [partition], "run": [number]})
        write_deltalake(store.address(TABLE), rows, mode="overwrite", **options)
    assert len(files(store)) == 2
    (gone,) = collect_from_tables(store, order(8))
    assert (gone.fate, gone.size.objects) == (Fate.DELETED, 1)
    assert len(files(store)) == 1
    assert runs(open_table(store)) == {2}


def test_a_table_that_cannot_be_read_stops_no_other(tmp_path, spec):
    """It is told as a problem with its address; the next table is cleared."""
    store = open_store("store", base=tmp_path)
    publish(store, spec, 1, 2)
    broken = f"data/{PIPELINE}/a_broken_one"
    store.write(f"{broken}/_delta_log/00000000000000000000.json", b"{")
    first, second = collect_from_tables(store, order(8))
    assert (first.key, first.fate) == (broken, Fate.PROBLEM)
    assert store.address(broken) in first.why
    assert (second.what, second.fate) == ("table file", Fate.DELETED)


def test_tables_of_pipelines_without_rules_are_left(tmp_path, spec):
    """A pipeline that nobody here knows keeps everything, tables too."""
    store = open_store("store", base=tmp_path)
    publish(store, spec, 1, 2)
    assert list(collect_from_tables(store, order(99, pipeline="other"))) == []
    assert len(files(store)) == 2
