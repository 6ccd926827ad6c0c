"""Two tables compared: what is equal, what differs, in which columns and rows, and by how much."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import count

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from nightmill.replay.rows import TableDifference
from nightmill.replay.tables import UnreadableTableError, compare_tables, is_table

EQUAL = TableDifference()
REORDERED = TableDifference(is_reordered=True)
SCORES = pa.table(
    {
        "flight": pa.array(range(100), pa.int64()),
        "p": [number / 100 for number in range(100)],
        "carrier": ["AA", "DL"] * 50,
    }
)


@pytest.fixture
def put(tmp_path):
    """Write a table as a file, or as a folder of named parts; return its path."""
    numbers = count()

    def write(table, name="scores.parquet"):
        path = tmp_path / f"output{next(numbers)}" / name
        parts = table if isinstance(table, dict) else {"": table}
        for part, content in parts.items():
            file = path / part if part else path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            elif file.suffix == ".csv":
                pyarrow.csv.write_csv(content, file)
            else:
                pq.write_table(content, file)
        return path

    return write


@pytest.fixture
def differ(put, tmp_path):
    """Compare two tables, given as `put` takes them or as paths."""
    numbers = count()

    def compare(then, now, *, keys=(), name="scores.parquet"):
        work = tmp_path / f"work{next(numbers)}"
        work.mkdir()
        return compare_tables(put(then, name), put(now, name), work, keys=keys)

    return compare


def changed(column, **values):
    """Return the scores with other values in some rows of a column, as r3=0.5."""
    cells = SCORES[column].to_pylist()
    for row, value in values.items():
        cells[int(row[1:])] = value
    place = SCORES.column_names.index(column)
    return SCORES.set_column(place, column, pa.array(cells, SCORES.schema.field(column).type))


REVERSED = SCORES.take(list(reversed(range(100))))


@pytest.mark.parametrize("keys", [[], [["flight"]]])
def test_the_same_rows_are_equal(differ, keys):
    """Equal tables have no difference, and neither have those in another order: it is told."""
    assert differ(SCORES, SCORES, keys=keys) == EQUAL
    assert differ(SCORES, REVERSED, keys=keys) == REORDERED


def test_other_compression_and_row_groups_are_the_same_table(put, tmp_path):
    """How a file stores its rows is no difference."""
    path = put(SCORES)
    other = tmp_path / "other.parquet"
    pq.write_table(SCORES, other, compression="zstd", row_group_size=7)
    (tmp_path / "work").mkdir()
    assert compare_tables(path, other, tmp_path / "work") == EQUAL


def test_a_difference_names_column_size_and_rows(differ):
    """Rows are counted from 1; the largest difference is that of the numbers, here 0.25."""
    found = differ(SCORES, changed("p", r7=0.1, r40=0.65))
    assert found.summary == "1 of 3 columns differ in 2 rows"
    assert found.details == (
        "p: 2 rows, by 0.25 at most",
        "row 8: p 0.07 -> 0.1",
        "row 41: p 0.4 -> 0.65",
    )


def test_rows_are_matched_by_their_key(differ):
    """With a unique key, order does not count, and rows that are gone or new are named."""
    now = changed("carrier", r5="UA").slice(2).take(list(reversed(range(98))))
    now = pa.concat_tables([now, pa.table({"flight": [500], "p": [0.5], "carrier": ["AA"]})])
    found = differ(SCORES, now, keys=[["flight"]])
    assert found.summary == "2 rows gone, 1 row new, 1 of 3 columns differ in 1 row"
    assert found.details == (
        *("gone: flight=0", "gone: flight=1", "new: flight=500"),
        *("carrier: 1 row", "flight=5: carrier DL -> UA"),
    )


def test_a_key_may_have_a_null(differ):
    """A row whose key is null is matched by it like any other."""
    then = pa.table({"id": [1, None, 3], "p": [0.1, 0.2, 0.3]})
    now = pa.table({"id": [3, None, 1], "p": [0.3, 0.4, 0.1]})
    found = differ(then, now, keys=[["id"]])
    assert found.summary == "1 of 2 columns differ in 1 row"
    assert found.details[1] == "id=null: p 0.2 -> 0.4"


@pytest.mark.parametrize("keys", [[["carrier"]], [["nowhere"]], [["carrier"], ["flight", "p"]]])
def test_a_key_that_is_not_unique_matches_nothing(differ, keys):
    """Rows are matched by a key that is one on both sides, or else by their place."""
    found = differ(SCORES, changed("carrier", r5="UA"), keys=keys)
    assert found.summary == "1 of 3 columns differ in 1 row"
    name = "flight=5, p=0.05" if len(keys) > 1 else "row 6"
    assert found.details[1] == f"{name}: carrier DL -> UA"


def test_without_a_key_missing_rows_are_shown(differ):
    """Where rows cannot be matched, those that one side alone has are shown."""
    found = differ(SCORES, SCORES.slice(0, 98))
    assert found.summary == "100 -> 98 rows"
    assert found.details == (
        "gone: flight 98, p 0.98, carrier AA",
        "gone: flight 99, p 0.99, carrier DL",
    )


def test_how_often_a_row_is_there_counts(differ):
    """The same rows, but one of them once more instead of another, are no equal tables."""
    found = differ(pa.table({"a": [1, 1, 2]}), pa.table({"a": [1, 2, 2]}))
    assert found.details == ("a: 1 row, by 1 at most", "row 2: a 1 -> 2")


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (SCORES.drop_columns("p"), "column p (DOUBLE) is gone"),
        (SCORES.append_column("q", [[1] * 100]), "column q (BIGINT) is new"),
        (SCORES.set_column(1, "p", [[1] * 100]), "column p: DOUBLE -> BIGINT"),
        (SCORES.select(["p", "flight", "carrier"]), "columns in another order: p, flight, carrier"),
    ],
)
def test_another_schema_is_told_first(differ, now, line):
    """Columns that are gone, new, of another type or in another order are named."""
    assert differ(SCORES, now) == TableDifference("another schema", (line,))


def test_a_long_story_is_cut(differ):
    """Of many columns and rows only the first are told, and how many more there are."""
    wide = pa.table({f"c{number}": [0] * 50 for number in range(30)})
    other = pa.table({f"c{number}": [number + 1] * 50 for number in range(30)})
    found = differ(wide, other)
    assert found.summary == "30 of 30 columns differ in 50 rows"
    assert "and 18 more" in found.details
    assert [line.split(":")[0] for line in found.details[-5:]] == [f"row {n}" for n in range(1, 6)]
    assert all(len(line) < 120 for line in found.details)
    schema = differ(wide, SCORES)
    assert len(schema.details) == 13
    assert schema.details[-1] == "and 21 more"


@pytest.mark.parametrize(
    ("kind", "then", "now", "told"),
    [
        (pa.float64(), float("nan"), float("nan"), None),
        (pa.float64(), None, None, None),
        (pa.float64(), None, float("nan"), "null -> nan"),
        (pa.float64(), 1.0, float("inf"), "1.0 -> inf"),
        (pa.uint64(), 2**64 - 1, 0, "18446744073709551615 -> 0"),
        (pa.decimal128(20, 2), 1, 2, "1.00 -> 2.00"),
        (pa.date32(), date(2013, 3, 1), date(2013, 3, 2), "2013-03-01 -> 2013-03-02"),
        (
            pa.timestamp("us", "UTC"),
            datetime(2013, 3, 1, tzinfo=UTC),
            datetime(2013, 3, 2, tzinfo=UTC),
            "2013-03-01 00:00:00+00 -> 2013-03-02 00:00:00+00",
        ),
        (pa.list_(pa.int64()), [1, 2], [1, 3], "[1, 2] -> [1, 3]"),
        (pa.struct({"a": pa.int64()}), {"a": 1}, {"a": 1}, None),
        (pa.string(), "x" * 80, "y", f"{'x' * 60}... -> y"),
        (pa.binary(), b"\x00", b"\x00", None),
    ],
)
def test_every_type_is_compared(differ, kind, then, now, told):
    """NaN is equal to NaN and null to null, and a type that has no distance has none told."""
    name = "od\"d, ?*'name"
    past, present = (pa.table({name: pa.array([one], kind)}) for one in (then, now))
    found = differ(past, present)
    if told is None:
        assert found == EQUAL
    else:
        assert found.details[-1] == f"row 1: {name} {told}"


def test_what_is_no_number_does_not_hide_what_is(differ):
    """The largest difference is that of finite numbers, beside others that turned into NaN."""
    nan = float("nan")
    found = differ(pa.table({"p": [1.0, 2.0, nan]}), pa.table({"p": [1.5, nan, nan]}))
    assert found.details[0] == "p: 2 rows, by 0.5 at most"


def test_folders_are_one_table_whatever_their_files_are_called(differ):
    """Parts have random names in many libraries; folders that are columns count, others do not."""
    half, rest = SCORES.slice(0, 50), SCORES.slice(50)
    then = {"part-1.parquet": half, "part-2.parquet": rest, "_SUCCESS": b"", ".a.crc": b"1"}
    now = {"c-77.parquet": rest, "d*[x]-78.parquet": half, ".a.crc": b"2"}
    assert differ(then, now, name="scores") == REORDERED
    by_day = {"day=2013-03-01/a.parquet": half, "day=2013-03-02/b.parquet": rest}
    moved = {"day=2013-03-01/a.parquet": half, "day=2013-03-03/b.parquet": rest}
    found = differ(by_day, moved, name="scores")
    assert found.details[:2] == ("day: 50 rows", "row 51: day 2013-03-02 -> 2013-03-03")


def test_text_is_compared_as_a_table(differ):
    """Delimited text and JSON lines are read with their types, compressed or not."""
    found = differ(SCORES, changed("p", r7=0.1), name="scores.csv")
    assert found.details == ("p: 1 row, by 0.03 at most", "row 8: p 0.07 -> 0.1")
    lines = (b'{"a": 1}\n{"a": 2}\n', b'{"a": 1}\n{"a": 5}\n')
    found = differ(*lines, name="scores.v2.jsonl")
    assert found.details == ("a: 1 row, by 3 at most", "row 2: a 2 -> 5")


@pytest.mark.parametrize(
    ("then", "now", "detail"),
    [
        (b"id,p\n#7,1\n8,2\n", b"id,p\n#7,99\n8,2\n", "row 1: p 1 -> 99"),
        (b"id,p\n#7,1\n8,2\n", b"id,p\n8,2\n", "column id: VARCHAR -> BIGINT"),
        (b'id,p\n7,""\n8,a\n', b"id,p\n7,\n8,a\n", "row 1: p  -> null"),
        (b"id\n007\n", b"id\n7\n", "column id: VARCHAR -> BIGINT"),
        (b"id\n007\n070\n", b"id\n007\n70\n", "row 2: id 070 -> 70"),
        (
            b"id\n9007199254740993.0\n",
            b"id\n9007199254740992.0\n",
            "row 1: id 9007199254740993.0 -> 9007199254740992.0",
        ),
        (b"day\n2013-01-01\n", b"day\n2013/01/01\n", "column day: DATE -> VARCHAR"),
        (b"k;v\n1;2\n", b"k;v\n1;3\n", "row 1: k;v 1;2 -> 1;3"),
        (b"id,p\n1,2\n", b"id, p\n1,2\n", "column p (BIGINT) is gone"),
    ],
)
def test_text_that_says_something_else_is_never_equal(differ, then, now, detail):
    """No sniffing of comments, delimiters and types makes different values of a CSV equal."""
    found = differ(then, now, name="t.csv")
    assert found.summary
    assert detail in found.details


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (b"x\nid,p\n7,1\n8,2\n", b"y\nid,p\n7,1\n8,2\n"),  # a preamble
        (b"id,p\n7,1\n8,2\n9\n", b"id,p\n7,1\n8,2\n9\n\n"),
        (b"\nid,p\n7,1\n", b"\n\nid,p\n7,1\n"),
        (b"", b"\n"),  # no header, which DuckDB would make up
    ],
)
def test_text_that_is_no_csv_is_no_table(differ, then, now):
    """What RFC 4180 has no rows for is left to the comparison of bytes, which differ."""
    with pytest.raises(UnreadableTableError):
        differ(then, now, name="t.csv")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_text_may_be_quoted_and_ended_otherwise(differ, line_end):
    """Quotes around a value, the ends of lines and the order of rows change no row."""
    now = line_end.join([b'"id","p"', b'"7",1', b"8,2", b""])
    assert differ(b"id,p\n7,1\n8,2\n", now, name="t.csv") == EQUAL
    assert differ(b"id,p\n8,2\n7,1\n", now, name="t.csv") == REORDERED


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (b'{"a":9007199254740993.5}\n', b'{"a":9007199254740994.0}\n'),
        (b'{"day":"2013-01-01"}\n', b'{"day":"2013-1-1"}\n'),
        (b'{"a":[1.0]}\n', b'{"a":[1]}\n'),
    ],
)
def test_json_that_is_written_otherwise_is_not_called_equal(differ, then, now):
    """Values that only a type makes equal are shown as they are written."""
    assert differ(then, now, name="t.jsonl").summary
    more = b'{"a": 1}\n'
    assert differ(more + more, more + more, name="t.jsonl") == EQUAL
    assert differ(b'{"a": 1}\n{"a": 2}', b'{"a": 2}\n{"a": 1}', name="t.jsonl") == REORDERED


def test_a_file_that_is_no_table_is_told_apart(differ):
    """A name that promises a table and a content that is none is an error of its own."""
    with pytest.raises(UnreadableTableError):
        differ(SCORES, b"PAR1 not really PAR1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.parquet", True),
        ("a.PQ", True),
        ("a.csv.gz", True),
        ("a.jsonl.zst", True),
        ("a.parquet.gz", False),
        ("a.ubj", False),
        ("model", False),
    ],
)
def test_a_table_is_known_by_its_name(tmp_path, name, expected):
    """What DuckDB can read as a table is compared as one."""
    assert is_table(tmp_path / name) is expected
    (tmp_path / "folder" / name).mkdir(parents=True)
    assert not is_table(tmp_path / "folder")
