"""What a kernel's requirements.in asks for and its lock does not hold.

Nothing but the two files is needed, so this also knows locks that were made by other tools. Where
only uv could tell (included files, links without a name, extras, overrides) nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nightmill.spec.kernel import LOCK, REQUIREMENTS

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_OVERRIDES = "overrides.txt"
_CONTINUED = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"(^|\s)#.*")
_OPTIONS = re.compile(r"\s--\S.*")  # the hashes of a pin


def unmet(folder: Path) -> list[str]:
    """Name the requirements that the lock, on this machine's Python, does not meet."""
    locked = list(_requirements(folder / LOCK))
    free = {_key(each) for each in _requirements(folder / _OVERRIDES, here=False)}
    return [
        f"{each.name}{each.specifier}"
        for each in _requirements(folder / REQUIREMENTS)
        if _key(each) not in free and not _is_met(each, locked)
    ]


def _is_met(wanted: Requirement, locked: list[Requirement]) -> bool:
    return any(_key(pin) == _key(wanted) and _fits(wanted, pin) for pin in locked)


def _fits(wanted: Requirement, pin: Requirement) -> bool:
    """Whether a pin will do; one that names no single version, but an address, always does."""
    exact = (each.version for each in pin.specifier if each.operator == "==")
    versions = [version for version in exact if not version.endswith("*")]
    return all(wanted.specifier.contains(version, prereleases=True) for version in versions)


def _requirements(file: Path, *, here: bool = True) -> Iterator[Requirement]:
    """Read what can be read of a file, and where it is for `here` only what counts here."""
    try:
        from packaging.requirements import Requirement  # noqa: PLC0415 - not in every installation
    except ModuleNotFoundError:  # it comes with the runner, and so does uv
        return
    text = file.read_text(encoding="utf-8-sig", errors="replace") if file.is_file() else ""
    for line in _CONTINUED.sub(" ", text).splitlines():
        with suppress(ValueError):  # empty, an option, a link, or for uv to refuse
            found = Requirement(_OPTIONS.sub("", _COMMENT.sub("", line)).strip())
            if not here or found.marker is None or found.marker.evaluate():
                yield found


def _key(requirement: Requirement) -> str:
    """Return the name that all its spellings share."""
    from packaging.utils import canonicalize_name  # noqa: PLC0415 - see above

    return canonicalize_name(requirement.name)
