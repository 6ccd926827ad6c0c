"""Outputs and inputs on the local disk: what was declared is what is there, or it is said."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
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


def parquet() -> bytes:
    """Make a small Parquet file."""
    sink = BytesIO()
    pq.write_table(pa.table({"id": [1, 2]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"id,p\n1,0.5\n2,0.25\n", r"begins with b'id,p\\n1,0.5"),
        (b"PAR1", "begins with b'PAR1'"),
        (parquet()[:-1], "begins with b'PAR1"),
        (parquet()[:300], "begins with b'PAR1"),
        (b"PAR1" + parquet()[-8:], "begins with b'PAR1"),  # a footer longer than the file
    ],
)
@pytest.mark.parametrize("declared", ["s.parquet", "s.PQ", "d/"])
def test_parquet_by_name_is_parquet(tmp_path, declared, content, words):
    """A file that no reader could open is check_failed, whether it is no Parquet or cut off."""
    name = "d/k=1/part-0.parquet" if declared == "d/" else declared
    output = declare(tmp_path, declared, {name: content})
    with pytest.raises(OutputError, match=words) as caught:
        output.require_readable()
    assert "to_parquet" in caught.value.advice
    assert caught.value.where == "output scores"


@pytest.mark.parametrize(
    ("declared", "files"),
    [
        ("s.parquet", {"s.parquet": parquet()}),
        ("s.parquet", {"s.parquet": b"PARE" + bytes(8) + b"PARE"}),  # its footer is encrypted
        ("d/", {"d/a.parquet": parquet(), "d/_b.parquet": b"", "d/.a.parquet.crc": b"x"}),
        ("s.csv", {"s.csv": b"id\n1\n"}),
    ],
)
def test_what_a_reader_would_not_read_as_parquet_is_nobodys_fault(tmp_path, declared, files):
    """Whole files, encrypted ones, other kinds, and what readers pass over are left alone."""
    declare(tmp_path, declared, files).require_readable()


def make_odd(kind: str, path: Path) -> None:
    """Make what is no file where an output has one."""
    match kind:
        case "dangling":
            path.symlink_to("/nowhere/model.bin")
        case "linked_folder":
            path.symlink_to("..")
        case "loop":
            path.symlink_to(path.name)
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(os.path.relpath(path))  # the path of a socket has a small limit


ODD = ("dangling", "loop", "pipe", "socket")


@pytest.mark.parametrize(
    ("kind", "place"),
    [*((kind, place) for kind in (*ODD, "linked_folder") for place in ("d/", "d/sub/"))]
    + [(kind, "s.csv") for kind in ODD],
)
def test_what_is_no_file_is_never_left_out(tmp_path, monkeypatch, kind, place):
    """A link to nowhere or to a folder, a pipe or a socket is check_failed that names it."""
    monkeypatch.chdir(tmp_path)
    declared, odd = ("d/", f"{place}odd") if place.endswith("/") else (place, place)
    output = declare(tmp_path, declared, {"d/ok": b"1", "d/sub/ok": b"1"})
    make_odd(kind, tmp_path / "scratch" / odd)
    with pytest.raises(OutputError, match=r"is (a link to|neither a file)") as caught:
        output.files()
    assert caught.value.cause == "check_failed"
    assert repr(odd.removeprefix("d/")) in caught.value.problem
    assert "remove it" in caught.value.advice


def test_links_to_files_are_stored_as_their_bytes(tmp_path):
    """A link to a file is stored as what it leads to, inside the folder or outside of it."""
    store = open_store("store", base=tmp_path)
    (tmp_path / "cached").write_bytes(b"cached")
    output = declare(tmp_path, "d/", {"d/blobs/1": b"blob"})
    (output.address / "inside").symlink_to("blobs/1")
    (output.address / "outside").symlink_to(tmp_path / "cached")
    made = output.upload(store, PREFIX)
    stored = {file.path: store.read(f"{made.prefix}/{file.path}").data for file in made.files}
    assert stored == {"blobs/1": b"blob", "inside": b"blob", "outside": b"cached"}


@contextmanager
def no_root() -> Iterator[None]:
    """Do as root what nobody may do: root itself reads every folder."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_a_folder_that_cannot_be_read_is_never_left_out():
    """A folder without the right to read it is check_failed, not an output without its files."""
    with TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        output = declare(folder, "d/", {"d/ok": b"1", "d/closed/x": b"1"})
        (output.address / "closed").chmod(0)
        with no_root(), pytest.raises(OutputError, match="'closed' cannot be read"):
            output.files()
        (output.address / "closed").chmod(0o755)


