"""Files that take their place in one rename: a reader sees the old bytes or the new."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from nightmill.errors import StoreError
from nightmill.store.files import Readable, hashed_copy, sync_directory
from nightmill.store.keys import RESERVED

_MKDIR_TRIES = 10

_Done = TypeVar("_Done")


def replace_file(
    path: Path,
    source: Readable,
    *,
    guard: AbstractContextManager[None],
    mode: int = 0o666,
    beside: Path | None = None,
) -> tuple[int, str]:
    """Fill an unfinished file, make it durable, and move it to its place inside the guard.

    It lies beside its place, or beside another path. Returns the size in bytes and the SHA-256 in
    hex.
    """
    descriptor, unfinished = _create_beside(beside or path, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            result = hashed_copy(source, file)
            file.flush()
            os.fsync(file.fileno())
        with guard:
            _in_folder(path.parent, partial(unfinished.replace, path))
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return result


def _create_beside(path: Path, mode: int) -> tuple[int, Path]:
    unfinished = path.with_name(f"{RESERVED}-{uuid4().hex}")
    create = partial(os.open, unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    return _in_folder(path.parent, create), unfinished


def _in_folder(folder: Path, do: Callable[[], _Done]) -> _Done:
    """Make a directory and do something in it, anew where a delete finds it empty in between.

    It may also be one above that is gone, or the very one that seemed to be there.
    """
    for tries_left in range(_MKDIR_TRIES - 1, -1, -1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return do()
        except FileNotFoundError:
            continue
        except FileExistsError:  # else a file stands there
            if not tries_left:
                raise
    raise StoreError(
        "the directory is removed as often as it is made",
        address=str(folder),
        operation="write",
        advice="see what else deletes there",
    )
