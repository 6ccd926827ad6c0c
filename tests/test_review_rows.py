"""The first rows of a table, and the look into a stored file: what is shown, and what cannot be."""

import gzip
import json
import threading
import zlib

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightmill.review import rows
from nightmill.review.preview import preview
from nightmill.review.rows import UnreadableRowsError, first_rows, is_table
from nightmill.store.open import open_store
from nightmill.store.versions import Version
from tests.reviewed_nights import Night, add
from tests.test_spec_arrow_schema import schema_of

PLAIN = "SELECT i AS n, 'row ' || i AS text FROM range(30) t(i)"


def parquet(path, query=PLAIN):
    """Write the rows of a query as Parquet."""
    target = path / "made.parquet"
    duckdb.sql(f"COPY ({query}) TO '{target}' (FORMAT parquet)")
    return target


def written(path, data):
    """Write a file."""
    target = path / "file"
    target.write_bytes(data)
    return target


def test_parquet(tmp_path):
    """Names, types and the first 20 of all rows, whose number the file tells."""
    found = first_rows(parquet(tmp_path), "scores.parquet")
    assert [(one.name, one.type) for one in found.columns] == [("n", "BIGINT"), ("text", "VARCHAR")]
    assert found.count == 30
    assert found.rows == tuple((str(n), f"row {n}") for n in range(20))


@pytest.mark.parametrize(
    ("expression", "type_", "value"),
    [
        ("NULL::INTEGER", "INTEGER", None),
        ("'x' || repeat('y', 500)", "VARCHAR", "x" + "y" * 196 + "..."),
        ("'<b>&'", "VARCHAR", "<b>&"),
        ("repeat('z', 200)", "VARCHAR", "z" * 200),
        ("'abc'::BLOB", "BLOB", "3 bytes"),
        ("'nan'::DOUBLE", "DOUBLE", "nan"),
        ("[1, 2]", "INTEGER[]", "[1, 2]"),
        ("{'a': 1}", "STRUCT(a INTEGER)", "{'a': 1}"),
        ("TIMESTAMP '2013-03-01 02:30:00'", "TIMESTAMP", "2013-03-01 02:30:00"),
        (
            "TIMESTAMPTZ '2013-03-01 02:30:00+00'",
            "TIMESTAMP WITH TIME ZONE",
            "2013-02-28 21:30:00-05",
        ),
    ],
)
def test_values(tmp_path, expression, type_, value):
    """Values are text that is cut, bytes are counted, times are in the pipeline's zone."""
    file = parquet(tmp_path, f"SELECT {expression} AS x")
    found = first_rows(file, "x.parquet", zone="America/New_York")
    assert found.columns[0].type == type_
    assert found.rows == ((value,),)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.csv", b"n,text\n1,a\n2,\n"),
        ("x.TSV", b"n\ttext\n1\ta\n2\t\n"),
        ("x.csv.gz", gzip.compress(b"n,text\n1,a\n2,\n")),
        ("x.jsonl", b'{"n":1,"text":"a"}\n{"n":2,"text":null}\n'),
        ("x.ndjson", b'{"n":1,"text":"a"}\n{"n":2}\n'),
        ("x.json", b'[{"n":1,"text":"a"},{"n":2,"text":null}]'),
        ("x.[1]*?.csv", b"n,text\n1,a\n2,\n"),
    ],
)
def test_text_formats(tmp_path, name, data):
    """CSV and JSON are read by their endings, whatever else their names hold."""
    found = first_rows(written(tmp_path, data), name)
    assert [one.name for one in found.columns] == ["n", "text"]
    assert found.rows == (("1", "a"), ("2", None))
    assert found.count == 2


@pytest.mark.parametrize("name", ["x.png", "x", "x.parquet.gz", "x.gz", "csv", "x.csv.txt"])
def test_what_is_no_table(name):
    """Files with other endings are not handed to the database."""
    assert not is_table(name)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.parquet", b"PAR1", "too small"),
        ("x.parquet", b"PAR1" + b"\0" * 90 + b"PAR1", ""),
        ("x.csv.gz", b"no gzip", "GZIP"),
        ("x.jsonl", b'{"a": ', "JSON"),
        ("x.csv", b"a\n" + b"y" * 3_000_000, "CSV"),
    ],
)
def test_broken_files(tmp_path, name, data, said):
    """A file that cannot be read says why, by its own name and on one line."""
    file = written(tmp_path, data)
    with pytest.raises(UnreadableRowsError, match="cannot be read") as caught:
        first_rows(file, name)
    assert said in caught.value.problem
    assert "\n" not in caught.value.problem
    assert "/tmp" not in caught.value.problem


