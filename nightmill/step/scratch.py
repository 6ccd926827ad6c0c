"""The attempt's folder on the local disk, and what is said when that disk fails.

Most are gone with their attempt. One is kept when the store did not take all of it; `leftovers`
finds those, and tells them from folders in use by the lock that each owner holds.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from nightmill.errors import StoreError

PREFIX = "nightmill-"
_VARIABLE = "NIGHTMILL_SCRATCH"


def make_scratch() -> Path:
    """Make a new folder, below $NIGHTMILL_SCRATCH where that is set; raises StoreError."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch_parent()))
        _hold(scratch)
    except OSError as error:
        raise disk_error(error) from error
    return scratch


def scratch_parent() -> Path:
    """Name the folder that attempts make theirs in."""
    return Path(os.environ.get(_VARIABLE) or tempfile.gettempdir())


def _hold(scratch: Path) -> None:
    """Lock the folder for as long as this process lives, however it ends."""
    descriptor = os.open(scratch, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks: then it is never taken for a leftover
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def disk_error(error: OSError) -> StoreError:
    """Return what an error of the local disk means to the operator."""
    return StoreError(
        f"the local disk failed: {error.strerror or error}",
        address=str(error.filename or tempfile.gettempdir()),
        operation="write",
        advice=f"free some space, or set {_VARIABLE} to a folder on a larger disk",
    )


def with_place(error: StoreError, scratch: Path) -> StoreError:
    """Say where the work of hours lies that the store did not take."""
    place = f"the attempt's files are in {scratch}"
    error.advice = "; ".join(filter(None, [error.advice, place]))
    return error