class Meeting:
    """A store whose calls for small files end only when several are under way at once."""

    def __init__(self, store, *, parties: int) -> None:
        self.store = store
        self._together = threading.Barrier(parties, timeout=20)

    def __getattr__(self, name: str):
        """Pass on what moves no file."""
        return getattr(self.store, name)

    def local_path(self, _key: str) -> None:
        """Have nothing here, so that inputs are fetched."""

    def put_file(self, key, path, *, moved=None):
        """Wait for the others, and store."""
        self._meet(key)
        return self.store.put_file(key, path, moved=moved)

    def get_file(self, key, path, *, sha256=None, moved=None):
        """Wait for the others, and fetch."""
        self._meet(key)
        self.store.get_file(key, path, sha256=sha256, moved=moved)

    def _meet(self, key: str) -> None:
        if key.endswith("large"):
            assert self._together.n_waiting == 0
        else:
            self._together.wait()


def test_small_files_are_moved_in_parallel_and_large_ones_are_not(tmp_path):
    """Many small files wait for the store together, and come out in order with their hashes."""
    store = Meeting(open_store("store", base=tmp_path), parties=16)
    small = {f"d/{number:02d}": str(number).encode() for number in range(32)}
    output = declare(tmp_path, "d/", {**small, "d/05-large": bytes(5 << 20), "d/large": b""})
    (output.address / "large").write_bytes(bytes(5 << 20))
    made = output.upload(store, PREFIX)
    paths = [file.path for file in made.files]
    assert paths == sorted([*(name.removeprefix("d/") for name in small), "05-large", "large"])
    for file in made.files:
        data = (output.address / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    folder = Path(staging.stage(store, resolved_from(made), tmp_path / "inputs"))
    for file in made.files:
        assert (folder / file.path).read_bytes() == (output.address / file.path).read_bytes()


class Failing:
    """A store that refuses some files, and counts."""

    def __init__(self, store, *names: str) -> None:
        self.store = store
        self.names = names
        self.tried: list[str] = []

    def put_file(self, key, path, *, moved=None):
        """Store, unless the file is one of those."""
        self.tried.append(path.name)
        time.sleep(0.01)  # as a store does: meanwhile the failure is seen
        if path.name in self.names:
            raise StoreError("refused", address=path.name, operation="write")
        return self.store.put_file(key, path, moved=moved)


def test_the_first_file_that_fails_is_told_and_ends_it(tmp_path):
    """Of several errors the first in the order of files is raised, and the rest is not begun."""
    store = Failing(open_store("store", base=tmp_path), "0001", "0003")
    output = declare(tmp_path, "d/", {f"d/{number:04d}": b"x" for number in range(1000)})
    with pytest.raises(StoreError) as caught:
        output.upload(store, PREFIX)
    assert caught.value.address == "0001"
    assert len(store.tried) < 500


def committed(store, tmp_path, kind="file") -> ResolvedInput:
    """Store two bytes as a committed output."""
    source = tmp_path / "source"
    source.write_bytes(b"ab")
    stored = store.put_file(f"{PREFIX}/outputs/o/o.bin", source)
    file = CommittedFile(path="o.bin", size=2, sha256=stored.sha256, etag=stored.etag)
    return resolved_from(
        CommittedOutput(name="o", kind=kind, prefix=f"{PREFIX}/outputs/o", files=(file,))
    )


def resolved_from(output: CommittedOutput) -> ResolvedInput:
    """Name a committed output as an input is resolved to it."""
    pointer = Pointer(
        pipeline="p",
        step="s",
        partition="2013-01-01",
        run="r",
        token=Token(order=1, attempt=1),
        attempt_prefix=PREFIX,
        outputs={output.name: output},
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
