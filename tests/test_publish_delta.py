"""Publishing as a Delta table: one transaction a partition, fenced, with the run's name."""

import datetime as dt
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from nightmill.errors import FencedError, StoreConflict
from nightmill.publish.delta import Table
from nightmill.publish.place import Place
from nightmill.publish.publish import publish_current, repair
from nightmill.publish.table_partition import TablePartition
from nightmill.publish.target import State, bring_up_to_date
from nightmill.store.open import open_store
from nightmill.store.pointer import commit
from tests.published import DELTA, PLACE, PLAIN, TABLE, commit_scores, parquet, scores, spec_with
from tests.stored_versions import (
    DAY,
    PIPELINE,
    STEP,
    add_version,
    current,
    make_pointer,
    prefix_of,
    store_outputs,
)

TOKEN = {"nightmill.token": "2:1", "nightmill.run": "run-2", "nightmill.attempt": "1"}


@pytest.fixture
def spec(load_spec):
    """Declare the scores as a table."""
    return load_spec(DELTA)


@pytest.fixture
def here(tmp_path):
    """Open a store in a directory, for what does not depend on where the table is."""
    return open_store("store", base=tmp_path)


def open_table(store) -> DeltaTable:
    """Open the published table as its readers do."""
    return DeltaTable(store.address(TABLE), storage_options=dict(store.library_options()))


def rows(store, query: str = "SELECT * FROM scores ORDER BY ALL") -> list[tuple]:
    """Let DuckDB read the published table."""
    dataset = open_table(store).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("scores", dataset)
        return connection.execute(query).fetchall()


def publish(store, spec, **names):
    """Publish the one output that is declared so."""
    (found,) = publish_current(store, spec, **PLACE, **names)
    return found


def test_committed_rows_stand_in_the_table(store, spec):
    """Each commit replaces its partition's rows in one transaction that names the run."""
    commit_scores(store, 1, scores(1, rows=3))
    found = publish(store, spec)
    assert (found.state, found.address) == (State.PUBLISHED, store.address(TABLE))
    assert rows(store) == [(0, 1, DAY), (1, 1, DAY), (2, 1, DAY)]
    commit_scores(store, 2, scores(2, rows=2))
    assert publish(store, spec).state is State.PUBLISHED
    assert rows(store) == [(0, 2, DAY), (1, 2, DAY)]
    table = open_table(store)
    (said,) = table.history(1)
    assert {name: said[name] for name in TOKEN} == TOKEN
    assert said["nightmill.commit"] == current(store).commit_id
    assert (table.version(), table.metadata().partition_columns) == (1, ["partition"])


def test_what_is_in_the_table_is_not_written_again(store, spec):
    """The table itself knows which commit's rows it has: a repeated publish makes no version."""
    commit_scores(store, 1)
    publish(store, spec)
    assert publish(store, spec).state is State.CURRENT
    assert [one.state for one in repair(store, spec, dry_run=True)] == [State.CURRENT]
    assert open_table(store).version() == 0


def test_partitions_and_members_do_not_touch_each_other(store, load_spec):
    """With members, the member is a partition column as well."""
    spec = spec_with(load_spec, "{path: s.parquet, format: delta}", members="[a, b]")
    for order, member in ((1, "a"), (2, "b"), (3, "a")):
        commit_scores(store, order, scores(order, rows=1), member=member)
        publish(store, spec, member=member)
    assert rows(store) == [(0, 2, DAY, "b"), (0, 3, DAY, "a")]


@pytest.mark.parametrize("evolution", ["none", "add"])
@pytest.mark.parametrize("had", ["members", "none"])
def test_a_table_of_the_other_form_is_told_with_what_helps(here, load_spec, had, evolution):
    """A step that was given members, or lost them, needs another table; no advice that fails."""
    output = f"{{path: s.parquet, format: delta, evolution: {evolution}}}"
    specs = [
        ("x", spec_with(load_spec, output, members="[x]"), "with members, and the step has none"),
        ("", spec_with(load_spec, output), "without members, and the step has members now"),
    ]
    (old, first, problem), (new, second, _problem) = specs if had == "members" else specs[::-1]
    commit_scores(here, 1, member=old)
    publish(here, first, member=old)
    commit_scores(here, 2, scores(2, rows=1), member=new)
    found = publish(here, second, member=new)
    assert found.state is State.FAILED
    assert f"the table was made for a step {problem}" in found.problem
    assert "rename the output, or move the table away and run `nightmill repair`" in found.problem
    assert "evolution" not in found.problem
    for entry in list(here.list(TABLE)):
        here.delete(entry.key)
    assert [one.state for one in repair(here, second)] == [State.PUBLISHED]
    assert rows(here) == [(0, 2, DAY, new) if new else (0, 2, DAY)]


