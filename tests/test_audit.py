"""Audits: every planted fault is caught, whatever is right passes, and each result says why."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from nightmill.audit.audit import blocking
from nightmill.errors import InterruptedRunError
from nightmill.spec.record import CheckResult
from tests.audited import CHECKS, DAY, FLIGHTS, make_auditor, night


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


def put(table: pa.Table, name: str, values) -> pa.Table:
    """Replace a column."""
    column = values if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return table.set_column(table.schema.get_field_index(name), name, column)


def states(results: tuple[CheckResult, ...]) -> dict[str, str]:
    """Map each check that did not pass to its state."""
    named = {f"{one.check} {one.column or ''}".strip(): one for one in results}
    return {name: one.state for name, one in named.items() if one.state != "passed"}


FIRST_NIGHT = {"distribution p_delay": "skipped", "distribution carrier": "skipped"}


def test_a_good_night_passes_every_check(auditor):
    """On the first night all checks pass but for those that need a history, and nothing blocks."""
    results = auditor.audit(night())
    assert len(results) == 14
    assert states(results) == FIRST_NIGHT
    assert blocking(results) == ""
    assert {result.observed for result in results if result.check == "rows"} == {
        "900 rows, not enough history (0 of 3)"
    }


def numbers(table: pa.Table, change) -> list:
    return [change(index, number) for index, number in enumerate(table["p_delay"].to_pylist())]


# name: how the table is spoilt, which checks fail, and words of the first one's message
PLANTED = {
    "empty output": (lambda t: t.slice(0, 0), {"rows", "freshness scheduled"}, "0 rows"),
    "too many rows": (lambda _: night(rows=1501), {"rows"}, "1,501 rows, expected 500 to 1500"),
    "null burst": (
        lambda t: put(t, "p_delay", numbers(t, lambda i, p: None if i < 300 else p)),
        {"not_null p_delay"},
        "300 of 900 rows null (33.3%), expected no nulls",
    ),
    "NaN burst": (
        lambda t: put(t, "p_delay", numbers(t, lambda i, p: float("nan") if i < 3 else p)),
        {"not_null p_delay", "between p_delay", "sql certain"},
        "3 of 900 rows null",
    ),
    "more nulls than may be": (
        lambda t: put(t, "late", [None] * 46 + [True] * 854),
        {"not_null late"},
        "46 of 900 rows null (5.1%), expected at most 0.05",
    ),
    "duplicate keys": (
        lambda t: put(t, "flight_id", t["flight_id"].take([0, *range(FLIGHTS - 1)])),
        {"unique flight_id", "unique day, flight_id"},
        f"2 rows share 1 key, for example `{DAY.toordinal()}0000`",
    ),
    "renamed column": (
        lambda t: t.rename_columns({"p_delay": "p_dealy"}),
        {"columns", "not_null p_delay", "between p_delay", "distribution p_delay", "sql certain"},
        "`p_delay` is missing, `p_dealy` is not declared",
    ),
    "extra column": (
        lambda t: t.append_column("x", t["late"]), {"columns"}, "`x` is not declared",
    ),
    "wrong type": (
        lambda t: put(t, "p_delay", [str(p) for p in t["p_delay"].to_pylist()]),
        {"columns", "between p_delay", "distribution p_delay", "sql certain"},
        "`p_delay` is VARCHAR, not float64",
    ),
    "narrower type": (
        lambda t: put(t, "flight_id", pa.array(range(FLIGHTS), pa.int32())),
        {"columns"},
        "`flight_id` is INTEGER, not int64",
    ),
    "scores above one": (
        lambda t: put(t, "p_delay", numbers(t, lambda _i, p: p * 100)),
        {"between p_delay", "sql certain"},
        "rows outside, 0.",
    ),
    "unknown value": (
        lambda t: put(t, "carrier", ["XX", "YY", *t["carrier"].to_pylist()[2:]]),
        {"accepted carrier"},
        "2 rows with another value, for example `XX`, `YY`",
    ),
    "future dates": (
        lambda t: put(t, "scheduled", [datetime(2013, 3, 2), *t["scheduled"].to_pylist()[1:]]),  # noqa: DTZ001
        {"freshness scheduled"},
        "1 row in the future of 2013-03-01, the newest is 2013-03-02 00:00:00",
    ),
    "stale dates": (
        lambda t: put(t, "scheduled", [datetime(2013, 2, 26, 23, 59)] * FLIGHTS),  # noqa: DTZ001
        {"freshness scheduled"},
        "the newest is 2013-02-26 23:59:00",
    ),
    "no dates": (
        lambda t: put(t, "scheduled", pa.array([None] * FLIGHTS, pa.timestamp("us"))),
        {"freshness scheduled"},
        "no date at all",
    ),
    "what the query looks for": (
        lambda t: put(t, "p_delay", numbers(t, lambda i, p: 0.9999 if i == 0 else p)),
        {"sql certain"},
        "1 row, the first: flight_id=",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "expected", "words"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_caught(auditor, spoil, expected, words):
    """Each fault fails the checks that are about it, no other, and blocks the commit."""
    results = auditor.audit(spoil(night()))
    bad = [result for result in results if result.state in ("failed", "error")]
    assert {f"{one.check} {one.column or ''}".strip() for one in bad} == expected
    assert words in bad[0].message
    assert bad[0].blocks
    assert bad[0].message in blocking(results)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "No magic bytes"),
        (lambda data: data[:-1], "No magic bytes"),
        (lambda _: b"", "too small"),
        (lambda _: b"flight_id,p_delay\n1,0.5\n", "No magic bytes"),
    ],
    ids=["half", "last byte", "empty file", "another format"],
)
def test_a_file_that_is_not_whole_is_a_failed_check(auditor, damage, words):
    """A truncated or foreign file is one finding that names it as the author does, no crash."""
    path = auditor.file(night())
    path.write_bytes(damage(path.read_bytes()))
    result = auditor.one(path, CHECKS)
    assert (result.check, result.state, result.severity) == ("readable", "failed", "error")
    assert words in result.message
    assert str(auditor.root) not in result.message


def with_corrupt_pages(path: Path) -> Path:
    """Overwrite all data of a Parquet file, and leave its footer as it was."""
    data = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            size = column.total_compressed_size
            start = column.dictionary_page_offset or column.data_page_offset
            data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def test_pages_that_are_corrupt_are_a_failed_check(auditor):
    """Bytes that were damaged inside a column fail the checks that read it."""
    path = with_corrupt_pages(auditor.file(night()))
    for check in ("not_null: [p_delay]", "unique: flight_id"):
        result = auditor.one(path, check)
        assert result.state == "failed"
        assert "the data cannot be read" in result.message


def test_statistics_are_used_where_they_suffice(auditor):
    """Rows, types, nulls, bounds and newest dates come from the footer: no page is read."""
    path = with_corrupt_pages(auditor.file(night()))
    checks = """{rows: "900", columns: {schema: {late: bool}, evolution: add},
      not_null: [flight_id, carrier], between: {day: [2013-01-01, 2013-12-31],
      flight_id: [0, null]}, freshness: {scheduled: 2d}}"""
    assert not states(auditor.audit(path, checks))


def test_a_query_sees_nan(auditor):
    """A query of the author finds NaN, of which Parquet's statistics know nothing."""
    table = pa.table(
        {"x": [0.5] * 1000 + [float("nan")], "f": pa.array([0.5] * 1001, pa.float32())}
    )
    assert auditor.one(table, "sql: SELECT * FROM output WHERE isnan(x)").state == "failed"
    largest = "sql: {query: SELECT isnan(max(x)) FROM output, expect: true}"
    assert auditor.one(table, largest).state == "passed"
    assert auditor.one(table, "columns: {x: float64, f: float32}").state == "passed"