def test_many_columns(tmp_path):
    """Of a wide table the first columns are shown, and how many are left out."""
    columns = ", ".join(f"{n} AS c{n}" for n in range(150))
    found = first_rows(parquet(tmp_path, f"SELECT {columns}"), "x.parquet")
    assert (len(found.columns), len(found.rows[0]), found.columns_left_out) == (100, 100, 50)


def test_names_of_columns_are_no_sql(tmp_path):
    """A column may have any name."""
    hostile = 'x" FROM range(3); --'
    quoted = hostile.replace('"', '""')
    found = first_rows(parquet(tmp_path, f'SELECT 1 AS "{quoted}"'), "x.parquet")
    assert (found.columns[0].name, found.rows) == (hostile, (("1",),))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM read_csv('{other}')",
        "COPY (SELECT 1) TO '{other}.new'",
        "ATTACH '{other}.db'",
        "INSTALL httpfs",
        "SET memory_limit = '8GiB'",
        "SET enable_external_access = true",
    ],
)
def test_the_lock(tmp_path, query):
    """The connection that reads a stranger's file can do nothing else."""
    other = written(tmp_path, b"secret\n1\n")
    link = tmp_path / "file.parquet"
    with duckdb.connect(":memory:") as connection:
        rows._lock(connection, link, "UTC")
        with pytest.raises(duckdb.Error):
            connection.execute(query.format(other=other))


def test_what_takes_too_long(tmp_path, monkeypatch):
    """A file that takes too long is given up, and says so."""
    monkeypatch.setattr(rows, "_MOST_S", 0.05)
    slow = "SELECT sum(sqrt(a.i * b.i)) AS x FROM range(100000) a(i), range(100000) b(i)"
    monkeypatch.setattr(rows, "_source", lambda _connection, _link: f"({slow})")
    with pytest.raises(UnreadableRowsError, match=r"longer than 0\.05 s"):
        first_rows(parquet(tmp_path), "x.parquet")


def test_two_at_once(tmp_path, monkeypatch):
    """Only so many tables are read at once; whoever waits too long is told."""
    monkeypatch.setattr(rows, "_AT_ONCE", threading.BoundedSemaphore(1))
    monkeypatch.setattr(rows, "_WAIT_S", 0.01)
    file = parquet(tmp_path)
    with rows._AT_ONCE, pytest.raises(UnreadableRowsError, match="others are being read"):
        first_rows(file, "x.parquet")
    assert first_rows(file, "x.parquet").count == 30  # and the next one may


# -- the look into whatever was stored ----------------------------------------------------------


def png(width, height):
    """Make the beginning of a picture."""
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    check = zlib.crc32(b"IHDR" + size).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + check


def look(store, files):
    """Store files as an output, and look into it."""
    record = add(store, Night(files={"it": files}))
    return preview(store, Version(record, "it", is_current=True))


@pytest.fixture
def local(tmp_path):
    """Open a store on this machine."""
    return open_store("store", base=tmp_path)


def test_tables_on_each_backend(store, tmp_path):
    """A table is shown from either store."""
    found = look(store, {"s.parquet": parquet(tmp_path).read_bytes()})
    assert found.rows.rows[0] == ("0", "row 0")
    assert found.note == ""


