"""`nightmill reindex`: the index of attempts, made from their records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.options import StoreOption, open_existing
from nightmill.cli.terminal import add_row, address, counted, new_table, out, print_table, say
from nightmill.errors import EXIT_FAILED
from nightmill.store.reindex import Fate, Reindexed
from nightmill.store.reindex import reindex as reindex_store


def reindex(
    anew: Annotated[
        bool, typer.Option("--all", help="Write also what is there anew, from the records.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Tell the index of every attempt that it does not know.

    Runs keep the index themselves; this is for a store that is older than it, or lost it. Reads
    all records; may be interrupted and repeated. Exit codes: 0 done, 1 a record cannot be read.
    """
    opened = open_existing(store)
    counts: dict[str, Counter[Fate]] = defaultdict(Counter)
    unreadable: list[Reindexed] = []
    with out.status("reading the store") as status:
        for number, one in enumerate(reindex_store(opened, anew=anew), start=1):
            counts[one.pipeline][one.fate] += 1
            unreadable += [one] if one.fate is Fate.UNREADABLE else []
            status.update(Text(f"{counted(number, 'attempt')}, now of {one.pipeline}"))
    if not counts:
        say(f"No runs yet in {address(opened.url)}.")
        return
    _print(counts)
    for one in unreadable:
        place = address(opened.address(one.prefix))
        say(Text("unreadable record: ", style="bold red"), place)
    if unreadable:
        raise typer.Exit(EXIT_FAILED)


def _print(counts: Mapping[str, Counter[Fate]]) -> None:
    table = new_table("pipeline", *(fate.value for fate in Fate))
    for pipeline, fates in sorted(counts.items()):
        add_row(table, pipeline, *(f"{fates[fate]:,}" for fate in Fate))
    print_table(table)