def test_an_output_without_rows_passes_what_is_true_of_nothing(auditor):
    """Of no rows all are not null, unique and between; only a number of rows says otherwise."""
    checks = "{not_null: [p_delay], unique: flight_id, between: {p_delay: [0, 1]}}"
    assert not states(auditor.audit(night().slice(0, 0), checks))


# -- severity and the line -------------------------------------------------------------------------


def test_a_warning_blocks_nothing(auditor):
    """`severity: warn` leaves a failed result in the record and lets the commit be."""
    result = auditor.one(night(), "rows: {min: 1000, severity: warn}")
    assert (result.state, result.severity, result.blocks) == ("failed", "warn", False)
    assert blocking((result,)) == ""


def test_the_line_is_short_and_single(auditor):
    """The failure's message is one line: the number of checks, the first two, and no semicolon."""
    table = night().rename_columns({"carrier": "c;\n" + "x" * 90})
    checks = "not_null: [carrier, a, b]"
    line = blocking(auditor.audit(table, checks))
    assert line.startswith("3 checks failed: scores: not_null `carrier`: there is no column")
    assert line.endswith("(and 1 more)")
    assert "\n" not in line
    assert ";" not in line
    assert len(line) < 700


def test_a_missing_column_names_the_one_that_was_meant(auditor):
    """A check of a column that does not exist fails and says which one is near."""
    result = auditor.one(night(), "not_null: [p_dely]")
    assert result.state == "failed"
    assert "there is no column `p_dely`: did you mean `p_delay`?" in result.message