def test_a_table_that_somebody_else_has_partitioned_is_told(here, spec):
    """Its columns are named, and nothing is written to it."""
    other = pa.table({"id": [1], "run": [1], "origin": ["JFK"]})
    write_deltalake(here.address(TABLE), other, partition_by=["origin"])
    commit_scores(here, 1)
    assert "is partitioned by ['origin'], and not by ['partition']" in publish(here, spec).problem
    assert open_table(here).version() == 0


def test_any_text_is_a_partition(store, spec):
    """A partition with quotes, slashes and other alphabets comes back as it was given."""
    day = "it's 100% a/b ~ é"
    outputs = store_outputs(store, prefix_of(1), {"scores": {"s.parquet": scores(1, rows=1)}})
    pointer = make_pointer(1, outputs=outputs).model_copy(update={"partition": day})
    commit(store, pointer)
    for _ in range(2):
        (found,) = publish_current(store, spec, step="score", partition=day)
    assert found.state is State.CURRENT
    assert rows(store) == [(0, 1, day)]


def test_an_empty_output_empties_its_partition(here, spec):
    """No rows are a result, too: those of the former commit do not stay."""
    commit_scores(here, 1)
    publish(here, spec)
    commit_scores(here, 2, scores(2, rows=0))
    assert publish(here, spec).state is State.PUBLISHED
    assert rows(here) == []


TYPES = {
    "count": pa.array([3], pa.uint32()),
    "at": pa.array([dt.datetime(2013, 3, 1, 2, 30)], pa.timestamp("ns")),  # noqa: DTZ001 - so
    "zoned": pa.array([dt.datetime(2013, 3, 1, tzinfo=dt.UTC)], pa.timestamp("us", "UTC")),
    "day": pa.array([dt.date(2013, 3, 1)]),
    "carrier": pa.array(["AA"]).dictionary_encode(),
    "route": pa.array([["JFK", "LAX"]]),
    "missing": pa.array([None], pa.float32()),
}


def test_types_of_tables_arrive(here, spec):
    """Unsigned numbers, nanoseconds, categories and lists become types that Delta has."""
    commit_scores(here, 1, parquet(TYPES))
    assert publish(here, spec).problem == ""
    (row,) = open_table(here).to_pyarrow_table(columns=list(TYPES)).to_pylist()
    assert row == {
        "count": 3,
        "at": dt.datetime(2013, 3, 1, 2, 30),  # noqa: DTZ001 - without a zone, as written
        "zoned": dt.datetime(2013, 3, 1, tzinfo=dt.UTC),
        "day": dt.date(2013, 3, 1),
        "carrier": "AA",
        "route": ["JFK", "LAX"],
        "missing": None,
    }


BASE = {"id": [1], "p": [0.5]}


@pytest.mark.parametrize(
    ("columns", "evolution", "names"),
    [
        ({"id": [1], "p": [0.5]}, "none", ["id", "p"]),
        ({"id": [1], "p": [0.5], "q": [2]}, "none", None),
        ({"id": [1]}, "none", None),
        ({"id": ["x"], "p": [0.5]}, "none", None),
        ({"id": [1], "p": [0.5], "q": [2]}, "add", ["id", "p", "q"]),
        ({"id": ["x"], "p": [0.5]}, "add", None),
        ({"id": [1], "P": [0.5]}, "none", None),
        ({"id": [1], "p": [0.5], "P": [2]}, "add", None),
    ],
    ids=[
        "same",
        "one more",
        "one less",
        "another type",
        "one more, add",
        "another type, add",
        "case",
        "case, add",
    ],
)
def test_the_schema_is_enforced(here, load_spec, columns, evolution, names):
    """Columns that are not the table's fail the publish, and the former rows stay."""
    output = f"{{path: scores.parquet, format: delta, evolution: {evolution}}}"
    spec = spec_with(load_spec, output)
    commit_scores(here, 1, parquet(BASE))
    publish(here, spec)
    commit_scores(here, 2, parquet(columns))
    found = publish(here, spec)
    if names is None:
        assert found.state is State.FAILED
        assert re.search(
            "`q` is not in the table|`p` of the table is missing|VARCHAR, and BIGINT"
            "|`P` is `p` in the table|`p` and `P` have one name for Delta",
            found.problem,
        )
        assert "\n" not in found.problem
        assert rows(here) == [(1, 0.5, DAY)]
    else:
        assert found.state is State.PUBLISHED
        fields = [field.name for field in open_table(here).schema().fields]
        assert sorted(fields) == sorted([*names, "partition"])


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"s.parquet": parquet({"Partition": ["x"]})}, "has a column `Partition`"),
        ({"s.parquet": b"no Parquet at all"}, "cannot be read as Parquet"),
        ({"s.parquet": scores(1)[:-20]}, "cannot be read as Parquet"),
        ({"a/_x.parquet": b"", "notes.txt": b"x"}, "has no Parquet file"),
    ],
    ids=["clash", "no parquet", "truncated", "no part"],
)
def test_what_is_no_table_is_told(here, spec, files, problem):
    """What cannot become rows of the table fails with the output's name and a reason."""
    add_version(here, 1, files={"scores": files})
    found = publish(here, spec)
    assert (found.state, list(here.list("data"))) == (State.FAILED, [])
    assert found.problem.startswith("output scores: ")
    assert problem in found.problem


