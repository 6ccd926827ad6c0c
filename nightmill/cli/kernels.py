"""`nightmill kernels`: list, install and lock the environments of notebooks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nightmill import kernels as environments
from nightmill.cli.terminal import (
    add_row,
    address,
    complain,
    duration,
    new_table,
    print_table,
    say,
)
from nightmill.errors import EXIT_FAILED, KernelError, UsageError
from nightmill.spec.kernel import (
    REQUIREMENTS,
    Kernel,
    check_name,
    find_kernel,
    kernel_folders,
    load_kernels,
    lockable_folders,
    not_locked,
    unlocked_folders,
)
from nightmill.spec.problems import shown, suggest
from nightmill.spec.project import find_root
from nightmill.spec.requirements import unmet

app = typer.Typer(help="The locked environments that notebooks run in.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="Kernels; all of them if none is named.")]

_NEW = f"a new kernel begins with kernels/NAME/{REQUIREMENTS}"


@app.command("list")
def list_kernels() -> None:
    """List the kernels of kernels/, their locks and their environments.

    An environment's folder ends in a hash of the lock and of Python's version.
    """
    root = find_root(Path.cwd())
    kernels, unlocked = load_kernels(root), unlocked_folders(root)
    table = new_table("kernel", "shown as", "SHA-256 of the lock", "environment")
    for name in sorted({*kernels, *unlocked}):
        if name in unlocked:
            add_row(table, name, "", "", f"not locked yet -> nightmill kernels lock {name}")
        else:
            add_row(table, *_row(kernels[name], root))
    if kernels or unlocked:
        print_table(table)
    else:
        say(f"no kernels: {_NEW}")
    for kernel in kernels.values():
        _warn_of_changes(kernel)


def _row(kernel: Kernel, root: Path) -> Iterator[str]:
    found = environments.environment(kernel, root)
    missing = f"not installed -> nightmill kernels install {kernel.name}"
    yield from (kernel.name, kernel.display_name, kernel.lock_sha256[:12])
    yield address(str(found.path)) if found.installed else missing


@app.command()
def install(names: Names = None) -> None:
    """Build environments from their locks.

    One that is there already is left alone, so this is quick the second time.
    """
    root = find_root(Path.cwd())
    known: dict[str, Kernel | Path] = {**load_kernels(root), **unlocked_folders(root)}
    chosen = [find_kernel(known, name) for name in names or sorted(known)]
    for one in chosen:
        if isinstance(one, Kernel):
            _install(one, root)
    waiting = [one for one in chosen if not isinstance(one, Kernel)]
    for folder in waiting:
        complain(not_locked(folder))
    if not chosen:
        say(f"no kernels: {_NEW}")
    raise typer.Exit(EXIT_FAILED if waiting else 0)


def _install(kernel: Kernel, root: Path) -> None:
    begun = time.monotonic()
    target, built = environments.install(kernel, root)
    took = f"built in {duration(time.monotonic() - begun)}" if built else "is up to date"
    say(f"kernel {kernel.name} {took}: {address(str(target.path))}")
    _warn_of_changes(kernel)


def _warn_of_changes(kernel: Kernel) -> None:
    """Say that requirements.in asks for what its lock does not hold; nobody locks unasked."""
    asked = ", ".join(shown(each) for each in unmet(kernel.folder))
    if asked:
        problem = f"{REQUIREMENTS} has changed since it was locked, and asks for {asked}"
        say(Text("warning: ", style="yellow"), f"kernel {kernel.name}: {problem}")
        say(f"   -> nightmill kernels lock {kernel.name}")


@app.command()
def lock(names: Names = None) -> None:
    """Compile requirements.in to a lock.

    The lock holds hashes and no address of an index; making it needs one. Versions of an older
    lock are kept where they fit; delete it to get the newest.
    """
    root = find_root(Path.cwd())
    folders = _lockable(root, names)
    for folder in folders:
        say(f"kernel {folder.name} locked: {address(str(environments.lock(folder)))}")
    if not folders:
        say(f"no kernels: {_NEW}")


def _lockable(root: Path, names: list[str] | None) -> list[Path]:
    ready = {folder.name: folder for folder in lockable_folders(root)}
    known = {folder.name: folder for folder in kernel_folders(root)} | ready
    for name in names or ():
        if name not in known:
            advice = suggest(name, known, noun="kernels")
            advice = advice if advice.endswith("?") else f"{advice}; {_NEW}"
            raise UsageError(f"unknown kernel {shown(name)}", advice=advice)
        if name not in ready:
            problem = f"kernel {name} has no {REQUIREMENTS} to make a lock of"
            raise KernelError(problem, where=str(known[name]), advice="write it, or keep the lock")
    chosen = [ready[name] for name in names or sorted(ready)]
    for folder in chosen:
        check_name(folder)
    return chosen
