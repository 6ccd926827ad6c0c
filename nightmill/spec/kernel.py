"""Kernels: a folder below kernels/ with a lock file is one.

A folder with only a requirements.in waits to be locked. Installing kernels is the runner's work;
this module only knows what there is, so that Airflow can check names without the runner's packages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from nightmill.errors import KernelError, SpecError
from nightmill.spec.problems import shown, suggest
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml

LOCK = "requirements.txt"
REQUIREMENTS = "requirements.in"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)  # what Jupyter accepts

_Found = TypeVar("_Found")


class KernelFile(BaseModel):
    """The optional kernel.yaml beside the lock."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    display_name: str | None = None
    env: Mapping[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A locked environment; two kernels with the same `lock_sha256` have the same packages."""

    name: str
    folder: Path
    lock_sha256: str
    display_name: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.folder / LOCK


def kernel_folders(root: Path) -> list[Path]:
    """List the folders of kernels/ that hold a lock, by name."""
    return sorted(lock.parent for lock in (root / "kernels").glob(f"*/{LOCK}"))


def lockable_folders(root: Path) -> list[Path]:
    """List the folders of kernels/ that hold a requirements.in, locked or not, by name."""
    return sorted(file.parent for file in (root / "kernels").glob(f"*/{REQUIREMENTS}"))


def unlocked_folders(root: Path) -> dict[str, Path]:
    """Find the folders that hold a requirements.in and no lock, by name."""
    folders = lockable_folders(root)
    return {folder.name: folder for folder in folders if not (folder / LOCK).exists()}


def not_locked(folder: Path) -> KernelError:
    """Return the error of whoever needs a kernel that was never locked."""
    advice = f"run `nightmill kernels lock {folder.name}`"
    return KernelError(f"kernel {folder.name} is not locked yet", where=str(folder), advice=advice)


def check_name(folder: Path) -> None:
    """Raise KernelError if a kernel cannot be called as its folder is."""
    if not _NAME.fullmatch(folder.name):
        raise KernelError(
            f"{shown(folder.name)} is no valid name for a kernel",
            where=str(folder),
            advice="use at most 63 letters, digits, `_`, `-` and `.`",
        )


def load_kernel(folder: Path) -> Kernel:
    """Read one kernel; raises SpecError for its kernel.yaml and KernelError for the rest."""
    check_name(folder)
    try:
        lock = (folder / LOCK).read_bytes()
    except OSError as error:
        raise KernelError(
            f"its lock cannot be read: {error.strerror}", where=str(folder / LOCK)
        ) from error
    settings = folder / "kernel.yaml"
    made = validate(KernelFile, read_yaml(settings)) if settings.exists() else KernelFile()
    return Kernel(
        name=folder.name,
        folder=folder,
        lock_sha256=hashlib.sha256(lock).hexdigest(),
        display_name=made.display_name or folder.name,
        env=made.env,
    )


def load_kernels(root: Path) -> dict[str, Kernel]:
    """Read all kernels of a project, by name."""
    return {folder.name: load_kernel(folder) for folder in kernel_folders(root)}


def load_kernels_kindly(root: Path) -> tuple[dict[str, Kernel], dict[Path, SpecError]]:
    """Read what can be read, and say of each broken kernel.yaml what is wrong."""
    kernels: dict[str, Kernel] = {}
    errors: dict[Path, SpecError] = {}
    for folder in kernel_folders(root):
        try:
            kernels[folder.name] = load_kernel(folder)
        except SpecError as error:
            errors[folder / "kernel.yaml"] = error
        except KernelError as error:
            errors[folder] = SpecError(error.problem, file=folder, advice=error.advice)
    return kernels, errors


def find_kernel(kernels: Mapping[str, _Found], name: str) -> _Found:
    """Find a kernel, or its folder, by name; raises KernelError that tells what there is."""
    if name not in kernels:
        raise KernelError(
            f"unknown kernel {shown(name)}", advice=suggest(name, kernels, noun="kernels")
        )
    return kernels[name]
