"""Types: whatever Parquet can hold is known, and values are compared in their column's own type."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from nightmill.spec.check_values import NO_TYPE, TYPES, kind_of_type, plain_type
from tests.audited import DAY, make_auditor

NOON = datetime(2013, 3, 1, 12)  # noqa: DTZ001 - instants without a zone are a type of their own
ZONED = NOON.replace(tzinfo=UTC)


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


INSTANTS = {
    f"{unit} {zone or 'without a zone'}": pa.array(
        [ZONED if zone else NOON], pa.timestamp(unit, zone)
    )
    for unit in ("s", "ms", "us", "ns")
    for zone in (None, "UTC", "America/New_York")
}


@pytest.mark.parametrize("values", INSTANTS.values(), ids=INSTANTS)
def test_instants_of_every_unit(auditor, values):
    """An instant is one in every unit, with a zone and without: all checks of dates know it."""
    name = "timestamptz" if values.type.tz else "timestamp"
    checks = f"""{{columns: {{x: {name}}}, freshness: {{x: 1d}},
      accepted: {{x: [2013-03-01T12:00:00]}}, between: {{x: [2013-03-01, 2013-03-01]}}}}"""
    results = auditor.audit(pa.table({"x": values}), checks)
    assert {result.state for result in results} == {"passed"}, results
    assert (
        auditor.one(pa.table({"x": values}), "between: {x: [2013-03-02, null]}").state == "failed"
    )
    assert (
        auditor.one(pa.table({"x": values}), "between: {x: [2013-03-01T12:00:00Z, null]}").state
        == "passed"
    )


NAMED = {
    "int": pa.array([1], pa.int8()),
    "uint64": pa.array([2**64 - 1], pa.uint64()),
    "float": pa.array([1.5], pa.float16()),
    "decimal": [Decimal("1.50")],
    "time": pa.array([time(1, 2, 3)], pa.time64("ns")),
    "list": pa.array([[1.5, 2.5]], pa.list_(pa.float32(), 2)),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "string": pa.array(["a"], pa.large_string()),
    "binary": pa.array([b"ab"], pa.binary(2)),
    "struct": [{"a": [1]}],
    "bool": [True],
    "date": [date(2013, 3, 1)],
}


@pytest.mark.parametrize(("name", "values"), NAMED.items(), ids=NAMED)
def test_every_type_has_a_name(auditor, name, values):
    """What Arrow writes can be declared, and another type's name is refused."""
    table = pa.table({"x": values})
    assert auditor.one(table, f"columns: {{x: {name}}}").state == "passed"
    other = "bool" if name != "bool" else "date"
    assert auditor.one(table, f"columns: {{x: {other}}}").state == "failed"


def test_types_of_duckdb(auditor):
    """What DuckDB itself writes is known too: UUIDs, intervals, JSON, times with a zone."""
    path = auditor.file(b"", "d.parquet")
    duckdb.execute(
        "COPY (SELECT uuid() u, INTERVAL 1 DAY i, '{}'::JSON j, TIMETZ '01:02:03+00' t,"
        f" 'a'::ENUM('a') e, TIMESTAMP_S '2013-03-01' s) TO '{path}' (FORMAT parquet)"
    )
    checks = """{columns: {u: uuid, i: interval, j: json, t: time, e: string, s: timestamp},
      not_null: [u, i, j], accepted: {e: [a]}, unique: u}"""
    results = auditor.audit(path, checks)
    assert {result.state for result in results} == {"passed"}, results
    assert auditor.one(path, "columns: {schema: {u: string}, evolution: add}").state == "passed"
    assert "for example" in auditor.one(path, "accepted: {u: [a]}").message


def test_no_type_of_numbers_dates_or_text_is_forgotten():
    """Of all types that DuckDB has, those that no check can compare are listed here."""
    found = {row[0] for row in duckdb.execute("SELECT logical_type FROM duckdb_types()").fetchall()}
    not_in_parquet = {"BIGNUM", "BIT", "GEOMETRY", "TUPLE", "TYPE", "UNION", "VARIANT", "ARRAY"}
    known = {kind for kinds in TYPES.values() for kind in kinds}
    assert found - known - not_in_parquet == {"NULL"}
    without_order = {
        "BLOB", "INTERVAL", "LIST", "MAP", "STRUCT", "JSON", "TIME", "TIME_NS",
        "TIME WITH TIME ZONE",
    }  # fmt: skip
    assert {kind for kind in known if kind_of_type(kind) is None} == without_order
    assert plain_type("FLOAT[3]") == "LIST"
    assert kind_of_type(NO_TYPE) is None


