"""What a replay cannot vouch for: files beside the notebook that are no part of its code.

A record knows the hashes of notebook, modules, pipeline.yaml and the kernel's lock, and a bundle
has these alone, since nobody knows what else a notebook reads. Where such files are told of, git
is the witness: it knows what was committed, though not what it was told to ignore.
"""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

from nightmill.replay.code import FoundCode, Place, git, is_commit, told
from nightmill.spec.record import Code, Record

CODE = "notebook, modules, pipeline.yaml and the kernel's lock"

_NAMED = 5


def beside(record: Record, found: FoundCode, root: Path) -> tuple[str, ...]:
    """Say which files in the notebook's folder may not be those of then; nothing if git says so.

    `root` is the project in which the replay was asked for.
    """
    if record.code is None:
        return ()
    commit = told(record.code.git_commit)
    if found.place is Place.COMMIT:
        others = f"the working tree of then was not {commit}: files beside the code may differ"
        return (others,) if record.code.git_dirty else ()
    names = _others(found, _names(record.code, root, found.place))
    if found.place is Place.TREE:
        return (f"not as in {commit}, and read as they are now: {names}",) if names else ()
    if names:
        return (f"beside the notebook in {commit}, and missing in this replay: {names}",)
    return ("files beside the notebook that are no code, if there were any, are missing",)


def _names(code: Code, root: Path, place: Place) -> list[str]:
    """Ask git for files in the notebook's folder: what has changed since, or what was there then.

    Nothing where git cannot tell.
    """
    if code.git_commit is None or not is_commit(code.git_commit):
        return []
    folder = PurePosixPath(code.notebook).parent.as_posix()
    if place is Place.TREE:
        asked = [
            ("diff", "--name-only", "--relative", "-z", code.git_commit),
            ("ls-files", "--others", "--exclude-standard", "-z"),
        ]
    else:
        asked = [("ls-tree", "-r", "--name-only", "-z", code.git_commit)]
    try:
        found = "".join(git(root, *question, "--", folder) for question in asked)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return []
    return [name.removeprefix(f"{folder}/") for name in found.split("\0") if name]


def _others(found: FoundCode, names: list[str]) -> str:
    """List them without what is known by its hash, notebooks of other steps, and what is hidden."""
    notebooks = {found.pipeline.notebook(step).name for step in found.pipeline.spec.steps}
    known = {found.pipeline.file.name, *notebooks}
    others = sorted(
        name
        for name in set(names) - known
        if not name.endswith(".py")  # every one of them is a module
        and not any(part.startswith((".", "__")) for part in PurePosixPath(name).parts)
    )
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return ", ".join(others[:_NAMED]) + more
