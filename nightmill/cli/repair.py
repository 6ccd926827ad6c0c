"""`nightmill repair`: what is committed, brought to its plain address where that was cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.options import StoreOption, open_existing
from nightmill.cli.terminal import add_row, address, counted, new_table, print_table, say
from nightmill.errors import EXIT_FAILED
from nightmill.publish.publish import Published
from nightmill.publish.publish import repair as repair_pipeline
from nightmill.publish.target import State
from nightmill.spec.names import label
from nightmill.spec.project import Project, find_root

_STYLES = {
    State.FAILED: "bold red",
    State.BEHIND: "yellow",
    State.PUBLISHED: "green",
    State.WITHDRAWN: "green",
}


def repair(
    pipeline: Annotated[str | None, typer.Argument(help="By default all of the project.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only this partition.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be published.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Publish what is committed and not at its plain address.

    Or not in its Delta table. Compares every pointer with what is published; may be interrupted
    and repeated. Exit codes: 0 all is published (or would be), 1 something could not be.
    """
    opened = open_existing(store)
    project = Project.load(find_root(Path.cwd()))
    names = [pipeline] if pipeline is not None else list(project.pipelines)
    found = [
        (name, one)
        for name in names
        for one in repair_pipeline(
            opened, project.pipeline(name).spec, partition=partition, dry_run=dry_run
        )
    ]
    _print(found)
    if any(one.state is State.FAILED for _name, one in found):
        raise typer.Exit(EXIT_FAILED)


def _print(found: Sequence[tuple[str, Published]]) -> None:
    """List what was not as it should be, and count the rest."""
    table = new_table("output", "partition", "state", "address")
    for name, one in found:
        if one.state is not State.CURRENT:
            state = Text(one.state.value, style=_STYLES[one.state])
            output = label(f"{name}.{one.output}", one.member)
            add_row(table, output, one.partition, state, address(one.address))
    if table.row_count:
        print_table(table)
    for name, one in found:
        if one.problem:
            say(Text(f"{name}.{one.output} {one.partition}: ", style="bold red"), one.problem)
    counts = Counter(one.state for _name, one in found)
    figures = [f"{count} {state.value}" for state, count in counts.items()]
    say(f"{counted(len(found), 'committed output')}: {', '.join(figures) or 'nothing to publish'}")