@pytest.mark.parametrize(
    ("name", "data", "fact", "value"),
    [
        ("a.png", png(4, 4), "image", "data:image/png;base64,iVBOR"),
        ("a.jpg", png(4, 4), "image", "data:image/png;base64,iVBOR"),
        ("a.png", b"<svg onload=alert(1)>", "note", "The file is not the picture"),
        ("a.png", png(60_000, 60_000), "note", "The picture claims 60,000 by 60,000 pixels"),
        ("a.png", png(4, 4) + b"\0" * (2 << 20), "note", "The file has 2.0 MiB; up to 2.0 MiB"),
        ("a.txt", b"hello <b>", "text", "hello <b>"),
        ("a.svg", b"<svg onload=alert(1)>", "text", "<svg onload"),
        ("a.html", b"<script>", "text", "<script>"),
        ("a.md", b"\xff\xfe", "text", "\ufffd\ufffd"),
        ("a.txt", b"y" * 5000, "note", "The first 4,000 characters."),
        ("a.txt", b"y" * (2 << 20), "note", "The file has 2.0 MiB"),
        ("a.json", b'{"learner": {"a": [1]}}', "text", '{"learner"'),
        ("a.json", b"no JSON", "text", "no JSON"),
        ("a.csv", b"", "note", "The file is empty."),
        ("a.parquet", b"PAR1", "note", "The file cannot be read: "),
        ("a.pkl", b"\x80\x04", "note", "There is no preview of a .pkl file."),
        ("model", b"\x80\x04", "note", "There is no preview of a file without an ending."),
    ],
)
def test_files_of_other_kinds(local, name, data, fact, value):
    """Pictures are shown if they are some, texts by their head, and the rest says why not."""
    found = look(local, {name: data})
    assert getattr(found, fact).startswith(value)
    assert found.file == name
    assert found.rows is None


def test_tables_that_are_too_large(local):
    """A table of more than 64 MiB is neither fetched nor opened."""
    record = add(local, Night(files={"it": {"s.csv": b"a\n1\n"}}))
    (file,) = record.outputs["it"].files
    large = file.model_copy(update={"size": (64 << 20) + 1})
    output = record.outputs["it"].model_copy(update={"files": (large,)})
    version = Version(record.model_copy(update={"outputs": {"it": output}}), "it", is_current=True)
    assert preview(local, version).note == "The file has 64.0 MiB; up to 64.0 MiB are shown here."


def test_folders(local, tmp_path):
    """Of a folder the first Parquet file is shown that its readers would read."""
    data = parquet(tmp_path).read_bytes()
    files = {"_old.parquet": b"", "a.txt": b"a", "k=1/part.parquet": data, "k=2/x.parquet": b""}
    assert look(local, files).file == "k=1/part.parquet"


def test_folders_without_tables(local):
    """Of a folder without Parquet its first file is shown that is not hidden."""
    assert look(local, {".crc": b"a", "b.txt": b"b", "c.txt": b"c"}).text == "b"


def test_a_file_that_is_gone(store):
    """Where the bytes are gone the page says so, and what to do."""
    record = add(store, Night(files={"it": {"s.csv": b"a\n1\n"}}))
    store.delete("runs/flights/2013-03-01/run-0/score/1/outputs/it/s.csv")
    note = preview(store, Version(record, "it", is_current=True)).note
    assert note.startswith("Of the store: ")


def test_other_bytes_than_were_committed(s3_url, tmp_path):
    """Bytes that somebody has changed since are not shown as the version."""
    store = open_store(s3_url, base=tmp_path)
    record = add(store, Night(files={"it": {"s.csv": b"a\n1\n"}}))
    store.write("runs/flights/2013-03-01/run-0/score/1/outputs/it/s.csv", b"a\n2\n")
    found = preview(store, Version(record, "it", is_current=True))
    assert found.rows is None
    assert "not those that were committed" in found.note


def test_the_answer_is_json(local):
    """All of a preview can be told as JSON."""
    assert json.loads(look(local, {"a.csv": b"a\n1\n"}).model_dump_json())["rows"]["rows"] == [
        ["1"]
    ]


# -- what DuckDB alone would not tell -----------------------------------------------------------


def arrow(path, **columns):
    """Write a table as pandas and polars do, by Arrow."""
    target = path / "made.parquet"
    pq.write_table(pa.table(columns), target)
    return target


@pytest.mark.parametrize(
    ("value", "type_", "text"),
    [
        ("0.10", "DECIMAL(2, 2)", "0.10"),
        ("-0.10", "DECIMAL(2, 2)", "-0.10"),
        ("0.1", "DECIMAL(38, 38)", f"0.1{'0' * 37}"),
        ("1.10", "DECIMAL(3, 2)", "1.10"),
        ("0.10", "DOUBLE", "0.1"),
    ],
)
def test_a_number_has_a_digit_before_its_point(tmp_path, value, type_, text):
    """No decimal begins with its point, as DuckDB writes those that have no place before it."""
    found = first_rows(parquet(tmp_path, f"SELECT '{value}'::{type_} AS x"), "x.parquet")
    assert found.rows == ((text,),)