def test_a_folder_of_parts_becomes_rows(here, spec):
    """Parts keep the columns of the author's key=value folders; other files are not read."""
    files = {
        "origin=JFK/part-0.parquet": parquet({"id": [1]}),
        "origin=E W*R/part-0.parquet": parquet({"id": [2]}),
        "_SUCCESS": b"",
        "notes.txt": b"x",
    }
    add_version(here, 1, files={"scores": files})
    assert publish(here, spec).problem == ""
    assert rows(here) == [(1, "JFK", DAY), (2, "E W*R", DAY)]


def test_a_table_that_was_deleted_comes_back(store, spec):
    """Repair asks the table, not a note: what is no more is published again."""
    commit_scores(store, 1)
    publish(store, spec)
    for entry in list(store.list("data")):
        store.delete(entry.key)
    assert [one.state for one in repair(store, spec)] == [State.PUBLISHED]
    assert len(rows(store)) == 3


def test_a_plain_file_of_before_is_not_in_the_table(here, load_spec, spec):
    """An output that becomes a table starts with what is committed, not with what lies there."""
    commit_scores(here, 1)
    publish(here, spec_with(load_spec, "scores.parquet"))
    assert here.read(PLAIN) is not None
    publish(here, spec)
    assert len(rows(here)) == 3


@pytest.mark.parametrize("publishes", [True, False], ids=["publishes", "dies before publishing"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("is_first", [True, False], ids=["new table", "table"])
def test_an_older_publisher_never_has_the_last_word(here, spec, at, is_first, publishes):
    """Wherever an older publisher is overtaken, the newest rows are there when it ends."""
    if not is_first:
        commit_scores(here, 1)
        publish(here, spec)
    commit_scores(here, 5, scores(5, rows=1))
    target = TablePartition(
        Table(here, PIPELINE, "scores", spec.steps["score"].outputs["scores"], has_members=False),
        Place(here, PIPELINE, STEP, DAY),
    )
    readings = 0

    def read():
        nonlocal readings
        readings += 1
        found = current(here)
        if readings == at:
            commit_scores(here, 9, scores(9, rows=1))
            if publishes:
                publish(here, spec)
        return found

    bring_up_to_date(target, read)
    newest = 9 if at < readings or publishes else 5
    assert rows(here) == [(0, newest, DAY)]


@pytest.mark.parametrize("is_first", [True, False], ids=["new table", "table"])
def test_an_older_publisher_that_dies_has_replaced_nothing_newer(store, spec, is_first):
    """Overtaken between its look and its commit, it is refused by the table itself."""
    if not is_first:
        commit_scores(store, 1)
        publish(store, spec)
    commit_scores(store, 5, scores(5, rows=1))
    older = current(store)
    table = Table(
        store, PIPELINE, "scores", spec.steps["score"].outputs["scores"], has_members=False
    )
    replace = TablePartition(table, Place(store, PIPELINE, STEP, DAY)).look(older)
    commit_scores(store, 9, scores(9, rows=1))
    publish(store, spec)
    with pytest.raises(StoreConflict):
        replace()
    assert rows(store) == [(0, 9, DAY)]


def test_many_publishers_at_once_leave_the_newest(store, spec):
    """Runs of one partition that publish at the same time end with the newest one's rows, once."""
    orders = range(1, 7)
    pointers = {}
    for order in orders:
        files = {"scores": {"s.parquet": scores(order, rows=1)}}
        outputs = store_outputs(store, prefix_of(order), files)
        pointers[order] = make_pointer(order, outputs=outputs)
    start = threading.Barrier(len(orders))

    def work(order: int) -> None:
        start.wait()
        try:
            commit(store, pointers[order])
        except FencedError:
            return
        found = publish(store, spec)
        assert found.state is not State.FAILED, found.problem

    with ThreadPoolExecutor(len(orders)) as pool:
        list(pool.map(work, orders))
    assert rows(store) == [(0, 6, DAY)]
