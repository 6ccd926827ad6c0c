"""Folders of Parquet files: each part is judged by its own values, whatever the others hold."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from tests.audited import make_auditor

INTEGERS = pa.table({"x": pa.array([2], pa.int64())})


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


def folder_of(auditor, parts: dict[str, pa.Table]):
    """Write parts below a folder."""
    for name, table in parts.items():
        auditor.file(table, f"parts/{name}")
    return auditor.root / "outputs" / "scores" / "parts"


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("between: {x: [0, 2]}", "1 row outside, 2 to 2.5"),
        ("accepted: {x: [2, 3]}", "for example `2.5`"),
        ("sql: SELECT * FROM output WHERE x <> floor(x)", "x=2.5"),
        ("unique: x", None),
        ("columns: {x: number}", "`x` is BIGINT in a.parquet and DOUBLE in b.parquet"),
    ],
)
def test_a_later_part_keeps_its_values(auditor, check, words):
    """A part of floats behind one of integers is not rounded to fit, for no check."""
    folder = folder_of(auditor, {"a.parquet": INTEGERS, "b.parquet": pa.table({"x": [2.5]})})
    result = auditor.one(folder, check)
    assert result.state == ("failed" if words else "passed"), result.message
    assert (words or "") in result.message


AGREEING = {
    # two columns that are read as one, and a check that sees both
    "wider integers": ([1], pa.array([2**40]), f"between: {{x: [1, {2**40}]}}"),
    "narrower integers": (pa.array([2**40]), pa.array([1], pa.int8()), "between: {x: [1, null]}"),
    "nulls first": (pa.nulls(1), ["a"], "columns: {x: string}"),
    "nulls last": ([1.5], pa.nulls(1), "columns: {x: float64}"),
    "days and instants": (
        [date(2013, 3, 1)], [datetime(2013, 3, 1, 5)], "freshness: {x: 1d}",  # noqa: DTZ001
    ),
    "units of instants": (
        pa.array([datetime(2013, 3, 1)], pa.timestamp("ms")),  # noqa: DTZ001
        pa.array([datetime(2013, 3, 1)], pa.timestamp("ns")),  # noqa: DTZ001
        "between: {x: [2013-03-01, 2013-03-01]}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other", "check"), AGREEING.values(), ids=AGREEING)
def test_parts_of_kindred_types_are_read_as_one(auditor, one, other, check):
    """Types that hold each other's values make one column, in either order."""
    tables = pa.table({"x": one}), pa.table({"x": other})
    for first, second in (tables, tables[::-1]):
        folder = folder_of(auditor, {"a.parquet": first, "b.parquet": second})
        assert auditor.one(folder, check).state == "passed"


DIFFERING = {
    "number and text": ([1], ["7"]),
    "truth and number": ([True], [1]),
    "day and text": ([date(2013, 3, 1)], ["2013-03-01"]),
    "with and without a zone": (
        [datetime(2013, 3, 1)], [datetime(2013, 3, 1, tzinfo=UTC)],  # noqa: DTZ001
    ),
    "text and bytes": (["a"], [b"a"]),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERING.values(), ids=DIFFERING)
@pytest.mark.parametrize("alike", [1, 3])
def test_parts_of_other_types_are_no_table(auditor, one, other, alike):
    """Where no reader would see one column, the finding names both types and parts."""
    parts = {f"{n}.parquet": pa.table({"x": one}) for n in range(alike)}
    folder = folder_of(auditor, {**parts, "z.parquet": pa.table({"x": other})})
    result = auditor.one(folder, "rows: '>0'")
    assert (result.check, result.state) == ("readable", "failed")
    assert "the parts differ: `x` is " in result.message
    assert "in 0.parquet and" in result.message
    assert "in z.parquet" in result.message


def test_the_third_kind_of_part_is_seen_too(auditor):
    """However many parts differ in types only, one that has other columns is found and named."""
    kinds = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
    parts = {f"{n}.parquet": pa.table({"x": pa.array([1], kind)}) for n, kind in enumerate(kinds)}
    more = pa.table({"x": [1], "y": [2]})
    result = auditor.one(folder_of(auditor, {**parts, "4.parquet": more}), "rows: '>0'")
    assert (result.check, result.state) == ("readable", "failed")
    assert "4.parquet has a column `y`, 0.parquet has not" in result.message


def test_what_is_nested_is_no_column(auditor):
    """Fields of structs are a part of their column's type; their names are no columns."""
    one = pa.table({"s": [{"x": 1}], "x": ["a"]})
    other = pa.table({"x": ["b"], "s": [{"x": 1}]})
    folder = folder_of(auditor, {"a.parquet": one, "b.parquet": other})
    assert auditor.one(folder, "columns: {s: struct, x: string}").state == "passed"
    folder_of(auditor, {"c.parquet": pa.table({"s": [{"x": 1.5}], "x": ["a"]})})
    result = auditor.one(folder, "columns: {s: struct, x: string}")
    assert result.state == "failed"
    assert "`s` is STRUCT(x BIGINT) in a.parquet and STRUCT(x DOUBLE) in c.parquet" in (
        result.message
    )


def test_nan_is_seen_in_any_part(auditor):
    """NaN behind a part of integers is found by a query, as in a single file."""
    nan = pa.table({"x": [float("nan")]})
    folder = folder_of(auditor, {"a.parquet": INTEGERS, "b.parquet": nan})
    assert auditor.one(folder, "not_null: [x]").state == "failed"
    assert auditor.one(folder, "sql: SELECT * FROM output WHERE isnan(x)").state == "failed"
