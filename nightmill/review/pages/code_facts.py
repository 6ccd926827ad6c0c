"""What ran an attempt: the code with its place in git, and the locked environment."""

from __future__ import annotations

from nightmill.review.pages.fact import LISTED, Fact, Value, values_of
from nightmill.spec.record import Code, KernelRecord


class CodeFact(Fact):
    """What ran; `git` says in words which commit, and whether there were changes on top."""

    notebook: str
    notebook_sha256: str
    git: str
    bundle: str | None
    image: str | None
    files: tuple[Value, ...]
    files_left_out: int


class KernelFact(Fact):
    """The environment that ran it."""

    name: str
    lock_sha256: str
    python: str
    threads: int
    threads_from: str
    libraries: tuple[Value, ...]
    libraries_left_out: int


def code_of(code: Code) -> CodeFact:
    """Tell what code ran."""
    return CodeFact(
        **code.model_dump(include={"notebook", "notebook_sha256", "bundle", "image"}),
        git=_git(code),
        files=values_of(code.modules),
        files_left_out=max(len(code.modules) - LISTED, 0),
    )


def _git(code: Code) -> str:
    if code.git_commit is None:
        return "not in git"
    if code.git_dirty is None:
        return code.git_commit
    return f"{code.git_commit}, {'with changes not committed' if code.git_dirty else 'unchanged'}"


def kernel_of(kernel: KernelRecord) -> KernelFact:
    """Tell which environment ran it."""
    return KernelFact(
        **kernel.model_dump(exclude={"libraries"}),
        libraries=values_of(kernel.libraries),
        libraries_left_out=max(len(kernel.libraries) - LISTED, 0),
    )
