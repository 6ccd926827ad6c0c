"""Folders left on this machine: of replays, and of attempts whose files the store did not take.

Apart from the attempt because only housekeeping asks for them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nightmill.step.scratch import PREFIX, disk_error, scratch_parent


@dataclass(frozen=True)
class Leftover:
    """A folder that nobody is at work in: files, bytes, and when the last of them changed."""

    path: Path
    files: int
    size: int
    changed: datetime


def leftovers(older_than: timedelta) -> Iterator[Leftover]:
    """Find this user's folders whose owner is gone and in which nothing changed for so long."""
    for path in sorted(scratch_parent().glob(f"{PREFIX}*")):
        with suppress(OSError):  # gone meanwhile, or not ours to read
            found = _measure(path) if _is_ours(path) else None
            if found and datetime.now(UTC) - found.changed > older_than and not _is_held(path):
                yield found


def unchanged(parent: Path, older_than: timedelta) -> Iterator[Leftover]:
    """Find the folders of a folder in which nothing changed for so long."""
    for path in sorted(parent.glob("*")):
        with suppress(OSError):
            found = _measure(path) if _is_ours(path) else None
            if found and datetime.now(UTC) - found.changed > older_than:
                yield found


def remove(leftover: Leftover) -> None:
    """Delete such a folder; raises StoreError where the disk refuses."""
    try:
        shutil.rmtree(leftover.path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise disk_error(error) from error


def _is_ours(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.lstat().st_uid == os.getuid()


def _is_held(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _measure(folder: Path) -> Leftover:
    files, size, changed = 0, 0, folder.stat().st_mtime
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            stat = path.lstat()
            files, size = (files + 1, size + stat.st_size) if path.is_file() else (files, size)
            changed = max(changed, stat.st_mtime)
    return Leftover(folder, files, size, datetime.fromtimestamp(changed, UTC))
