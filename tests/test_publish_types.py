"""Types of columns in a Delta table: what would be changed there is not published."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from nightmill.publish.publish import publish_current
from nightmill.publish.target import State
from nightmill.store.open import open_store
from tests.published import PLACE, TABLE, commit_scores, parquet, spec_with
from tests.stored_versions import add_version, current

NIGHT = dt.datetime(2013, 3, 1, 2, 30)  # noqa: DTZ001 - without a zone, as it is stored
EVOLUTIONS = ["none", "add"]


@pytest.fixture
def here(tmp_path):
    """Open a store in a directory: types do not depend on where the table is."""
    return open_store("store", base=tmp_path)


def table(store) -> pa.Table:
    """Read the published table."""
    options = dict(store.library_options())
    return pa.table(DeltaTable(store.address(TABLE), storage_options=options).to_pyarrow_table())


def nights(store, load_spec, *columns, evolution: str = "none"):
    """Publish one commit after the other; return what became of the last."""
    spec = spec_with(load_spec, f"{{path: s.parquet, format: delta, evolution: {evolution}}}")
    newest = current(store)
    for order, one in enumerate(columns, start=newest.token.order + 1 if newest else 1):
        data = parquet(one if isinstance(one, dict) else {"x": one})
        commit_scores(store, order, data)
        (found,) = publish_current(store, spec, **PLACE)
    return found


def arrow(values, kind) -> pa.Array:
    """Make an array of a type."""
    return pa.array(values, kind)


CHANGED = {
    "1.5 is no whole number": (arrow([1], "int64"), arrow([1.5], "float64")),
    "not even 1.0": (arrow([1], "int64"), arrow([1.0], "float64")),
    "a number for a real one": (arrow([0.5], "float64"), arrow([1], "int32")),
    "a larger whole number": (arrow([1], "int32"), arrow([1], "int64")),
    "a finer real number": (arrow([0.5], "float32"), arrow([0.1], "float64")),
    "text for a number": (arrow([1], "int64"), arrow(["7"], "string")),
    "a number for text": (arrow(["a"], "string"), arrow([7], "int64")),
    "text for a decimal": (arrow([Decimal("1.24")], pa.decimal128(5, 2)), arrow(["1.239"], None)),
    "more places": (
        arrow([Decimal("1.24")], pa.decimal128(5, 2)),
        arrow([Decimal("1.239")], pa.decimal128(6, 3)),
    ),
    "more digits": (
        arrow([Decimal("1.24")], pa.decimal128(5, 2)),
        arrow([Decimal("1.24")], pa.decimal128(9, 2)),
    ),
    "a number for a day": (arrow([dt.date(2013, 3, 1)], None), arrow([15000], "int32")),
    "a time for a day": (arrow([dt.date(2013, 3, 1)], None), arrow([NIGHT], None)),
    "a zone": (arrow([NIGHT], pa.timestamp("us")), arrow([NIGHT], pa.timestamp("us", "UTC"))),
    "a truth": (arrow([True], None), arrow([2], "int64")),
    "a list": (arrow([[1]], pa.list_(pa.int64())), arrow([[1.5]], pa.list_(pa.float64()))),
    "a list for one": (arrow([1], "int64"), arrow([[1]], pa.list_(pa.int64()))),
    "a field": (arrow([{"a": 1}], None), arrow([{"a": 1.5}], None)),
    "a field more": (arrow([{"a": 1}], None), arrow([{"a": 1, "b": 2}], None)),
    "bytes for text": (arrow(["a"], "string"), arrow([b"a"], "binary")),
}


@pytest.mark.parametrize("evolution", EVOLUTIONS)
@pytest.mark.parametrize(("first", "second"), CHANGED.values(), ids=CHANGED)
def test_what_the_table_would_change_is_not_published(here, load_spec, first, second, evolution):
    """Another type fails the publish, with column, both types and what to do; the rows stay."""
    found = nights(here, load_spec, first, second, evolution=evolution)
    assert found.state is State.FAILED
    assert "column `x` is " in found.problem
    assert " in the table; what is there would change -> write it as " in found.problem
    assert "move the table away and run `nightmill repair`" in found.problem
    assert table(here)["x"].to_pylist() == first.to_pylist()


WIDER = {
    "whole numbers": (arrow([1], "int64"), arrow([-3, 127], "int8"), [-3, 127]),
    "unsigned ones": (arrow([1], "int64"), arrow([2**32 - 1], "uint32"), [2**32 - 1]),
    "real numbers": (arrow([0.5], "float64"), arrow([0.1], "float32"), None),
    "milliseconds": (arrow([NIGHT], pa.timestamp("us")), arrow([NIGHT], pa.timestamp("ms")), None),
    "nanoseconds": (arrow([NIGHT], pa.timestamp("us")), arrow([NIGHT], pa.timestamp("ns")), None),
    "decimals": (
        arrow([Decimal("1.125")], pa.decimal128(9, 3)),
        arrow([Decimal("1.25")], pa.decimal128(5, 2)),
        [Decimal("1.250")],
    ),
    "in lists": (arrow([[1]], pa.list_(pa.int64())), arrow([[7]], pa.list_(pa.int16())), [[7]]),
    "in fields": (
        arrow([{"b": 1, "a": 2}], pa.struct({"b": pa.int64(), "a": pa.int64()})),
        arrow([{"a": 3, "b": 4}], pa.struct({"a": pa.int32(), "b": pa.int8()})),
        [{"b": 4, "a": 3}],
    ),
    "nothing": (arrow(["a"], "string"), pa.nulls(2), [None, None]),
    "categories": (arrow(["a"], "string"), arrow(["b"], "string").dictionary_encode(), ["b"]),
}


@pytest.mark.parametrize("evolution", EVOLUTIONS)
@pytest.mark.parametrize(("first", "second", "expected"), WIDER.values(), ids=WIDER)
def test_what_fits_without_loss_is_published(here, load_spec, first, second, expected, evolution):
    """A narrower type of the same kind arrives unchanged, and the table keeps its own type."""
    assert nights(here, load_spec, first, evolution=evolution).problem == ""
    before = table(here).schema
    assert nights(here, load_spec, second, evolution=evolution).problem == ""
    assert table(here).schema == before
    assert table(here)["x"].to_pylist() == (expected or second.to_pylist())


LOST = {
    "too large": [arrow([2**64 - 1], "uint64")],
    "too large for an older table": [arrow([1], "int32"), arrow([2**31], "uint32")],
    "nanoseconds": [arrow([1], pa.timestamp("ns"))],
    "nanoseconds in a zone": [arrow([1], pa.timestamp("ns", "UTC"))],
    "nanoseconds in a list": [arrow([[1]], pa.list_(pa.timestamp("ns")))],
}


@pytest.mark.parametrize("columns", LOST.values(), ids=LOST)
def test_a_value_that_delta_cannot_hold_is_not_published(here, load_spec, columns):
    """Also in a new table: numbers that are too large, and parts of microseconds."""
    found = nights(here, load_spec, *columns)
    assert found.state is State.FAILED
    assert "column `x` is " in found.problem
    assert "cannot hold" in found.problem


def test_a_type_that_delta_lacks_is_told(here, load_spec):
    """A time of day has no type in Delta: the error names the column."""
    found = nights(here, load_spec, arrow([1], pa.time64("us")))
    assert "column `x` is TIME, and Delta has no such type" in found.problem


MICROSECONDS = pa.duration("us")
DURATIONS = {
    "seconds": (arrow([5], pa.duration("s")), "is a duration"),
    "nanoseconds": (arrow([5], pa.duration("ns")), "is a duration"),
    "nulls": (arrow([None], MICROSECONDS), "is a duration"),
    "in lists": (arrow([[5]], pa.list_(MICROSECONDS)), "has durations inside"),
    "in fields": (arrow([None], pa.struct({"b": MICROSECONDS})), "has durations inside"),
    "categories": (arrow([5], MICROSECONDS).dictionary_encode(), "is a duration"),
}


@pytest.mark.parametrize("evolution", EVOLUTIONS)
@pytest.mark.parametrize(("column", "how"), DURATIONS.values(), ids=DURATIONS)
def test_a_duration_does_not_become_a_bare_number(here, load_spec, column, how, evolution):
    """Parquet and Delta have no such type: it is told, also where the table has a number."""
    for earlier in ([], [[7]]):
        found = nights(here, load_spec, *earlier, column, evolution=evolution)
        assert found.state is State.FAILED
        assert f"column `x` {how}, and Delta has no such type" in found.problem
        assert "write it as a number in the notebook" in found.problem
    assert table(here)["x"].to_pylist() == [7]


def test_a_duration_of_pandas_is_found_in_any_part(here, load_spec):
    """The one file of a folder that has such a column is enough."""
    late = pd.DataFrame({"id": [1], "late": pd.to_timedelta([90], unit="s")})
    numbers = parquet({"id": [1], "late": arrow([90], "int64")})
    add_version(here, 1, files={"scores": {"a.pq": numbers, "b.pq": late.to_parquet()}})
    (found,) = publish_current(here, spec_with(load_spec, "{path: s/, format: delta}"), **PLACE)
    assert "column `late` is a duration" in found.problem


def test_a_file_whose_arrow_schema_is_broken_is_read_by_its_parquet_types(here, load_spec):
    """Whoever wrote odd metadata is not kept from publishing."""
    for order, text in enumerate((b"", b"?", b"AAAA", b"/////wABAAAQAAAA"), start=1):
        odd, file = pa.table({"x": [order]}), io.BytesIO()
        with pq.ParquetWriter(file, odd.schema, store_schema=False) as writer:
            writer.write_table(odd)
            writer.add_key_value_metadata({"ARROW:schema": text})
        assert b"ARROW:schema" in file.getvalue()
        commit_scores(here, order, file.getvalue())
        (found,) = publish_current(
            here, spec_with(load_spec, "{path: s.pq, format: delta}"), **PLACE
        )
        assert found.problem == ""
        assert table(here)["x"].to_pylist() == [order]


def test_new_columns_come_in_and_old_ones_stay_strict(here, load_spec):
    """`evolution: add` lets in columns, and never changes a type."""
    base, more = {"x": [1]}, {"x": [2], "y": arrow([3], "uint16")}
    assert nights(here, load_spec, base, more, evolution="add").problem == ""
    assert table(here).select(["x", "y"]).to_pylist() == [{"x": 2, "y": 3}]
    found = nights(here, load_spec, {"x": [1.5], "y": [3]}, evolution="add")
    assert found.state is State.FAILED
    assert table(here)["x"].to_pylist() == [2]


def test_a_folders_key_is_text_where_the_table_has_text(here, load_spec):
    """What a folder is called has no type: tonight's `7` goes where yesterday's `A7` is."""
    spec = spec_with(load_spec, "{path: s/, format: delta}")
    for order, gate in ((1, "A7"), (2, "7")):
        add_version(here, order, files={"scores": {f"gate={gate}/a.pq": parquet({"x": [1]})}})
        (found,) = publish_current(here, spec, **PLACE)
        assert found.problem == ""
        assert table(here)["gate"].to_pylist() == [gate]


NULLS = {
    "nulls": pa.nulls(1),
    "lists": pa.array([None], pa.list_(pa.null())),
    "fields": pa.array([None], pa.struct({"a": pa.null(), "b": pa.int64()})),
    "no rows": pa.nulls(0),
}


@pytest.mark.parametrize("column", NULLS.values(), ids=NULLS)
def test_a_column_of_nulls_waits_for_its_type(here, load_spec, column):
    """Left out of a new table, it comes in with the first night that has a value of it."""
    size = len(column)
    first = {"id": arrow([1] * size, "int64"), "x": column}
    assert nights(here, load_spec, first, evolution="add").problem == ""
    assert "x" not in table(here).column_names
    assert nights(here, load_spec, {"id": [2], "x": ["late"]}, evolution="add").problem == ""
    assert table(here)["x"].to_pylist() == ["late"]
    assert nights(here, load_spec, {"id": [3], "x": pa.nulls(1)}, evolution="add").problem == ""
    assert table(here)["x"].to_pylist() == [None]


def test_lists_of_nulls_are_no_nulls(here, load_spec):
    """They are values without a type: told, until a night has given the table one."""
    untyped = arrow([[None], []], pa.list_(pa.null()))
    found = nights(here, load_spec, untyped)
    assert "column `x` has only nulls inside its lists or fields" in found.problem
    assert nights(here, load_spec, [[1]], untyped).problem == ""
    assert table(here)["x"].to_pylist() == [[None], []]


def test_only_nulls_are_no_table(here, load_spec):
    """A table needs one column of a type."""
    found = nights(here, load_spec, pa.nulls(1))
    assert "has no column with a type: all are null" in found.problem


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_a_table_that_has_a_column_without_type_gets_it(here, load_spec, evolution):
    """Older releases made such tables: the first night with values gives the type, once."""
    old = {"id": [1], "x": pa.nulls(1), "y": arrow([[None]], pa.list_(pa.null()))}
    rows = pa.table({**old, "partition": ["2013-02-28"]})
    write_deltalake(here.address(TABLE), rows, partition_by=["partition"])
    assert nights(here, load_spec, old, evolution=evolution).problem == ""
    new = {"id": [2], "x": ["late"], "y": [[5]]}
    assert nights(here, load_spec, new, evolution=evolution).problem == ""
    found = table(here).sort_by("id").drop(["partition"]).to_pylist()
    assert found == [{"id": 1, "x": None, "y": [None]}, {"id": 2, "x": "late", "y": [5]}]
    assert nights(here, load_spec, {**new, "x": [7]}, evolution=evolution).state is State.FAILED


@pytest.mark.parametrize(
    ("column", "advice"),
    [
        (arrow([2**64 - 1], "uint64"), "make them smaller in the notebook, or write them as text"),
        (arrow([1], pa.timestamp("ns")), "round them to microseconds in the notebook"),
    ],
    ids=["number", "time"],
)
def test_what_does_not_fit_has_its_own_advice(here, load_spec, column, advice):
    """Numbers are not rounded to microseconds."""
    assert advice in nights(here, load_spec, column).problem


def same_name() -> pa.Table:
    """Make a table with two columns of one name."""
    return pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])


RENAMED = {
    "capitals": ({"a": [1], "A": [2]}, "columns `a` and `A` have one name for Delta"),
    "in fields": ({"s": [{"x": 1, "X": 2}]}, "columns `s.x` and `s.X` have one name for Delta"),
    "no name": ({"": [1], "b": [2]}, "a column has no name"),
    "many digits": (
        {"a": arrow([Decimal("1" * 50)], pa.decimal256(60, 2))},
        "column `a` has 60 digits, and Delta has 38",
    ),
}


@pytest.mark.parametrize(("columns", "problem"), RENAMED.values(), ids=RENAMED)
def test_what_would_get_another_name_or_value_is_not_published(here, load_spec, columns, problem):
    """The error names the columns; nothing is made of them."""
    found = nights(here, load_spec, columns)
    assert found.state is State.FAILED
    assert found.problem.startswith(f"output scores: {problem} -> ")
    assert list(here.list("data")) == []


def test_two_columns_of_one_name_are_not_published(here, load_spec):
    """Such files are written by pyarrow; DuckDB would number them."""
    file = io.BytesIO()
    pq.write_table(same_name(), file)
    commit_scores(here, 1, file.getvalue())
    (found,) = publish_current(here, spec_with(load_spec, "{path: s.pq, format: delta}"), **PLACE)
    assert "columns `a` and `a` have one name for Delta" in found.problem


def test_parts_must_agree_in_capitals(here, load_spec):
    """Of two files, one would lose its name; the same name in both is one column."""
    spec = spec_with(load_spec, "{path: s/, format: delta}")
    for order, second, problem in ((1, "x", ""), (2, "X", "columns `X` and `x` have one name")):
        files = {"a.pq": parquet({"x": [1]}), "b.pq": parquet({second: [2]})}
        add_version(here, order, files={"scores": files})
        (found,) = publish_current(here, spec, **PLACE)
        assert problem in found.problem
        assert (found.state is State.FAILED) == bool(problem)
