"""`nightmill kernels`: list, install and lock the environments of notebooks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nightmill import kernels as environments
from nightmill.cli.terminal import add_row, address, duration, new_table, print_table, say
from nightmill.spec.kernel import Kernel, find_kernel, load_kernels
from nightmill.spec.project import find_root

app = typer.Typer(help="The locked environments that notebooks run in.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="Kernels; all of them if none is named.")]


@app.command("list")
def list_kernels() -> None:
    """List the kernels of kernels/ and where they are installed."""
    root = find_root(Path.cwd())
    table = new_table("kernel", "shown as", "lock", "installed in")
    for kernel in load_kernels(root).values():
        found = environments.environment(kernel, root)
        place = address(str(found.path)) if found.installed else "not installed"
        add_row(table, kernel.name, kernel.display_name, kernel.lock_sha256[:12], place)
    print_table(table)


@app.command()
def install(names: Names = None) -> None:
    """Build environments from their locks.

    One that is there already is left alone, so this is quick the second time.
    """
    root = find_root(Path.cwd())
    for kernel in _chosen(root, names):
        begun = time.monotonic()
        target, built = environments.install(kernel, root)
        took = f"built in {duration(time.monotonic() - begun)}" if built else "is up to date"
        say(f"kernel {kernel.name} {took}: {address(str(target.path))}")


@app.command()
def lock(names: Names = None) -> None:
    """Compile requirements.in to a lock.

    The lock holds hashes and no address of an index; making it needs one.
    """
    for kernel in _chosen(find_root(Path.cwd()), names):
        environments.lock(kernel.folder)
        say(f"kernel {kernel.name} locked: {address(str(kernel.lock))}")


def _chosen(root: Path, names: list[str] | None) -> list[Kernel]:
    known = load_kernels(root)
    return [find_kernel(known, name) for name in names] if names else list(known.values())
