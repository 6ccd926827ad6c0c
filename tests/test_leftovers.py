"""Scratch folders that attempts left on this machine, told from those in use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from nightmill.step.leftovers import leftovers, remove
from nightmill.step.scratch import make_scratch

WEEK = timedelta(days=7)
_OWNER = """
import sys
from nightmill.step.scratch import make_scratch
print(make_scratch(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Give attempts a place of their own on the disk."""
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(tmp_path))
    return tmp_path


def age(folder, days: float) -> None:
    """Let a folder and all in it look as if it had not changed for so many days."""
    then = time.time() - days * 86400
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


def left(scratch, name: str, *, days: float):
    """Leave the folder of an attempt whose process is gone."""
    folder = scratch / f"nightmill-{name}"
    (folder / "outputs").mkdir(parents=True)
    (folder / "notebook.ipynb").write_bytes(b"12345")
    (folder / "outputs" / "a").write_bytes(b"123")
    age(folder, days)
    return folder


def test_old_folders_whose_owner_is_gone_are_found_with_their_size(scratch):
    """What is older than the span is found; the young, files and other names are not."""
    old = left(scratch, "old", days=8)
    left(scratch, "young", days=6)
    (scratch / "nightmill-file").write_bytes(b"")
    (scratch / "other").mkdir()
    (found,) = leftovers(WEEK)
    assert (found.path, found.files, found.size) == (old, 2, 8)


def test_one_fresh_file_makes_a_folder_young(scratch):
    """What somebody still looks at or writes to stays."""
    folder = left(scratch, "a", days=8)
    os.utime(folder / "outputs" / "a")
    assert list(leftovers(WEEK)) == []


def test_a_link_is_no_folder_of_ours(scratch, tmp_path_factory):
    """A symbolic link with such a name is not followed, and what it leads to stays."""
    elsewhere = left(tmp_path_factory.mktemp("elsewhere"), "a", days=8)
    (scratch / "nightmill-link").symlink_to(elsewhere)
    assert list(leftovers(WEEK)) == []


def test_a_folder_is_held_until_its_process_ends_however_it_ends(scratch):
    """An attempt that runs for weeks keeps its folder; killed, it holds nothing any more."""
    command = [sys.executable, "-c", _OWNER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        folder = scratch / Path(owner.stdout.readline().strip()).name
        assert folder.is_dir()
        age(folder, 30)
        assert list(leftovers(WEEK)) == []
        owner.kill()
    (found,) = leftovers(WEEK)
    assert found.path == folder


def test_a_process_holds_its_own_folder_too(scratch):
    """Housekeeping within the process that runs an attempt would not take it."""
    age(make_scratch(), 30)
    assert list(leftovers(WEEK)) == []
    assert len(list(scratch.iterdir())) == 1


def test_a_leftover_is_removed_whole_and_only_once(scratch):
    """Removing it again is no error: two may do it at once."""
    folder = left(scratch, "a", days=8)
    (found,) = leftovers(WEEK)
    remove(found)
    remove(found)
    assert not folder.exists()