# -- the kinds of checks, each at its edges --------------------------------------------------------

EDGES = {
    # a column's values, the check, whether it passes
    "integers at both ends": ([1, 5], "between: {x: [1, 5]}", True),
    "one below": ([0, 5], "between: {x: [1, 5]}", False),
    "one above": ([1, 6], "between: {x: [1, 5]}", False),
    "open end": ([1, 10**12], "between: {x: [1, null]}", True),
    "nulls are not looked at": ([None, 3], "between: {x: [1, 5]}", True),
    "float bound of integers": ([1, 2], "between: {x: [0.5, 2.5]}", True),
    "infinity": ([0.5, float("inf")], "between: {x: [0, 1]}", False),
    "single precision": (pa.array([0.1, 0.2], pa.float32()), "between: {x: [0.1, 0.2]}", True),
    "decimals": (
        pa.array([1, 2], pa.decimal128(18, 3)), "between: {x: [1, 2]}", True,
    ),
    "days": ([date(2013, 1, 31)], "between: {x: [2013-01-01, 2013-01-31]}", True),
    "the day after": ([date(2013, 2, 1)], "between: {x: [2013-01-01, 2013-01-31]}", False),
    "instants of the last day": (
        [datetime(2013, 1, 31, 23, 59)], "between: {x: [2013-01-01, 2013-01-31]}", True,  # noqa: DTZ001
    ),
    "midnight after": (
        [datetime(2013, 2, 1)], "between: {x: [2013-01-01, 2013-01-31]}", False,  # noqa: DTZ001
    ),
    "instants with a zone": (
        [datetime(2013, 1, 31, 23, 59, tzinfo=UTC)], "between: {x: [null, 2013-01-31]}", True,
    ),
    "text between numbers": (["1", "2"], "between: {x: [0, 5]}", False),
    "accepted numbers": ([1, 2, 2], "accepted: {x: [1, 2, 3]}", True),
    "accepted truth": ([True, None], "accepted: {x: [true]}", True),
    "accepted number for text": (["1"], "accepted: {x: [1]}", False),
    "accepted categories": (
        pa.array(["a", "b"]).dictionary_encode(), "accepted: {x: [a, b]}", True,
    ),
    "case": (["aa"], "accepted: {x: [AA]}", False),
    "unique": ([1, 2, 3], "unique: x", True),
    "not unique": ([1, 2, 1], "unique: x", False),
    "two nulls are no double": ([1, None, None], "unique: x", True),
    "share of nulls reached": ([1] * 19 + [None], "not_null: {x: 5%}", True),
    "share of nulls passed": ([1] * 18 + [None], "not_null: {x: 5%}", False),
    "family of types": (pa.array([1], pa.uint8()), "columns: {x: int}", True),
    "number": ([1.5], "columns: {x: number}", True),
    "no integer": ([1.5], "columns: {x: int}", False),
    "list": ([[1, 2]], "columns: {x: list}", True),
    "struct": ([{"a": 1}], "columns: {x: struct}", True),
    "day": ([date(2013, 1, 1)], "columns: {x: date}", True),
    "zone": ([datetime(2013, 1, 1, tzinfo=UTC)], "columns: {x: timestamptz}", True),
    "no zone": ([datetime(2013, 1, 1)], "columns: {x: timestamptz}", False),  # noqa: DTZ001
    "evolution": ([1], "columns: {schema: {x: int}, evolution: add}", True),
    "fresh day": ([date(2013, 2, 27)], "freshness: {x: 2d}", True),
    "stale day": ([date(2013, 2, 26)], "freshness: {x: 2d}", False),
    "today": ([date(2013, 3, 1)], "freshness: {x: 2d}", True),
    "tomorrow": ([date(2013, 3, 2)], "freshness: {x: 2d}", False),
    "tomorrow is wanted": ([date(2013, 3, 2)], "freshness: {x: {within: 2d, ahead: 1d}}", True),
    "no date": (["2013-03-01"], "freshness: {x: 2d}", False),
    "sql counts": ([1, 2], "sql: {query: SELECT sum(x) FROM output, expect: 3}", True),
    "sql other": ([1, 2], "sql: {query: SELECT sum(x) FROM output, expect: 4}", False),
    "sql range": ([1, 2], "sql: {query: SELECT avg(x) FROM output, expect: '1..2'}", True),
    "sql outside": ([1, 2], "sql: {query: SELECT max(x) FROM output, expect: '>2'}", False),
    "sql text": ([1], "sql: {query: SELECT getvariable('as_of'), expect: '2013-03-01'}", True),
    "sql truth": ([1], "sql: {query: SELECT bool_and(x > 0) FROM output, expect: true}", True),
    "sql null": ([1], "sql: {query: SELECT NULL, expect: 0}", False),
    "sql comment": ([1], "sql: 'SELECT * FROM output WHERE x > 1 -- none'", True),
}  # fmt: skip


