"""The attempt's folder on the local disk, and what is said when that disk fails."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nightmill.errors import StoreError

_VARIABLE = "NIGHTMILL_SCRATCH"


def make_scratch() -> Path:
    """Make a new folder, below $NIGHTMILL_SCRATCH where that is set; raises StoreError."""
    parent = os.environ.get(_VARIABLE) or None
    try:
        return Path(tempfile.mkdtemp(prefix="nightmill-", dir=parent))
    except OSError as error:
        raise disk_error(error) from error


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
