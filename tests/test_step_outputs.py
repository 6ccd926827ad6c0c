"""Outputs and inputs on the local disk: what was declared is what is there, or it is said."""

from __future__ import annotations

import hashlib

import pytest

from nightmill.errors import StoreError
from nightmill.spec.graph import InputSource
from nightmill.step import staging
from nightmill.step.outputs import DeclaredOutput, OutputError
from nightmill.store.inputs import ResolvedInput, Version
from nightmill.store.open import open_store
from nightmill.store.pointer import CommittedFile, CommittedOutput, Pointer, Token

PREFIX = "runs/p/2013-01-01/r/s/1"


def declare(tmp_path, path: str, files: dict[str, bytes]) -> DeclaredOutput:
    """Declare an output, prepare it, and write files below its folder as a notebook would."""
    output = DeclaredOutput("scores", path, tmp_path / "scratch")
    output.prepare()
    for name, content in files.items():
        file = tmp_path / "scratch" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return output


@pytest.mark.parametrize(
    ("declared", "files", "kind", "stored"),
    [
        ("s.parquet", {"s.parquet": b"abc"}, "file", ["s.parquet"]),
        ("s.parquet", {"s.parquet": b"", "_SUCCESS": b"", ".s.crc": b"x"}, "file", ["s.parquet"]),
        ("a/b/s.csv", {"a/b/s.csv": b"x"}, "file", ["a/b/s.csv"]),
        ("d/", {"d/k=1/x": b"1", "d/k=2/y": b"2"}, "directory", ["k=1/x", "k=2/y"]),
        ("d/", {"d/x": b"1", "d/_SUCCESS": b""}, "directory", ["_SUCCESS", "x"]),
    ],
)
def test_an_output_as_declared_is_stored_with_sizes_and_hashes(
    tmp_path, declared, files, kind, stored
):
    """What was declared is stored, strays beside a file are not, and the hashes are the bytes'."""
    store = open_store("store", base=tmp_path)
    output = declare(tmp_path, declared, files).upload(store, PREFIX)
    assert (output.kind, [file.path for file in output.files]) == (kind, stored)
    for file in output.files:
        data = store.read(f"{output.prefix}/{file.path}").data
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("declared", "files", "problem"),
    [
        ("s.parquet", {}, "wrote no s.parquet"),
        ("s.parquet", {"other.parquet": b"x"}, "wrote no s.parquet"),
        ("s.parquet", {"s.parquet/0": b"", "s.parquet/1": b""}, "found a folder of 2 parts"),
        ("d/", {}, "empty"),
        ("d/", {"d/_SUCCESS": b"", "d/.x.crc": b""}, "empty"),
    ],
)
def test_an_output_that_is_not_as_declared_is_refused(tmp_path, declared, files, problem):
    """Nothing, an empty folder, or a folder for a file is check_failed and names the output."""
    with pytest.raises(OutputError, match=problem) as caught:
        declare(tmp_path, declared, files).files()
    assert caught.value.cause == "check_failed"
    assert caught.value.where == "output scores"


def test_a_file_where_a_folder_was_declared(tmp_path):
    """A file in the place of a declared folder is refused, with both ways to mend it."""
    output = declare(tmp_path, "d/", {})
    (tmp_path / "scratch/d").rmdir()
    (tmp_path / "scratch/d").write_text("x")
    with pytest.raises(OutputError, match="declared a folder") as caught:
        output.files()
    assert "`scores: d`" in caught.value.advice


@pytest.mark.parametrize("name", ["a\nb", ".nightmill-x", "caf\udce9.csv"])
def test_a_file_that_no_store_can_hold_is_a_fault_of_the_output(tmp_path, name):
    """A name that a store cannot hold is check_failed, not a wrong parameter."""
    output = declare(tmp_path, "d/", {f"d/{name}": b"1", "d/good": b"1"})
    with pytest.raises(OutputError, match="the file"):
        output.upload(open_store("store", base=tmp_path), PREFIX)


def committed(store, tmp_path, kind="file") -> ResolvedInput:
    """Store two bytes as a committed output."""
    source = tmp_path / "source"
    source.write_bytes(b"ab")
    stored = store.put_file(f"{PREFIX}/outputs/o/o.bin", source)
    file = CommittedFile(path="o.bin", size=2, sha256=stored.sha256, etag=stored.etag)
    output = CommittedOutput(name="o", kind=kind, prefix=f"{PREFIX}/outputs/o", files=(file,))
    pointer = Pointer(
        pipeline="p",
        step="s",
        partition="2013-01-01",
        run="r",
        token=Token(order=1, attempt=1),
        attempt_prefix=PREFIX,
        outputs={"o": output},
    )
    return ResolvedInput(
        InputSource("o", "p", "s", "o", "same_partition", inclusive=False),
        {"": Version(pointer, output)},
    )


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_an_input_is_read_from_a_local_path(store, tmp_path, kind):
    """On either backend the notebook gets a local path: a file, or a folder with its files."""
    place = staging.stage(store, committed(store, tmp_path, kind), tmp_path / "inputs/o")
    path = tmp_path.joinpath(place)
    assert (path if kind == "file" else path / "o.bin").read_bytes() == b"ab"


@pytest.mark.parametrize("damage", ["tampered", "gone"])
def test_bytes_that_are_not_the_committed_ones_are_refused(tmp_path, damage):
    """An input whose bytes were changed or deleted since its commit is never handed over."""
    store = open_store("store", base=tmp_path)
    resolved = committed(store, tmp_path)
    file = store.local_path(f"{PREFIX}/outputs/o/o.bin")
    file.unlink()
    if damage == "tampered":
        file.write_bytes(b"aB")
    with pytest.raises(StoreError) as caught:
        staging.stage(store, resolved, tmp_path / "inputs")
    assert str(file) in str(caught.value)
    assert "space" not in caught.value.advice
