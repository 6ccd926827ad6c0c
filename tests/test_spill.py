"""Files for what is too large for a notebook."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest

from nightmill.step import spill
from nightmill.step.spill import Spills, SpillTo, note


@pytest.fixture
def spills(tmp_path):
    """Make the spilled files of a notebook in a folder that does not exist yet."""
    return Spills(SpillTo(tmp_path / "scratch" / "spilled", "s3://b/a/spilled/"))


@contextmanager
def disk_of(size):
    """Let this process write no file larger than this: a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_files_are_named_by_cell_and_order(spills, tmp_path):
    """Each file has a name of its own, an address, and holds what was written, in UTF-8."""
    first, second, other = (spills.make(n, x) for n, x in [(3, "txt"), (3, "png"), (4, "html")])
    first.write("é")
    first.write("\ud800")
    first.close()
    second.write_bytes(b"\x89PNG")
    second.close()
    assert [file.name for file in (first, second, other)] == [
        "cell-3-1.txt",
        "cell-3-2.png",
        "cell-4-1.html",
    ]
    assert first.address == "s3://b/a/spilled/cell-3-1.txt"
    assert (first.size, spills.size) == (3, 7)
    folder = tmp_path / "scratch" / "spilled"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "cell-3-1.txt": "é?".encode(),
        "cell-3-2.png": b"\x89PNG",
    }


def test_without_a_place_nothing_is_spilled():
    """Plain papermill has no place for such files: there is none, and the note names none."""
    file = Spills(None).make(1, "txt")
    assert file is None
    assert note("3 MiB", file) == "[Nightmill left out 3 MiB here]"


def test_a_removed_file_gives_its_room_back(spills, tmp_path):
    """What was cleared takes no room, on the disk and in the budget."""
    file = spills.make(1, "txt")
    file.write("x" * 100)
    file.remove()
    assert spills.size == 0
    assert list((tmp_path / "scratch" / "spilled").iterdir()) == []
    file.write("y")
    file.close()
    assert spills.size == 1


def test_a_full_disk_costs_the_file_and_nothing_else(spills, tmp_path):
    """An error of the disk is remembered and told; nothing is raised, no half file stays."""
    file = spills.make(1, "txt")
    with disk_of(1000):
        for _ in range(100):
            file.write("x" * 1000)
        file.close()
    assert file.lost == "File too large"
    assert (file.size, spills.size) == (0, 0)
    assert list((tmp_path / "scratch" / "spilled").iterdir()) == []
    assert note("3 MiB", file).endswith("here; it could not be kept: File too large]")


def test_there_is_an_end_to_spilling(spills, monkeypatch):
    """The files of a notebook together stay within a limit, and the note says what is missing."""
    monkeypatch.setattr(spill, "MOST_BYTES", 1500)
    first, second = spills.make(1, "txt"), spills.make(2, "txt")
    first.write("x" * 1000)
    second.write("y" * 1000)
    second.write("z")
    first.close()
    second.close()
    assert (first.size, second.size, second.left_out) == (1000, 500, 501)
    assert note("3 MiB", second) == (
        "[Nightmill left out 3 MiB here; its first 500 B: s3://b/a/spilled/cell-2-1.txt]"
    )