@pytest.mark.parametrize(("values", "check", "is_right"), EDGES.values(), ids=EDGES)
def test_edges(auditor, values, check, is_right):
    """A check passes up to its bound and fails behind it, for every type it is about."""
    result = auditor.one(pa.table({"x": values}), check)
    assert result.state == ("passed" if is_right else "failed"), result.message


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize(("low", "state"), [("2013-03-01", "passed"), ("2013-03-02", "failed")])
def test_the_last_day_there_is_is_a_bound_of_instants(auditor, zone, low, state):
    """A column that is valid until 9999-12-31, as many are, is judged like any other."""
    values = [datetime(2013, 3, 1, 12), datetime(9999, 12, 31, 23, 59, 59)]  # noqa: DTZ001 - both
    table = pa.table({"x": pa.array(values, pa.timestamp("us", zone))})
    assert auditor.one(table, f"between: {{x: [{low}, 9999-12-31]}}").state == state


def test_days_begin_in_the_pipelines_time_zone(auditor):
    """An instant that is tomorrow in UTC may be today where the pipeline lives."""
    table = pa.table({"x": [datetime(2013, 3, 2, 3, tzinfo=UTC)]})  # 22:00 of March 1st
    assert auditor.one(table, "freshness: {x: 2d}").state == "failed"
    result = auditor.one(table, "freshness: {x: 2d}", timezone="America/New_York")
    assert result.state == "passed"


def test_names_that_need_quotes(auditor):
    """Column names with quotes, spaces and keywords are columns like any other."""
    table = pa.table({'a "b"': [1], "select": [1], "flug's": [1]})
    checks = """{not_null: ['a "b"', select, "flug's"], unique: ['a "b"', "flug's"]}"""
    assert not states(auditor.audit(table, checks))


# -- queries of the author -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM output", "nope"),
        ("SELECT x::DATE FROM output", "invalid date"),
        ("SELECT 1; DROP VIEW output", "syntax error"),
        ("COPY output TO 'x.csv'", "syntax error"),
        ("SELECT * FROM read_csv('/etc/hostname')", "Cannot access file"),
        ("SELECT * FROM 'https://example.com/x.parquet'", "Cannot access file"),
        ("SELECT * FROM auditor", "does not exist"),
    ],
)
def test_a_query_that_is_wrong_or_reaches_elsewhere_is_an_error(auditor, query, words):
    """A query can read the output and nothing else; what it cannot answer blocks the commit."""
    result = auditor.one(pa.table({"x": ["a"]}), f'sql: "{query}"')
    assert result.state == "error"
    assert result.blocks
    assert words.casefold() in result.message.casefold()


