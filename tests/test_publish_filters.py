"""What readers find in a Delta table by a filter: no less than without one."""

from __future__ import annotations

import math
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from nightmill.publish.publish import publish_current, repair
from nightmill.publish.target import State
from nightmill.store.open import open_store
from tests.published import DELTA, PLACE, TABLE, commit_scores, parquet, spec_with
from tests.stored_versions import DAY

MONEY = Decimal("99999999999999.99")
LONG = Decimal("12345678901234567890.12")
ID = Decimal(2**63 + 12345)
INF, NAN = math.inf, math.nan

FILTERS = {
    "inf": (pa.array([0.5, INF]), "x = 0.5", 1),
    "inf in a range": (pa.array([0.5, INF]), "x < 1", 1),
    "-inf": (pa.array([0.5, -INF]), "x = 0.5", 1),
    "-inf in a range": (pa.array([0.5, -INF]), "x < 1", 2),
    "all of them": (pa.array([1.5, INF, -INF, NAN, None]), "x = 1.5", 1),
    "only inf": (pa.array([INF], pa.float32()), "x > 1", 1),
    "nan": (pa.array([NAN, 0.5]), "isnan(x)", 1),
    "money": (pa.array([MONEY], pa.decimal128(16, 2)), f"x = {MONEY}", 1),
    "money in a range": (pa.array([MONEY], pa.decimal128(16, 2)), "x > 99999999999999", 1),
    "a long decimal": (pa.array([LONG], pa.decimal128(38, 2)), f"x = {LONG}", 1),
    "an id": (pa.array([ID], pa.decimal128(20, 0)), f"x = {ID}", 1),
    "in a field": (pa.array([{"y": 0.5}, {"y": INF}]), "x.y = 0.5", 1),
    "a decimal in a field": (
        pa.array([{"y": MONEY}], pa.struct({"y": pa.decimal128(16, 2)})),
        f"x.y = {MONEY}",
        1,
    ),
    "a whole number": (pa.array([2**53 + 1, 1]), f"x = {2**53 + 1}", 1),
}


@pytest.fixture
def here(tmp_path):
    """Open a store in a directory: what a log says does not depend on where it is."""
    return open_store("store", base=tmp_path)


def count(store, condition: str) -> int:
    """Count the rows that DuckDB finds as docs/data.md shows."""
    with duckdb.connect() as connection:
        connection.register("t", DeltaTable(store.address(TABLE)).to_pyarrow_dataset())
        (found,) = connection.execute(f"SELECT count(*) FROM t WHERE {condition}").fetchone()  # noqa: S608 - ours
    return found


def log(store) -> str:
    """Read all that the table's log says."""
    texts = [store.read(one.key).data.decode() for one in store.list(f"{TABLE}/_delta_log")]
    return "".join(texts)


@pytest.mark.parametrize("evolution", ["none", "add"])
@pytest.mark.parametrize(("column", "condition", "expected"), FILTERS.values(), ids=FILTERS)
def test_a_filter_finds_every_row(here, load_spec, column, condition, expected, evolution):
    """Of floats and decimals, too, in a new table and in one that is overwritten."""
    spec = spec_with(load_spec, f"{{path: s.parquet, format: delta, evolution: {evolution}}}")
    for order in (1, 2):
        commit_scores(here, order, parquet({"x": column}))
        (found,) = publish_current(here, spec, **PLACE)
        assert (found.problem, count(here, condition)) == ("", expected)


def test_the_log_says_nothing_of_values(here, load_spec):
    """So readers that take its word lose nothing; how many rows there are stays."""
    commit_scores(here, 1, parquet({"x": [0.5, INF], "y": [7, 8]}))
    publish_current(here, load_spec(DELTA), **PLACE)
    assert '\\"minValues\\":{},\\"maxValues\\":{}' in log(here)
    assert '\\"numRecords\\":2' in log(here)


def of_before(store) -> None:
    """Make the table as it was made once, with another day and this one."""
    for day in ("2013-02-28", DAY):
        rows = pa.table({"x": [0.5, INF], "partition": [day] * 2})
        mode = {"mode": "append"} if day == DAY else {"partition_by": ["partition"]}
        write_deltalake(store.address(TABLE), rows, **mode)


def test_the_next_publish_mends_an_older_table(here, load_spec):
    """For all of its days: what its log says of values counts no more."""
    of_before(here)
    assert count(here, "x = 0.5") == 0
    commit_scores(here, 1, parquet({"x": [0.5, INF]}))
    (found,) = publish_current(here, load_spec(DELTA), **PLACE)
    assert (found.problem, count(here, "x = 0.5"), count(here, "true")) == ("", 2, 4)


def test_repair_mends_an_older_table(here, load_spec):
    """Also where nothing is to be published: once, and a dry run tells of it."""
    spec = load_spec(DELTA)
    commit_scores(here, 1, parquet({"x": [0.5, INF]}))
    publish_current(here, spec, **PLACE)
    table = DeltaTable(here.address(TABLE))
    table.alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "32"})
    write_deltalake(table, pa.table({"x": [0.5, INF], "partition": ["b"] * 2}), mode="append")
    assert count(here, "x = 0.5") == 0
    assert [one.state for one in repair(here, spec, dry_run=True)] == [State.BEHIND]
    assert [one.state for one in repair(here, spec)] == [State.PUBLISHED]
    assert [one.state for one in repair(here, spec)] == [State.CURRENT]
    assert (count(here, "x = 0.5"), count(here, "true")) == (2, 4)
