"""What the schema that Arrow adds to a Parquet file tells of durations."""

from __future__ import annotations

import base64

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.spec import arrow_schema
from nightmill.spec.arrow_schema import ArrowColumn, columns_of

UNITS = ("s", "ms", "us", "ns")


def schema_of(**columns) -> bytes:
    """Return the schema that Arrow adds to a file with such columns."""
    return base64.b64encode(pa.schema(list(columns.items())).serialize().to_pybytes())


@pytest.mark.parametrize("unit", UNITS)
def test_units(unit):
    """A duration has its unit, wherever it stands among other columns."""
    found = columns_of(schema_of(id=pa.int64(), late=pa.duration(unit), text=pa.string()))
    assert found == [
        ArrowColumn("id", "", has_durations=False),
        ArrowColumn("late", unit, has_durations=True),
        ArrowColumn("text", "", has_durations=False),
    ]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.duration("s")),
        pa.struct({"a": pa.int64(), "b": pa.list_(pa.duration("us"))}),
        pa.map_(pa.string(), pa.duration("ms")),
    ],
)
def test_durations_inside(kind):
    """Durations inside of lists, structs and maps are found, and are not the column's own."""
    assert columns_of(schema_of(a=kind)) == [ArrowColumn("a", "", has_durations=True)]


def test_nothing_to_tell():
    """A schema without columns, and what is none, tell of none."""
    for schema in (schema_of(), b"", b"????", base64.b64encode(b"x" * 40), b"\xff" * 9):
        assert columns_of(schema) == []


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=80), st.integers(0, 500), st.integers(0, 8))
def test_a_schema_of_a_stranger(junk, place, cut):
    """Whatever stands there instead of a schema ends as one without columns, or with some."""
    kinds = {"a": pa.duration("s"), "b": pa.struct({"c": pa.duration("ns")}), "d": pa.string()}
    whole = base64.b64decode(schema_of(**kinds))
    changed = whole[:place] + junk + whole[place + cut :]
    for data in (changed, base64.b64encode(changed)):
        assert all(column.unit in ("", *UNITS) for column in columns_of(data))


def test_a_schema_of_very_many_fields(monkeypatch):
    """A schema of more fields than are looked at tells of none: it may be made to have no end."""
    schema = schema_of(a=pa.struct({"b": pa.int8(), "c": pa.int8()}), d=pa.duration("s"))
    monkeypatch.setattr(arrow_schema, "_MOST_FIELDS", 4)
    assert len(columns_of(schema)) == 2
    monkeypatch.setattr(arrow_schema, "_MOST_FIELDS", 3)
    assert columns_of(schema) == []
