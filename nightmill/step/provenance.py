"""What code ran: hashes of the notebook and its modules, the git commit, the image.

In an image there is no git: the build writes commit and image into the environment.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from nightmill.spec.record import Code
from nightmill.step.hashing import file_sha256

_COMMIT_VARIABLE = "NIGHTMILL_GIT_COMMIT"
_IMAGE_VARIABLE = "NIGHTMILL_IMAGE"
_GIT_S = 10  # a folder on a network drive may hang, and nothing hears a stop meanwhile
_DIRTY = "-dirty"  # as `git describe --dirty` writes it


def describe_code(notebook: Path, root: Path) -> Code:
    """Return the identity of a notebook and of every module it may import from the project."""
    commit, dirty = _git_state(root)
    modules = sorted({*notebook.parent.rglob("*.py"), *(root / "notebooks").glob("*.py")})
    return Code(
        notebook=_relative(notebook, root),
        notebook_sha256=file_sha256(notebook),
        modules={
            _relative(path, root): file_sha256(path)
            for path in modules
            if path != notebook and path.is_file()  # not an editor's lock, a link to nowhere
        },
        git_commit=commit,
        git_dirty=dirty,
        image=os.environ.get(_IMAGE_VARIABLE),
    )


def _git_state(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit and whether notebooks or kernels differ from it."""
    if built_from := os.environ.get(_COMMIT_VARIABLE):
        return built_from.removesuffix(_DIRTY), built_from.endswith(_DIRTY)
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    return commit, bool(_git(root, "status", "--porcelain", "--", "notebooks", "kernels"))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            # Without optional locks, asking for the state writes nothing into the repository.
            ["git", "--no-optional-locks", "-C", str(root), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=_GIT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
