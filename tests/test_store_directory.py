"""The directory store: atomic on disk, safe between processes, and clear when the disk refuses."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from nightmill.errors import FencedError, StoreError
from nightmill.store.directory import DirectoryStore
from nightmill.store.pointer import Pointer, Token, commit, read_pointer

NOBODY = 65534


@pytest.fixture
def directory(tmp_path):
    """Open an empty directory store."""
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def public_path():
    """Make a directory that other users reach, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="nm-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 1 MiB, full of nothing."""
    mount = shutil.which("mount")
    target = tmp_path / "disk"
    target.mkdir()
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(target)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def run_in_process(statements: str, root: Path) -> dict[str, str]:
    """Run statements on `store` in another process, and return the StoreError they raise."""
    code = f"""
import json, os, resource
from pathlib import Path
from nightmill.errors import StoreError
from nightmill.store.directory import DirectoryStore
store = DirectoryStore(Path({str(root)!r}))
try:
    {statements}
except StoreError as error:
    print(json.dumps(vars(error) | {{"text": str(error)}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def unfinished(root: Path) -> list[Path]:
    return [path for path in root.rglob(".nightmill-*") if path.is_file()]


def test_committed_files_are_read_only(directory, tmp_path):
    """Nobody scribbles on an output: its file is read-only, whatever the source was."""
    source = tmp_path / "source"
    source.write_bytes(b"x")
    source.chmod(0o777)
    directory.put_file("runs/x/outputs/o/f", source)
    mode = directory.local_path("runs/x/outputs/o/f").stat().st_mode
    assert stat.S_IMODE(mode) & 0o333 == 0
    directory.put_file("runs/x/outputs/o/f", source)


def test_records_follow_the_umask(directory):
    """Records and pointers are as readable to others as the user's files are."""
    umask = os.umask(0o027)
    try:
        directory.write("record.json", b"{}")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(directory.local_path("record.json").stat().st_mode) == 0o640


def test_unfinished_files_are_not_listed(directory):
    """What a killed writer left behind is neither an object nor a child."""
    directory.write("a/b", b"x")
    (directory.local_path("a/b").parent / ".nightmill-1234").write_bytes(b"half")
    assert [entry.key for entry in directory.list("")] == ["a/b"]
    assert directory.children("a") == ["b"]
    assert directory.children("") == ["a"]


def test_keys_are_sorted_as_bytes(directory):
    """The order is that of whole keys, as in S3, and not of directory after directory."""
    for key in ("a/b", "a-b", "a.json", "ab", "a/c/d"):
        directory.write(key, b"")
    expected = ["a-b", "a.json", "a/b", "a/c/d", "ab"]
    assert [entry.key for entry in directory.list("")] == expected
    for start in ("a", "a-b", "a/", "a/b", "a/bb", "a/c", "a/c/d", "ab"):
        after = [key for key in expected if key > start]
        assert [entry.key for entry in directory.list("", start_after=start)] == after


def test_deleting_leaves_no_empty_directories(directory):
    """Deleting the last object below a prefix removes the prefix, and nothing above the root."""
    directory.write("runs/a/b/c", b"")
    directory.delete("runs/a/b/c")
    assert directory.children("") == []
    assert Path(directory.url).is_dir()


@pytest.mark.parametrize(("removals", "written"), [(1, True), (3, True), (1000, False)])
def test_a_directory_removed_under_a_writer_is_made_again(
    directory, monkeypatch, removals, written
):
    """A delete that takes away the empty directory just then costs a writer another try."""
    create, left = os.open, iter(range(removals))

    def remove_then_create(path, flags, mode=0o777):
        if flags & os.O_EXCL and next(left, None) is not None:
            Path(path).parent.rmdir()
        return create(path, flags, mode)

    monkeypatch.setattr(os, "open", remove_then_create)
    if written:
        directory.write("d/k", b"x")
        assert directory.read("d/k").data == b"x"
    else:
        with pytest.raises(StoreError, match="removed as often as it is made"):
            directory.write("d/k", b"x")


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_directory_that_goes_while_it_is_made_is_made_again(directory, monkeypatch, error):
    """It may be the one above that is removed just then, or the one that stood there before."""
    target, make, left = Path(directory.url, "d/e"), os.mkdir, iter(range(3))

    def made_and_removed(path, mode=0o777):
        if Path(path) == target and next(left, None) is not None:
            raise error(path)
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", made_and_removed)
    directory.write("d/e/k", b"x")
    assert directory.read("d/e/k").data == b"x"


def test_a_directory_that_goes_before_a_copy_is_made_again(directory, tmp_path, monkeypatch):
    """A copy is made elsewhere, so nothing holds its directory until it is moved there."""
    (tmp_path / "f").write_bytes(b"x")
    source = directory.put_file("runs/f", tmp_path / "f")
    move, left = os.replace, iter(range(3))

    def remove_then_move(path, target):
        if next(left, None) is not None:
            Path(target).parent.rmdir()
        move(path, target)

    monkeypatch.setattr(os, "replace", remove_then_move)
    directory.copy_if("data/d/f", source, etag=None)
    assert directory.read("data/d/f").data == b"x"


def test_writers_and_deleters_do_not_trip_each_other(directory):
    """A directory that is removed because it was empty is made again by the next writer."""
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=processes) as pool:
        writes = [pool.submit(directory.write, f"d/e/{number}", b"") for number in range(200)]
        deletes = [pool.submit(directory.delete, f"d/e/{number}") for number in range(200)]
        for each in (*writes, *deletes):
            each.result()


