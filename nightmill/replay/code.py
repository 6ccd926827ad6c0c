"""The code of an attempt, found again: in the working tree, in git, or in the store's bundle.

Wherever it is found, it counts only if it has the very hashes of the record. A commit is read into
a folder through an index of its own, so that the repository and its working tree stay as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from nightmill.errors import NightmillError, UsageError
from nightmill.spec.kernel import LOCK
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.project import Project
from nightmill.spec.record import Code, Record
from nightmill.step.kept_code import bundle_code
from nightmill.store.bundle import Bundle, fetch, unpack
from nightmill.store.interface import Store

_SHORT = 10


class Place(Enum):
    """Where a replay runs: in the working tree, in all of a commit, or in code and nothing else."""

    TREE = auto()
    COMMIT = auto()
    APART = auto()


@dataclass(frozen=True)
class FoundCode:
    """The project as it was for the attempt. `origin` says for people where it was found."""

    project: Project
    pipeline: Pipeline
    bundle: Bundle
    origin: str
    place: Place


def find_code(
    record: Record, root: Path, store: Store, folder: Path, *, copy: bool = False
) -> FoundCode:
    """Find what an attempt ran; what is not in the working tree is written into the folder.

    With `copy` nothing is left where it is, so that a person may change what is found. Raises
    UsageError that tells where it was looked for.
    """
    wanted = _code(record)
    found = _same(record, root, "the working tree", Place.TREE)
    if found is not None:
        return _copied(record, found, folder) if copy else found
    commit = told(wanted.git_commit)
    if _check_out(wanted.git_commit, root, folder):
        found = _same(record, folder, commit, Place.COMMIT)
    if found is None and wanted.bundle:
        shutil.rmtree(folder, ignore_errors=True)
        bundle = fetch(store, wanted.bundle)
        found = _unpacked(record, bundle, folder) if bundle else None
    if found is None:
        raise UsageError(
            f"the code of {record.label} (attempt {record.attempt} of run {record.run}) is nowhere "
            f"as it was: not in the working tree, nor in {commit}, nor in the store",
            advice="fetch that commit (`git fetch`), or look at the executed notebook: "
            f"`nightmill show {record.run}`",
        )
    return found


def _code(record: Record) -> Code:
    if record.code is None or record.kernel is None:
        raise UsageError(
            f"{record.label} ended before its code and inputs were known: nothing of it ran",
            where=f"run {record.run}, attempt {record.attempt}",
            advice="run it: `nightmill run`",
        )
    return record.code


def _same(record: Record, root: Path, origin: str, place: Place) -> FoundCode | None:
    """Return the project below a folder if it is what the attempt ran."""
    try:
        project = Project.load(root)
        pipeline = project.pipeline(record.pipeline)
        if record.step not in pipeline.spec.steps:
            return None
        code, bundle = bundle_code(project, pipeline, record.step)
        lock = project.kernel(pipeline.spec.steps[record.step]).lock_sha256
    except (NightmillError, OSError):  # what is broken, or missing, is not what ran
        return None
    wanted, kernel = record.code, record.kernel
    if wanted is None or kernel is None or lock != kernel.lock_sha256:
        return None
    facts = {"notebook", "notebook_sha256", "modules", *(["bundle"] if wanted.bundle else [])}
    if code.model_dump(include=facts) != wanted.model_dump(include=facts):
        return None
    return FoundCode(project, pipeline, bundle, origin, place)


def _check_out(commit: str | None, root: Path, folder: Path) -> bool:
    """Write the project as it was in a commit; False where git cannot."""
    if not is_commit(commit):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="git-", dir=folder.parent) as apart:
        index = Path(apart, "index")
        try:
            place = git(root, "rev-parse", "--show-toplevel", "--show-prefix")
            top, prefix = place.split("\n")[:2]
            git(Path(top), "read-tree", f"{commit}:{prefix}", index=index)
            git(Path(top), "checkout-index", "--all", f"--prefix={folder}/", index=index)
        except (OSError, subprocess.CalledProcessError):
            return False
    return folder.is_dir()


def told(commit: str | None) -> str:
    """Name a commit for people."""
    return f"git commit {(commit or 'unknown')[:_SHORT]}"


def is_commit(text: str | None) -> bool:
    """Tell whether what a record calls a commit may be given to git."""
    return text is not None and re.fullmatch("[0-9a-f]{7,64}", text) is not None


def git(root: Path, *arguments: str, index: Path | None = None) -> str:
    """Ask git in a folder, and leave the repository as it is."""
    apart = {"GIT_INDEX_FILE": str(index)} if index else {}
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **apart},
    )
    return done.stdout


def _unpacked(record: Record, bundle: Bundle, folder: Path) -> FoundCode | None:
    unpack(bundle, folder)
    _fill_up(folder, record.pipeline)
    return _same(record, folder, "the bundle in the store", Place.APART)


def _copied(record: Record, found: FoundCode, folder: Path) -> FoundCode:
    """Copy what was found in the working tree, also what is too large for a bundle."""
    unpack(found.bundle, folder)
    for name in found.bundle.left_out:
        shutil.copyfile(found.project.root / name, folder / name)
    _fill_up(folder, record.pipeline)
    copied = _same(record, folder, found.origin, Place.APART)
    if copied is None:
        raise UsageError("the working tree has just changed", where=str(found.project.root))
    return copied


def _fill_up(root: Path, name: str) -> None:
    """Put empty files where the notebooks and kernels of other steps were: a bundle has none.

    A pipeline is read whole, and would miss them.
    """
    pipeline = Project.load(root).pipelines.get(name)
    if pipeline is None:  # its pipeline.yaml was too large for the bundle
        return
    for step, spec in pipeline.spec.steps.items():
        others = [pipeline.notebook(step)]
        others += [root / "kernels" / spec.kernel / LOCK] if spec.kernel else []
        for path in others:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