@pytest.mark.parametrize(
    ("unit", "second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
def test_durations(tmp_path, unit, second):
    """Durations of pandas and polars are shown as such, and not as bare numbers."""
    spans = pa.array([5400 * second, -second, 90_000 * second, None], pa.duration(unit))
    found = first_rows(arrow(tmp_path, n=pa.array([1, 2, 3, 4]), d=spans), "x.parquet")
    assert [(one.name, one.type, one.unit) for one in found.columns] == [
        ("n", "BIGINT", ""), ("d", "BIGINT", unit)
    ]  # fmt: skip
    assert [row[1] for row in found.rows] == ["01:30:00", "-00:00:01", "25:00:00", None]
    assert [row[0] for row in found.rows] == ["1", "2", "3", "4"]


def test_durations_that_no_interval_can_hold(tmp_path):
    """Nanoseconds are not cut off, and a span of ages spoils no page: both have their unit."""
    file = arrow(
        tmp_path, a=pa.array([1_000_001], pa.duration("ns")), b=pa.array([2**62], pa.duration("s"))
    )
    assert first_rows(file, "x.parquet").rows == (("1000001 ns", f"{2**62} s"),)


def test_durations_among_other_columns(tmp_path):
    """The place of a column counts also behind others that hold several."""
    pair = pa.array([{"a": 1, "b": [2]}])
    day = pa.array([86_400], pa.duration("s"))
    found = first_rows(arrow(tmp_path, pair=pair, day=day, text=pa.array(["x"])), "x.parquet")
    assert [one.unit for one in found.columns] == ["", "s", ""]
    assert found.rows[0][1:] == ("24:00:00", "x")


def test_a_schema_of_more_columns_than_there_are(tmp_path):
    """A wrong schema in a file spoils no page, and makes no duration of a text."""
    wrong = schema_of(a=pa.duration("s"), b=pa.duration("s"), c=pa.duration("s")).decode()
    options = f"FORMAT parquet, KV_METADATA {{'ARROW:schema': '{wrong}'}}"
    duckdb.sql(f"COPY (SELECT 'x' AS text, 5::BIGINT AS n) TO '{tmp_path / 'f'}' ({options})")
    found = first_rows(tmp_path / "f", "x.parquet")
    assert [one.unit for one in found.columns] == ["", "s"]


@pytest.mark.parametrize(
    ("name", "data", "own"),
    [
        ("x.csv", b"a,A,a_1\n1,2,3\n", {"a": "", "A_1": "A", "a_1_1": "a_1"}),
        ("x.tsv", b"a\ta\n1\t2\n", {"a": "", "a_1": "a"}),
        ("x.csv.gz", gzip.compress(b'"x\ny","x\ny"\n1,2\n'), {"x\ny": "", "x\ny_1": "x\ny"}),
        ("x.csv", b"a,a_1\n1,2\n", {"a": "", "a_1": ""}),
        ("x.csv", b",a\n1,2\n", {"column0": "", "a": ""}),
    ],
)
def test_names_that_are_there_twice(tmp_path, name, data, own):
    """Beside a name that checks have for a column stands the one in the file, if it differs."""
    found = first_rows(written(tmp_path, data), name)
    assert {one.name: one.own_name for one in found.columns} == own


def test_names_that_are_there_twice_in_parquet(tmp_path):
    """So it is with Parquet, also behind a column that holds several."""
    pair = pa.array([{"a": 1, "A": [2]}])
    arrays = [pair, pa.array([1]), pa.array([2]), pa.array([3])]
    pq.write_table(pa.Table.from_arrays(arrays, names=["p", "a", "A", "a"]), tmp_path / "f")
    found = first_rows(tmp_path / "f", "x.parquet")
    assert [one.own_name for one in found.columns] == ["", "", "A", "a"]
    assert found.rows[0][1:] == ("1", "2", "3")
