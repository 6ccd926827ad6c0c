"""Delimited text is read by RFC 4180: nothing is guessed but types, nothing is left out."""

from __future__ import annotations

import gzip

import pytest

from tests.audited import make_auditor

ROWS = "".join(f"{n},x{n},{n / 7}\n" for n in range(1000))


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


READ = {
    # name of the file, content, checks that pass
    "a hash begins a text": (
        "s.csv", "id,p\n#7,2\na8,1\n", "{rows: 2, columns: {id: string, p: int}}",
    ),
    "every row a hash": ("s.csv", "c,p\n#fff,2\n#000,1\n", "{rows: 2, between: {p: [1, 2]}}"),
    "a hash in the header": ("s.csv", "#a,b\n1,2\n", "{rows: 1, not_null: ['#a', b]}"),
    "semicolons in a csv": ("s.csv", "id;x,p\n1;2,4\n", "columns: {'id;x': string, p: int}"),
    "nothing but semicolons": ("s.csv", "a;b\n1;2\n", "columns: {'a;b': string}"),
    "pipes in a csv": ("s.csv", "id,p\na|b,1\nc|d,2\n", "columns: {id: string, p: int}"),
    "commas in a tsv": ("s.tsv", "id\na,b\nc,d\n", "{rows: 2, columns: {id: string}}"),
    "tabs between quotes": ("s.TSV", 'id\tp\n"a\tb"\t1\n', "columns: {id: string, p: int}"),
    "one column": ("s.csv", "name\nhello\nworld\n", "{rows: 2, columns: {name: string}}"),
    "text below text": ("s.csv", "a,b\nx,y\nz,w\n", "{rows: 2, accepted: {a: [x, z]}}"),
    "numbers as header": ("s.csv", "1,2\n3,4\n", "{rows: 1, columns: {'1': int, '2': int}}"),
    "commas between quotes": ("s.csv", 'a\n"x,y"\n', "accepted: {a: ['x,y']}"),
    "a line break between quotes": (
        "s.csv", 'a,b\n"x\ny",2\n', "{rows: 1, columns: {a: string, b: int}}",
    ),
    "a quote between quotes": ("s.csv", 'a,b\n"x""y",2\n', """accepted: {a: ['x"y']}"""),
    "a backslash is one": ("s.csv", 'a,b\n"x\\",2\n', "accepted: {a: ['x\\']}"),
    "no line break at the end": ("s.csv", "a,b\n1,2", "{rows: 1, columns: {a: int, b: int}}"),
    "line breaks of Windows": ("s.csv", "a,b\r\n1,2\r\n", "{rows: 1, columns: {a: int, b: int}}"),
    "blanks about names": (
        "s.csv", 'a, b,"c "\n1,2,3\n', "columns: {a: int, ' b': int, 'c ': int}",
    ),
    "blanks in a tsv": ("s.tsv", "a \t'b\n1\t2\n", "columns: {'a ': int, \"'b\": int}"),
    "blanks behind a byte order mark": ("s.csv", "\ufeff a\n1\n", "columns: {' a': int}"),
    "names that differ by a blank": ("s.csv", "a,a \n1,2\n", "columns: {a: int, 'a ': int}"),
    "nothing but a blank": ("s.csv", "a, \n1,2\n", "columns: {a: int, column1: int}"),
    "a name without a text": ("s.csv", ",b \n1,2\n", "columns: {column0: int, b: int}"),
    "a name twice": ("s.csv", "a,A, b\n1,2,3\n", "columns: {a: int, A_1: int, b: int}"),
    "a long name": ("s.csv", f"{'x' * 140_000} ,b\n1,2\n", "not_null: {b: 0%}"),
    "a byte order mark": ("s.csv", "\ufeffa,b\n1,2\n", "{rows: 1, columns: {a: int, b: int}}"),
    "only a header": ("s.csv", "a,b\n", "{rows: 0, columns: {a: string, b: string}}"),
    "leading zeros": ("s.csv", "a\n001\n002\n", "columns: {a: string}"),
    "a text after many numbers": (
        "s.csv", "a\n" + "1\n" * 90_000 + "x\n", "{rows: 90001, columns: {a: string}}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "checks"), READ.values(), ids=READ)
def test_every_line_is_read_as_it_stands(auditor, name, content, checks):
    """The suffix says the delimiter, the first line names the columns, all others are rows."""
    results = auditor.audit(auditor.file(content.encode(), name), checks)
    assert {result.state for result in results} == {"passed"}, results


UNREADABLE = {
    "cut in the last line": (
        f"id,a,p\n{ROWS}1000,y", "line 1002 (`1000,y`) has 2 fields, the header has 3",
    ),
    "a short line amid": (f"id,a,p\n{ROWS}1,2\n{ROWS}", "line 1002 (`1,2`) has 2 fields"),
    "a long line amid": (f"id,a,p\n{ROWS}1,2,3,4\n{ROWS}", "line 1002 (`1,2,3,4`) has more fields"),
    "short first lines": (f"id,a,p\n1\n2\n{ROWS}", "line 2 (`1`) has 1 field, the header has 3"),
    "a short header": ("a,b\nx,y,z\nx,y,z\n", "line 2 (`x,y,z`) has more fields, the header has 2"),
    "a long header": ("a,b,c\n1,2\n3,4\n", "line 2 (`1,2`) has 2 fields, the header has 3"),
    "a title above": (
        f"Scores\nid,a,p\n{ROWS}", "line 2 (`id,a,p`) has more fields, the header has 1",
    ),
    "a comment above": (f"# of today\nid,a,p\n{ROWS}", "line 2 (`id,a,p`) has more fields"),
    "an empty line above": ("\na,b\nx,y\n", "no header in the first line"),
    "an empty file": ("", "no header in the first line"),
    "a cut quote": ('a,b\n1,2\n"x', 'line 3 (`"x`) has a quote that does not end'),
    "text behind a quote": (
        'a,b\n1,2\n"x"y,3\n', 'line 3 (`"x"y,3`) has a quote that does not end',
    ),
    "two kinds of line breaks": ("a,b\r\n1,2\n3,4\r\n", "lines end in different ways"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_line_that_is_no_row_makes_the_file_unreadable(auditor, content, words, packed):
    """Nothing is skipped or padded: the finding names the line and what it holds."""
    data = gzip.compress(content.encode()) if packed else content.encode()
    path = auditor.file(data, "s.csv.gz" if packed else "s.csv")
    result = auditor.one(path, "not_null: [a]")
    assert (result.check, result.state) == ("readable", "failed")
    assert words in result.message
    assert str(auditor.root) not in result.message


OTHER_TEXT = {
    "latin-1": ("a,b\nä,1\n".encode("latin-1"), 2),
    "latin-1 in the header": ("ä,b\n1,1\n".encode("latin-1"), 1),
    "latin-1 far down": (b"a,b\n" + b"1,2\n" * 50_000 + "ä,1\n".encode("latin-1"), 50_002),
    "UTF-16": ("a,b\nä,1\n".encode("utf-16"), 1),
}


@pytest.mark.parametrize(("data", "line"), OTHER_TEXT.values(), ids=OTHER_TEXT)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_bytes_that_are_no_text_are_named_by_their_line(auditor, data, line, packed):
    """A file in another encoding is unreadable, and the author is told which one to write."""
    path = auditor.file(gzip.compress(data) if packed else data, "s.csv.gz" if packed else "s.csv")
    result = auditor.one(path, "rows: 1")
    assert (result.check, result.state) == ("readable", "failed")
    assert f"line {line} is not UTF-8: write the file with encoding='utf-8'" in result.message
    assert str(auditor.root) not in result.message