def test_processes_race_as_threads_do(directory):
    """Commits of several processes are fenced and serialized like those of one."""

    def pointer(order: int, race: int) -> Pointer:
        return Pointer(
            pipeline="p",
            step="s",
            partition=str(race),
            run=f"run-{order}",
            token=Token(order=order, attempt=1),
            attempt_prefix="x",
            outputs={},
        )

    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=processes) as pool:
        ends = {
            (order, race): pool.submit(commit, directory, pointer(order, race))
            for race in range(40)
            for order in (2, 1, 4, 3)
        }
    for race in range(40):
        assert read_pointer(directory, "p", "s", str(race)).token.order == 4
        assert ends[4, race].exception() is None
    assert all(isinstance(end.exception(), FencedError | None) for end in ends.values())
    assert unfinished(Path(directory.url)) == []


def test_a_killed_writer_leaves_old_or_new(directory):
    """Killing a writer at any moment leaves a whole object, and nothing else in the listing."""
    code = (
        "from pathlib import Path; from nightmill.store.directory import DirectoryStore\n"
        f"store = DirectoryStore(Path({directory.url!r}))\n"
        "while True:\n"
        "    for letter in b'ab':\n"
        "        store.write('k', bytes([letter]) * 3_000_000)\n"
        "        print(flush=True)\n"
    )
    for count in (1, 2, 5):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
            for _ in range(count):
                writer.stdout.readline()
            writer.kill()
        data = directory.read("k").data
        assert data in {b"a" * 3_000_000, b"b" * 3_000_000}
        assert [entry.key for entry in directory.list("")] == ["k"]
        directory.write("k", data)  # no lock outlives its process


def test_a_full_disk_is_told_with_what_is_free(small_disk, tmp_path):
    """On a full disk the error says so and counts the free bytes; the old object stays whole."""
    store = DirectoryStore(small_disk / "store")
    store.write("record.json", b"old")
    big = tmp_path / "big"
    big.write_bytes(bytes(2 << 20))
    for act in (
        lambda: store.write("record.json", bytes(2 << 20)),
        lambda: store.put_file("file", big),
        lambda: DirectoryStore(tmp_path).get_file("big", small_disk / "target"),
    ):
        with pytest.raises(StoreError, match="disk is full") as raised:
            act()
        assert "bytes are free" in raised.value.advice
        assert str(small_disk) in str(raised.value)
    assert store.read("record.json").data == b"old"
    assert [entry.key for entry in store.list("")] == ["record.json"]
    assert unfinished(small_disk) == []


def test_a_read_only_disk_is_named(small_disk):
    """A read-only file system is an error of the store that says what it is."""
    store = DirectoryStore(small_disk / "store")
    store.write("k", b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="read-only file system"):
        store.preflight()
    assert store.read("k").data == b"old"


def test_a_limit_on_file_size_is_named(directory):
    """A process that may not write large files says so and leaves the old object."""
    directory.write("k", b"old")
    error = run_in_process(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); store.write('k', bytes(8192))",
        Path(directory.url),
    )
    assert error["problem"] == "file too large"
    assert "ulimit -f" in error["advice"]
    assert directory.read("k").data == b"old"
    assert unfinished(Path(directory.url)) == []


@pytest.mark.parametrize(
    "act", ["store.write('a/k', b'new')", "store.delete('a/k')", "store.preflight()"]
)
def test_a_directory_without_permission_is_named(public_path, act):
    """Without permission the error names the path, and says what to do; nothing is changed."""
    DirectoryStore(public_path).write("a/k", b"old")
    for path in (public_path, *public_path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    as_nobody = f"os.getuid() or os.setuid({NOBODY})"
    error = run_in_process(f"{as_nobody}; {act}", public_path)
    assert error["problem"] == "permission denied"
    assert error["address"].startswith(str(public_path))
    assert "right" in error["advice"]
    assert DirectoryStore(public_path).read("a/k").data == b"old"


def test_an_unreadable_object_is_no_missing_object(public_path):
    """An object that may not be read is an error; it does not count as not committed."""
    DirectoryStore(public_path).write("k", b"secret")
    (public_path / "k").chmod(0o000)
    error = run_in_process(
        f"os.getuid() or os.setuid({NOBODY}); print(store.read('k'))", public_path
    )
    assert (error["problem"], error["operation"]) == ("permission denied", "read")


def test_a_file_where_a_directory_is_needed_is_named(tmp_path):
    """A store whose path is a file, or leads through one, says so."""
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError) as raised:
            DirectoryStore(root).write("k", b"")
        assert str(tmp_path / "file") in str(raised.value)
        with pytest.raises(StoreError, match="not a directory"):
            list(DirectoryStore(root).list(""))


def test_an_object_where_a_prefix_is_needed_is_named(directory):
    """Below an object there can be no other in a directory, and the error says why."""
    directory.write("a", b"")
    with pytest.raises(StoreError) as raised:
        directory.write("a/b", b"")
    assert "rename" in raised.value.advice


def test_a_name_too_long_for_the_disk_is_named(directory):
    """A file name longer than the disk allows is an error that says to shorten it."""
    with pytest.raises(StoreError, match="file name too long") as raised:
        directory.write("a/" + "x" * 300, b"")
    assert "shorten" in raised.value.advice


def test_links_to_a_larger_disk_are_followed(directory, tmp_path):
    """An operator may put a part of the store on another disk by a link."""
    (tmp_path / "other").mkdir()
    Path(directory.url).mkdir()
    (Path(directory.url) / "runs").symlink_to(tmp_path / "other")
    directory.write("runs/a/b", b"x")
    assert (tmp_path / "other" / "a" / "b").read_bytes() == b"x"
    assert [entry.key for entry in directory.list("")] == ["runs/a/b"]
