"""Kernel environments: one virtual environment a kernel, built from its lock by uv.

A folder of `kernels/` is a kernel; its environment lives in ``<home>/<name>-<key>``, where the key
is made of the lock's hash and the Python version, so that a changed lock is a new environment and
an old one stays usable. The same kernelspec serves JupyterLab and production: exploration and the
nightly run share one environment. Sits above `spec` (which knows the folders) and below the step
(which runs in them).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nightmill.errors import KernelError
from nightmill.spec.kernel import LOCK, REQUIREMENTS, Kernel

_HOME_VARIABLE = "NIGHTMILL_KERNELS"
_COMPLETE = "nightmill-complete"  # written last: an environment without it is rebuilt
_LINES_OF_UV = 15
_IPYKERNEL = re.compile(r"^ipykernel(?![\w.-])", re.MULTILINE)


@dataclass(frozen=True)
class KernelEnvironment:
    """The place of a kernel's environment, whether built yet or not."""

    kernel: Kernel
    path: Path

    @property
    def python(self) -> Path:
        """The interpreter that runs the notebook."""
        return self.path / "bin" / "python"

    @property
    def jupyter_path(self) -> Path:
        """The data folder whose `kernels/<name>` is this kernel's kernelspec."""
        return self.path / "share" / "jupyter"

    @property
    def installed(self) -> bool:
        """Whether the environment is whole."""
        return (self.path / _COMPLETE).is_file()

    def libraries(self) -> dict[str, str]:
        """Return name and version of every installed distribution, sorted by name."""
        site = self.path.glob("lib/python*/site-packages/*.dist-info/METADATA")
        found = dict(filter(None, map(_name_and_version, site)))
        return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _name_and_version(metadata: Path) -> tuple[str, str] | None:
    """Read the head of a METADATA file: parsing a hundred of them whole takes too long."""
    head: dict[str, str] = {}
    with metadata.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            field, _colon, value = line.partition(":")
            head[field.lower()] = value.strip()
            if not line.strip() or {"name", "version"} <= head.keys():
                break
    return (head["name"], head["version"]) if {"name", "version"} <= head.keys() else None


def kernels_home(root: Path) -> Path:
    """Return where environments are kept: $NIGHTMILL_KERNELS, else <root>/.nightmill/kernels."""
    return Path(os.environ.get(_HOME_VARIABLE) or root / ".nightmill" / "kernels").absolute()


def environment(kernel: Kernel, root: Path) -> KernelEnvironment:
    """Return the environment that belongs to the kernel's present lock and this Python."""
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    key = hashlib.sha256(f"{kernel.lock_sha256} {version} {sys.platform}".encode()).hexdigest()
    return KernelEnvironment(kernel, kernels_home(root) / f"{kernel.name}-py{version}-{key[:12]}")


def require(kernel: Kernel, root: Path) -> KernelEnvironment:
    """Return the kernel's environment; raises KernelError with the command that builds it."""
    found = environment(kernel, root)
    if not found.installed:
        raise KernelError(
            f"kernel {kernel.name} is not installed (or its lock has changed since)",
            where=str(kernel.folder),
            advice=f"run `nightmill kernels install {kernel.name}`",
        )
    return found


def install(kernel: Kernel, root: Path, *, announce: bool = True) -> tuple[KernelEnvironment, bool]:
    """Build the environment unless it is there; return it and whether it was built now.

    Two processes may ask at once: one builds, the other waits. Where it is not to `announce`,
    JupyterLab keeps the environment that it knows under the kernel's name. Raises KernelError with
    uv's words when the lock cannot be installed.
    """
    target = environment(kernel, root)
    target.path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.path.with_name(f"{target.path.name}.lock")):
        built = not target.installed
        if built:
            _build(target)
        # The step sets the author's variables itself, so that a step's own win over the kernel's.
        _write_kernelspec(target, target.jupyter_path, env={})
        if built:
            mark = target.kernel.lock_sha256 + "\n"
            (target.path / _COMPLETE).write_text(mark, encoding="ascii")
        if announce:
            _announce(target)
    return target, built


def _build(target: KernelEnvironment) -> None:
    shutil.rmtree(target.path, ignore_errors=True)
    lock, folder = target.kernel.lock, target.kernel.folder
    advice = f"mend the lock (`nightmill kernels lock {folder.name}`) or the package index"
    venv = ["venv", "--quiet", "--python", sys.executable, str(target.path)]
    _uv(*venv, where=folder, advice=advice)
    # Compiled now, since a pod with a read-only disk would compile every import anew each night.
    sync = ["pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode"]
    sync += ["--python", str(target.python)]
    _uv(*sync, str(lock), where=folder, advice=advice)
    if not list(target.path.glob("lib/python*/site-packages/ipykernel_launcher.py")):
        raise KernelError(
            "the lock has no ipykernel, so no notebook can run in it",
            where=str(lock),
            advice=f"add the line `ipykernel` to {REQUIREMENTS}, then run "
            f"`nightmill kernels lock {folder.name}`",
        )
    # ipykernel brings a kernelspec named python3; ours alone must be found in this folder.
    shutil.rmtree(target.jupyter_path / "kernels" / "python3", ignore_errors=True)


def _announce(target: KernelEnvironment) -> None:
    """Let the JupyterLab of our own environment find the kernel."""
    _write_kernelspec(target, Path(sys.prefix) / "share" / "jupyter", env=target.kernel.env)


def _write_kernelspec(
    target: KernelEnvironment, jupyter_path: Path, *, env: Mapping[str, str]
) -> None:
    folder = jupyter_path / "kernels" / target.kernel.name
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [str(target.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": target.kernel.display_name,
        "language": "python",
        # An empty PYTHONPATH is none: packages of the runner or of the user must not shine through.
        "env": {"PYTHONNOUSERSITE": "1", "PYTHONPATH": "", **env},
        "metadata": {"nightmill": {"lock_sha256": target.kernel.lock_sha256}, "debugger": True},
    }
    text = json.dumps(spec, indent=1) + "\n"
    file = folder / "kernel.json"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def lock(kernel_folder: Path) -> Path:
    """Compile requirements.in to requirements.txt with hashes, for Python 3.11 and newer.

    What an older lock pins stays as it is where it fits. Returns the lock; raises KernelError, and
    leaves an older one as it was, where uv finds none or no notebook could run in it.
    """
    made = kernel_folder / LOCK
    before = made.read_bytes() if made.is_file() else None
    command = ["pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", REQUIREMENTS]
    if (kernel_folder / "overrides.txt").is_file():
        command += ["--override", "overrides.txt"]
    advice = f"correct {REQUIREMENTS}, or the file or the package index that uv names"
    _uv(*command, "--output-file", LOCK, where=kernel_folder, advice=advice, cwd=kernel_folder)
    if not _IPYKERNEL.search(made.read_text(encoding="utf-8")):
        made.unlink() if before is None else made.write_bytes(before)
        raise KernelError(
            "nothing in it brings ipykernel, so no notebook could run",
            where=str(kernel_folder / REQUIREMENTS),
            advice="add the line `ipykernel`, and lock again",
        )
    return made


def _uv(*arguments: str, where: Path, advice: str, cwd: Path | None = None) -> None:
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.is_file() else shutil.which("uv")
    if program is None:
        raise KernelError("uv is not installed", advice="install the extra: nightmill[runner]")
    done = subprocess.run(
        [program, *arguments], check=False, capture_output=True, text=True, cwd=cwd
    )
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-_LINES_OF_UV:])
        problem = f"uv could not do its part:\n{tail}"
        raise KernelError(problem, where=str(where), advice=advice)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
