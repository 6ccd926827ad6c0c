"""The preview of delimited text and JSON: it shows what the checks of the same output see."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import pytest

from nightmill.audit.table import open_table
from nightmill.review.preview import Preview, preview
from nightmill.review.rows import ROWS, UnreadableRowsError, first_rows
from nightmill.spec.check_values import NO_TYPE
from nightmill.spec.sql import quoted
from nightmill.store.open import open_store
from nightmill.store.versions import Version
from tests.audited import make_auditor
from tests.reviewed_nights import Night, add
from tests.test_audit_csv import OTHER_TEXT, READ, UNREADABLE

MANY = "".join(f"{n},x{n}\n" for n in range(100_000))
LINES = '{"a": 1}\n' * 30_000
SEEN = {key: (name, content) for key, (name, content, _checks) in READ.items()} | {
    "a text far down": ("s.csv", f"a,b\n{MANY}x,y\n"),
    "nothing in a column": ("s.csv", "a,b\n1,\n2,\n"),
    "JSON with a text far down": ("s.jsonl", LINES + '{"a": "x"}\n'),
    "JSON with a key far down": ("s.jsonl", LINES + '{"a": 1, "b": 2}\n'),
}


def audited(auditor, content: str, name: str) -> tuple[dict[str, str], int, Sequence[tuple]]:
    """Read an output as its checks do: columns with types, how many rows, and all rows as text."""
    (work := auditor.root / "work").mkdir()
    with open_table(auditor.file(content.encode(), name), auditor.context, work) as table:
        texts = ", ".join(f"CAST({quoted(column)} AS VARCHAR)" for column in table.columns)
        types = {name: kind.replace(NO_TYPE, "VARCHAR") for name, kind in table.columns.items()}
        rows = table.connection.sql("FROM output").project(texts).fetchall()
        return types, table.count, rows


@pytest.mark.parametrize(("name", "content"), SEEN.values(), ids=SEEN)
def test_the_page_shows_what_the_checks_see(tmp_path, name, content):
    """Columns, types, the number of rows and the rows are the same."""
    auditor = make_auditor(tmp_path)
    types, count, rows = audited(auditor, content, name)
    found = first_rows(auditor.file(content.encode(), name), name)
    assert {column.name: column.type for column in found.columns} == types
    assert found.count == count
    assert len(found.rows) == min(count, ROWS)
    assert set(found.rows) <= set(rows)


FAULTS = UNREADABLE | {
    "a short line far down": (
        f"a,b\n{MANY}1\n{MANY}", "line 100002 (`1`) has 1 field, the header has 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_what_the_checks_refuse_is_no_table(tmp_path, content, words, packed):
    """The page says the same of a line that is no row, wherever that is."""
    (file := tmp_path / "file").write_bytes(
        gzip.compress(content.encode()) if packed else content.encode()
    )
    with pytest.raises(UnreadableRowsError, match=r"cannot be read: ") as caught:
        first_rows(file, "s.csv.gz" if packed else "s.csv")
    assert words in caught.value.problem


@pytest.mark.parametrize(("data", "line"), OTHER_TEXT.values(), ids=OTHER_TEXT)
def test_another_encoding_is_named(tmp_path, data, line):
    """The page says which encoding the notebook should write, as the checks do."""
    (file := tmp_path / "file").write_bytes(data)
    with pytest.raises(UnreadableRowsError, match=f"line {line} is not UTF-8: write the file with"):
        first_rows(file, "s.csv")


def look(tmp_path, name: str, data: bytes) -> Preview:
    """Store a file as an output, and look into it."""
    store = open_store("store", base=tmp_path)
    record = add(store, Night(files={"it": {name: data}}))
    return preview(store, Version(record, "it", is_current=True))


def test_a_refused_text_is_shown_as_text(tmp_path):
    """Why it is no table stands above the beginning of the file, where that is small enough."""
    found = look(tmp_path, "s.csv", b"a,b\n1\n")
    assert (found.rows, found.text) == (None, "a,b\n1\n")
    assert found.note == "The file cannot be read: line 2 (`1`) has 1 field, the header has 2."


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("s.tsv", b"a\tb\n" + b"1\n" * 5_000, "a\tb\n1\n"),
        ("s.csv", b"a,b\n" + b"1\n" * 600_000, ""),
        ("s.csv.gz", gzip.compress(b"a,b\n1\n"), ""),
    ],
    ids=["small", "large", "packed"],
)
def test_no_more_is_shown_than_of_other_texts(tmp_path, name, data, text):
    """Of a refused file that is large or packed, only why is told."""
    found = look(tmp_path, name, data)
    assert found.text.startswith(text)
    assert len(found.text) == (4_000 if text else 0)
    assert found.note.startswith("The file cannot be read: line 2 (`1`) has 1 field")
    assert found.note.endswith("The first 4,000 characters." if text else "the header has 2.")