def test_a_query_must_give_one_value_where_one_is_expected(auditor):
    """`expect` compares one value: other shapes are told apart from a wrong value."""
    result = auditor.one(pa.table({"x": [1, 2]}), "sql: {query: SELECT x FROM output, expect: 1}")
    assert result.state == "error"
    assert "several rows" in result.message


def test_many_rows_found_are_counted_up_to_a_thousand(auditor):
    """A query that finds everything is cut, and says so."""
    result = auditor.one(pa.table({"x": range(5000)}), "sql: SELECT * FROM output ORDER BY x")
    assert "over 1,000 rows, the first: x=0" in result.message


# -- formats ---------------------------------------------------------------------------------------

TEXT_CHECKS = """{rows: "900", not_null: [p_delay], between: {p_delay: [0, 1]}, unique: flight_id,
  columns: {flight_id: int, carrier: string, scheduled: timestamp, day: date, p_delay: float,
  late: bool}}"""


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "s.tsv", "s.parquet", "S.PQ"])
def test_formats(auditor, name):
    """Parquet and delimited text, compressed or not, are read with the same types."""
    path = auditor.file(night(), name)
    if "sv" in name:
        options = pyarrow.csv.WriteOptions(delimiter="\t" if "tsv" in name else ",")
        pyarrow.csv.write_csv(night(), path, options)
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    assert not states(auditor.audit(path, TEXT_CHECKS))


@pytest.mark.parametrize("name", ["s.jsonl", "s.ndjson", "s.json", "s.jsonl.gz"])
def test_json_lines(auditor, name):
    """JSON lines are read too; nested or plain, the types are those of all rows."""
    lines = b"".join(b'{"x": %d, "t": "a"}\n' % n for n in range(30_000)) + b'{"x": 0.5}\n'
    path = auditor.file(gzip.compress(lines) if name.endswith("gz") else lines, name)
    checks = '{rows: "30001", columns: {x: float64, t: string}, not_null: {t: 1%}}'
    assert not states(auditor.audit(path, checks))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'{"x": 1}\n{"x": ', "s.jsonl"),
        (b"\xff\xfe\x00x\n1\n", "s.csv"),
        (gzip.compress(b"x\n" + b"1\n" * 10_000)[:40], "s.csv.gz"),
        (b"x,y\n" + b"1,2\n" * 1000 + b'3,"', "s.csv"),
    ],
    ids=["cut line", "binary", "cut archive", "cut quote"],
)
def test_text_that_is_not_whole(auditor, content, name):
    """A cut or foreign text file fails one of its checks, whichever can tell."""
    results = auditor.audit(auditor.file(content, name), "{columns: {x: int, y: int}}")
    assert [result.state for result in results] == ["failed"]


def write_parts(auditor, parts: dict[str, pa.Table | bytes]):
    for name, content in parts.items():
        auditor.file(content, f"parts/{name}")
    return auditor.root / "outputs" / "scores" / "parts"


def test_a_folder_of_parts_is_one_table(auditor):
    """Parts below folders are read together; marks of writers, and names like patterns, are not."""
    table = night()
    folder = write_parts(
        auditor,
        {
            "a[1]*?.parquet": table.slice(0, 400),
            "deep/er/b.parquet": table.slice(400),
            "_SUCCESS": b"",
            "_delta/c.parquet": b"no Parquet",
            ".part.crc": b"x",
        },
    )
    checks = '{rows: "900", unique: flight_id, columns: {schema: {p_delay: float}, evolution: add}}'
    assert not states(auditor.audit(folder, checks))


def test_folders_that_name_a_value_are_a_column(auditor):
    """A folder `day=2013-03-01` is a column of its parts, as for every reader of such folders."""
    table = night().drop_columns(["carrier"])
    folder = write_parts(
        auditor,
        {
            "carrier=AA/x.parquet": table.slice(0, 500),
            "carrier=U*A/x.parquet": table.slice(500),
        },
    )
    checks = "{accepted: {carrier: [AA, U*A]}, not_null: [carrier]}"
    assert not states(auditor.audit(folder, checks))


