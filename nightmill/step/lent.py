"""Committed files that a notebook reads where they lie, and whether it left them as they were.

A notebook gets links to them, in its own scratch folder: what it removes, renames or replaces there
is the link. A write through a link is refused by the mode of committed files, but not to root; so
they are looked at before the notebook and after it, and nothing is committed by a notebook that
changed one. Small inputs are copied and need none of this (see `staging`).

A look is a `stat`, since hashing many GB a second time would cost every night what helps in none.
Where it says that something is different, the hash decides: a file that was only touched is whole.
Not always a copy, because a scratch folder may be small, or in memory; no hard link, because one
can be written through as well and needs the same file system; no reflink, because few file systems
have it and scratch and store are seldom on the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightmill.causes import Cause
from nightmill.errors import NightmillError
from nightmill.spec.record import Failure
from nightmill.step.hashing import file_sha256
from nightmill.store.inputs import Version

_NAMED = 3


class HarmedInputError(NightmillError):
    """The notebook changed committed files that it was given to read."""

    cause = Cause.CHECK_FAILED


@dataclass(frozen=True)
class _File:
    """A file as it was before the notebook; `name` is that of the input."""

    name: str
    path: Path
    version: Version
    sha256: str
    seen: tuple[int, ...]

    def is_harmed(self) -> bool:
        """Whether its bytes are not there any more."""
        try:
            return _look(self.path) != self.seen and file_sha256(self.path) != self.sha256
        except OSError:
            return True


class Lent:
    """The files that an attempt lends to its notebook."""

    def __init__(self) -> None:
        self._files: list[_File] = []

    def lend(self, name: str, path: Path, link: Path, version: Version, sha256: str) -> None:
        """Link a committed file into the scratch folder, and remember how it looks.

        To be called before its hash is compared, so that no change comes between the two.
        """
        seen = _look(path)
        link.symlink_to(path)
        self._files.append(_File(name, path, version, sha256, seen))

    def check(self) -> None:
        """Raise HarmedInputError that names what the notebook changed, and what to do."""
        if harmed := list(self._harmed()):
            raise _error(harmed)

    def warnings(self, failure: Failure | None) -> tuple[str, ...]:
        """Say the same beside a failure, which stays what the attempt failed of."""
        harmed = list(self._harmed()) if failure else []
        return (" ".join(str(_error(harmed)).split()),) if harmed else ()

    def _harmed(self) -> Iterator[_File]:
        return (file for file in self._files if file.is_harmed())


def _look(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _error(harmed: list[_File]) -> HarmedInputError:
    made: dict[str, str] = {}
    for file in harmed:
        pointer = file.version.pointer
        of = f"{pointer.pipeline}.{file.version.output.name} {pointer.partition}"
        command = f"nightmill run {pointer.pipeline} --partition {pointer.partition}"
        made[f"{of} (run {pointer.run})"] = f"`{command} --step {pointer.step} --rerun`"
    commands = ", ".join(dict.fromkeys(made.values()))
    paths = ", ".join(str(file.path) for file in harmed[:_NAMED])
    more = f" and {len(harmed) - _NAMED} more" if len(harmed) > _NAMED else ""
    return HarmedInputError(
        f"the notebook changed committed files of {', '.join(made)}",
        where=f"input {', '.join(dict.fromkeys(file.name for file in harmed))}",
        # What to do comes first: a long message is cut.
        advice=f"write only to addresses of outputs, and make the input again: {commands}; "
        f"changed: {paths}{more}",
    )