# -- values in the column's own type ---------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0.1, 0.7], pa.float16()),
        pa.array([0.1, 0.7], pa.float32()),
        pa.array([0.1, 0.7], pa.float64()),
        pa.array([Decimal("0.10"), Decimal("0.70")], pa.decimal128(10, 2)),
    ],
    ids=["float16", "float32", "float64", "decimal"],
)
def test_the_same_values_are_accepted_and_between(auditor, values):
    """0.1 is accepted where a column holds it as well as it can."""
    table = pa.table({"x": values})
    assert auditor.one(table, "accepted: {x: [0.1, 0.7]}").state == "passed"
    assert auditor.one(table, "between: {x: [0.1, 0.7]}").state == "passed"
    assert auditor.one(table, "accepted: {x: [0.1, 0.71]}").state == "failed"
    assert auditor.one(table, "between: {x: [0.11, 0.7]}").state == "failed"


def test_what_half_precision_cannot_hold_is_outside(auditor):
    """A bound is rounded to what such a column can hold, and not by a bit more."""
    below = pa.array([0.0999], pa.float16())  # the next one below 0.1
    nested = pa.array([{"x": 0.1}], pa.struct([("x", pa.float16())]))
    table = pa.table({"s": nested, "x": below})
    assert auditor.one(table, "between: {x: [0.1, 1]}").state == "failed"
    assert auditor.one(table, "between: {x: [0.0999, 70000]}").state == "passed"
    single = pa.table({"s": nested, "x": pa.array([0.09998], pa.float32())})
    assert auditor.one(single, "between: {x: [0.1, 1]}").state == "failed"


# -- columns without values, and names with spaces -------------------------------------------------


def test_a_column_of_nothing_but_nulls_is_of_any_type(auditor):
    """A column of None has no type in Parquet: what is declared of its type is not wrong of it."""
    table = pa.table({"x": pa.nulls(60)})
    for name in ("string", "float64", "timestamp", "list"):
        assert auditor.one(table, f"columns: {{x: {name}}}").state == "passed"
    for check in ("between: {x: [0, 1]}", "between: {x: [2013-01-01, null]}", "accepted: {x: [a]}"):
        assert auditor.one(table, check).state == "passed"
    assert "60 of 60 rows null" in auditor.one(table, "not_null: [x]").message
    assert "no date at all" in auditor.one(table, "freshness: {x: 1d}").message
    spread = auditor.one(table, "distribution: {x: {psi: 0.2}}")
    assert (spread.state, "nothing but nulls" in spread.message) == ("failed", True)
    few = auditor.one(table.slice(0, 5), "distribution: {x: {psi: 0.2}}")
    assert (few.state, "too few rows" in few.message) == ("skipped", True)


@pytest.mark.parametrize(
    "name", ["two  spaces", " a", "tab\tbed", "line\nbreak", "é\u200b", "x" * 200]
)
def test_a_name_that_is_shown_otherwise_finds_its_history(auditor, name):
    """History is found by the column's real name, which a line of text cannot always show."""
    checks = json.dumps({"distribution": {name: {"against": 2, "psi": 0.2}}})
    table = pa.table({name: [1.0] * 100, " ".join(name.split()) + "!": [2.0] * 100})
    for back in (2, 1):
        day = DAY - timedelta(days=back)
        auditor.commit(day, auditor.on(day).audit(table, checks))
    result = auditor.one(table, checks)
    assert (result.state, "the last 2 partitions" in result.message) == ("passed", True)


def test_names_that_are_shown_alike_have_histories_of_their_own(auditor):
    """Two columns whose names differ in spaces only are not compared with each other."""
    checks = "distribution: {'a b': {against: 1, psi: 0.2}, 'a  b': {against: 1, psi: 0.2}}"
    for swapped in (False, True):
        table = pa.table({"a b": [1.0 + swapped] * 100, "a  b": [2.0 - swapped] * 100})
        day = DAY - timedelta(days=1)
        results = (auditor if swapped else auditor.on(day)).audit(table, checks)
        if not swapped:
            auditor.commit(day, results)
    assert [result.state for result in results] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (
            [True] * 100,
            [1] * 100,
            "what was text or bool is numbers now, not enough history (0 of 1)",
        ),
        (["1"] * 100, [1] * 100, "what was text or bool is numbers now"),
        ([1] * 100, ["1"] * 100, "what was numbers is text or bool now"),
    ],
)
def test_a_distribution_says_that_the_kind_changed(auditor, before, now, words):
    """Numbers are not compared with text: a column that changed starts anew, and says why."""
    check = "distribution: {x: {against: 1, psi: 0.2}}"
    day = DAY - timedelta(days=1)
    auditor.commit(day, auditor.on(day).audit(pa.table({"x": before}), check))
    result = auditor.one(pa.table({"x": now}), check)
    assert (result.state, words in result.message) == ("skipped", True), result.message
