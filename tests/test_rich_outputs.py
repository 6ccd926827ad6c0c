"""Pictures, tables and errors that are too large for a notebook."""

from __future__ import annotations

import base64
import json

import pytest

from nightmill.step.redaction import Redactor
from nightmill.step.rich_outputs import fit_data, fit_error, size_of
from nightmill.step.spill import Spills, SpillTo

SECRET = "hunter2-hunter2-hunter2"
LIMIT = 1000
BYTES = bytes(range(256)) * 8


@pytest.fixture
def tools(tmp_path):
    """Make what fitting needs: a redactor and a place for files."""
    spills = Spills(SpillTo(tmp_path, "s3://b"))
    return {
        "redactor": Redactor({"TOKEN": SECRET}),
        "spill": lambda extension: spills.make(1, extension),
    }


def test_what_fits_is_left_alone(tools, tmp_path):
    """A small display keeps every kind and makes no file."""
    data = {"text/html": "<b>1</b>", "application/json": {"a": [1]}, "text/plain": "1"}
    assert fit_data(data, LIMIT, **tools) == (data, [])
    assert list(tmp_path.iterdir()) == []


PNG = base64.b64encode(BYTES).decode()
LONG = "x" * 2000
KINDS = [
    ("image/png", PNG, "png", BYTES),
    ("image/jpeg", PNG, "jpg", BYTES),
    ("application/pdf", "\n".join([PNG[:76], PNG[76:]]), "pdf", BYTES),
    ("image/png", LONG + "é", "png", (LONG + "é").encode()),
    ("image/png", f"{PNG}!", "png", f"{PNG}!".encode()),
    ("image/svg+xml", LONG, "svg", LONG.encode()),
    ("text/html", LONG, "txt", LONG.encode()),
    ("application/json", {"a": LONG}, "txt", json.dumps({"a": LONG}).encode()),
    ("application/vnd.plotly.v1+json", [LONG], "txt", json.dumps([LONG]).encode()),
    ("application/x-odd;charset=../../etc", LONG, "txt", LONG.encode()),
]
EXTENSIONS = {"text/html": "html", "application/json": "json"}


@pytest.mark.parametrize(("kind", "value", "extension", "expected"), KINDS)
def test_what_is_too_large_is_a_note_and_a_file(tools, tmp_path, kind, value, extension, expected):
    """A note stands in its place, beside the plain text; the file has it as a viewer wants it."""
    extension = EXTENSIONS.get(kind, "json" if kind.endswith("+json") else extension)
    data, files = fit_data({kind: value, "text/plain": "<Figure>"}, LIMIT, **tools)
    (file,) = files
    assert file.name == f"cell-1-1.{extension}"
    assert list(data) == ["text/plain"]
    first, rest = data["text/plain"].split("\n", 1)
    assert first.startswith(f"[Nightmill left out {kind} of ")
    assert first.endswith(f"; the whole: s3://b/{file.name}]")
    assert rest == "<Figure>"
    assert (tmp_path / file.name).read_bytes() == expected
    assert file.size == len(expected)


def test_only_what_must_is_cut_and_no_better_kind_hides_the_note(tools):
    """The largest go first; what remains beside the note is plain text alone."""
    value = {"image/png": PNG, "text/html": "<b>small</b>", "text/plain": "p"}
    data, files = fit_data(value, LIMIT, **tools)
    assert [file.name for file in files] == ["cell-1-1.png"]
    assert list(data) == ["text/plain"]


def test_plain_text_that_is_too_long_keeps_its_beginning(tools, tmp_path):
    """Of a huge repr the first kilobytes stay below the note."""
    data, _files = fit_data({"text/plain": "row\n" * 5000}, LIMIT, **tools)
    assert data["text/plain"].count("row\n") > 100
    assert size_of(data["text/plain"]) < 10_000
    assert (tmp_path / "cell-1-1.txt").read_text() == "row\n" * 5000


def test_without_a_place_for_files_the_note_still_stands(tools):
    """Plain papermill has no place for files; the notebook stays openable all the same."""
    tools["spill"] = lambda _extension: None
    data, files = fit_data({"image/png": PNG}, LIMIT, **tools)
    assert files == []
    assert data["text/plain"].startswith("[Nightmill left out image/png of ")


@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/plain"])
def test_no_secret_is_written(tools, tmp_path, kind):
    """What is cut is redacted before it is cut or written."""
    text = f"{'x' * 900} {SECRET} " * 12
    value = {"a": [text]} if kind == "application/json" else text
    data, files = fit_data({kind: value, "text/plain": text}, LIMIT, **tools)
    assert files
    for file in tmp_path.iterdir():
        assert "hunter2" not in file.read_text()
        assert "[redacted: TOKEN]" in file.read_text()
    assert "hunter2" not in json.dumps(data)


def error(evalue, traceback):
    """Make an error output."""
    return {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": evalue,
        "traceback": traceback,
    }


def test_an_error_that_fits_is_left_alone(tools):
    """An ordinary traceback stays as it is."""
    ordinary = error("no", ["line 1", "line 2"])
    assert fit_error(ordinary, **tools) == (ordinary, [])


def test_a_huge_error_can_be_read(tools, tmp_path):
    """Head and tail of a traceback stay, the value is cut, and the whole is in a file."""
    lines = [f"frame {number} {SECRET}" for number in range(10_000)]
    cut, files = fit_error(error("v" * 1_000_000, lines), **tools)
    assert cut["ename"] == "ValueError"
    assert len(cut["evalue"]) < 10_000
    assert cut["traceback"][0].startswith("frame 0 ")
    assert cut["traceback"][-1].startswith("frame 9999 ")
    assert size_of(cut["traceback"]) < 100_000
    assert "hunter2" not in json.dumps(cut)
    assert [file.name for file in files] == ["cell-1-1.txt"]
    assert len((tmp_path / "cell-1-1.txt").read_text().splitlines()) == 10_000
