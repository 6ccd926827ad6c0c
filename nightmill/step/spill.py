"""Files for what is too large for a notebook: redacted, written as it comes, never in memory.

The files lie on the scratch disk; the supervisor brings them to the store, where their addresses
lead. The scratch disk is shared with the step's own work, so there is an end to spilling too, and
an error of the disk costs the spilled file and never the cell.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nightmill.spec.words import amount

MOST_BYTES = 1 << 30
"""For all spilled files of a notebook: a pod that fills its disk is evicted, with all it has."""


@dataclass(frozen=True)
class SpillTo:
    """The folder that spilled files are written to, and the address where readers find it."""

    folder: Path
    address: str


class SpillFile:
    """One spilled file. `lost` says why it could not be kept, empty if it could."""

    def __init__(self, spills: Spills, name: str) -> None:
        self.name = name
        self.size = 0
        self.left_out = 0
        self.lost = ""
        self._spills = spills
        self._handle: IO[bytes] | None = None

    @property
    def address(self) -> str:
        """Where readers find the file."""
        return f"{self._spills.address}/{self.name}"

    def write(self, text: str) -> None:
        """Append text that holds no secret."""
        self.write_bytes(text.encode(errors="replace"))

    def write_bytes(self, data: bytes) -> None:
        """Append bytes that hold no secret, as far as there is room."""
        room = max(0, MOST_BYTES - self._spills.size)
        self.left_out += max(0, len(data) - room)
        kept = data[:room]
        if self.lost or not kept:
            return
        try:
            if self._handle is None:
                self._handle = self._spills.open(self.name)
            self._handle.write(kept)
            self._count(len(kept))
        except OSError as error:
            self._lose(error)

    def close(self) -> None:
        """Finish the file; writing more opens it again."""
        try:
            if self._handle is not None:
                self._handle.close()
        except OSError as error:
            self._lose(error)
        self._handle = None

    def remove(self) -> None:
        """Take the file away: what it holds is shown no more."""
        self.close()
        self._spills.remove(self.name)
        self._count(-self.size)

    def _count(self, size: int) -> None:
        self.size += size
        self._spills.size += size

    def _lose(self, error: OSError) -> None:
        self.lost = error.strerror or str(error)
        if self._handle is not None:
            with suppress(OSError):  # it flushes once more
                self._handle.close()
            self._handle = None
        self.remove()  # on a full disk every byte counts


class Spills:
    """Makes the spilled files of one notebook; `size` is what they take together, in bytes."""

    def __init__(self, to: SpillTo | None) -> None:
        self.size = 0
        self._to = to
        self._made: dict[int, int] = {}

    @property
    def address(self) -> str:
        """Where readers find the files; empty where nothing is spilled."""
        return self._to.address.rstrip("/") if self._to else ""

    def make(self, number: int, extension: str) -> SpillFile | None:
        """Begin the next file of a cell; None where there is no place for such files."""
        if self._to is None:
            return None
        self._made[number] = self._made.get(number, 0) + 1
        return SpillFile(self, f"cell-{number}-{self._made[number]}.{extension}")

    def open(self, name: str) -> IO[bytes]:
        """Open a file to append to; raises OSError."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    def remove(self, name: str) -> None:
        """Remove a file, if it was ever written."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if self._to is None:
            raise ValueError("there is no place for spilled files")
        return self._to.folder / name


def note(what: str, file: SpillFile | None) -> str:
    """Say in the place of something that it is left out there, and where it is instead."""
    if file is None:
        where = ""
    elif file.lost:
        where = f"; it could not be kept: {file.lost}"
    elif file.left_out:
        where = f"; its first {amount(file.size)}: {file.address}"
    else:
        where = f"; the whole: {file.address}"
    return f"[Nightmill left out {what} here{where}]"