def test_parts_that_differ(auditor):
    """Parts with other columns are no table; with other types, the check of columns says so."""
    table = night()
    folder = write_parts(
        auditor, {"a.parquet": table, "b.parquet": table.rename_columns({"late": "was_late"})}
    )
    result = auditor.one(folder, 'rows: ">0"')
    assert (result.check, result.state) == ("readable", "failed")
    assert "a.parquet has a column `late`, b.parquet has not" in result.message
    write_parts(auditor, {"b.parquet": put(table, "day", pc.cast(table["day"], pa.string()))})
    result = auditor.one(folder, "columns: {schema: {late: bool}, evolution: add}")
    assert "`day` is DATE in a.parquet and VARCHAR in b.parquet" in result.message


@pytest.mark.parametrize("parts", [{}, {"a.csv": b"x\n1\n"}], ids=["empty", "no Parquet"])
def test_a_folder_without_parquet(auditor, parts):
    """A folder that holds no Parquet is a finding that says what is read."""
    folder = write_parts(auditor, {"_SUCCESS": b"", **parts})
    result = auditor.one(folder, 'rows: ">0"')
    assert (result.check, result.state) == ("readable", "failed")
    assert "no Parquet file is in the folder" in result.message


def test_one_truncated_part_of_many(auditor):
    """A single bad part fails the output and is named."""
    folder = write_parts(auditor, {f"{n}.parquet": night().slice(n, 1) for n in range(5)})
    bad = folder / "3.parquet"
    bad.write_bytes(bad.read_bytes()[:-20])
    result = auditor.one(folder, 'rows: ">0"')
    assert result.state == "failed"
    assert re.search(r"\b3\.parquet", result.message)
    assert str(auditor.root) not in result.message


# -- bounds ----------------------------------------------------------------------------------------

ENDLESS = """sql: SELECT count(*) FROM range(10000000) a, range(10000000) b
  WHERE hash(a.range + b.range) = 1"""


def test_a_check_that_takes_too_long_is_an_error(auditor):
    """A query without an end is interrupted after its time; the next check runs all the same."""
    checks = f"{ENDLESS}\npandera: 'a:B'"
    slow, after = auditor.audit(night(), checks, timeout_s=0.5)
    assert (slow.state, slow.blocks) == ("error", True)
    assert "took longer than 0.5 s" in slow.message
    assert slow.duration_s < 30
    assert after.check == "pandera"


def test_a_stop_ends_the_audit(auditor):
    """When the step is asked to stop, the audit ends within moments as an error of that cause."""
    with pytest.raises(InterruptedRunError):
        auditor.audit(night(), ENDLESS, stopping=lambda: True)
    assert not list(auditor.context.scratch.iterdir())


def test_nothing_is_left_behind(auditor):
    """The scratch folder is as it was, also after text was converted and a file was bad."""
    auditor.audit(auditor.file(b"x\n1\n", "s.csv"), 'rows: ">0"')
    auditor.audit(auditor.file(b"", "s.parquet"), 'rows: ">0"')
    assert not list(auditor.context.scratch.iterdir())


def test_results_are_small(auditor):
    """Whatever the data holds, a result is bounded: names, values and lists are cut."""
    table = pa.table({"x" * 190: ["y\x1b[31m" * 5000] * 60, "z": [f"{n}" * 400 for n in range(60)]})
    checks = """{accepted: {z: [a], NAME: [a]}, distribution: {z: {psi: 0.2}},
      sql: SELECT * FROM output}""".replace("NAME", "x" * 190)
    results = auditor.audit(table, checks)
    assert max(len(result.model_dump_json()) for result in results) < 6000
    assert all(result.message.isprintable() for result in results)
    assert [result.state for result in results] == ["failed", "failed", "skipped", "failed"]


def test_the_same_data_gives_the_same_results(auditor):
    """Two audits of one file differ in nothing but their durations."""
    path = auditor.file(put(night(), "carrier", ["Z"] * FLIGHTS))
    first, second = (
        [result.model_copy(update={"duration_s": 0}) for result in auditor.audit(path)]
        for _ in range(2)
    )
    assert first == second
    assert timedelta(0) <= timedelta(seconds=first[0].duration_s)
