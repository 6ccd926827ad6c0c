"""What a gc finds in Delta tables: files whose rows were replaced, or that no commit ever named.

Also those that were never finished, which are known by their names.

A current plain file stays: pipeline.yaml may have said `format: files` for a while.

Apart from the rest of a gc since a table says itself what belongs to it. Nothing is marked before
it goes: the table's log tells since when a file is not needed, and no commit can need it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from nightmill.errors import NightmillError
from nightmill.publish.files import DELTA_LOG
from nightmill.publish.inventory import unfinished_files
from nightmill.publish.plain import is_published_plainly
from nightmill.store.collect import Collected, Fate, Order
from nightmill.store.interface import Store
from nightmill.store.keys import encode
from nightmill.store.retention import YOUNG, in_days
from nightmill.store.survey import Size

_WHAT = "table file"
_WHY = "no part of the table"


def collect_from_tables(store: Store, order: Order) -> Iterator[Collected]:
    """Find, and if so ordered delete, what no state of a table needs that is young enough.

    What cannot be read or deleted stops nothing else. Nothing younger than a day goes: readers and
    commits may be at work with it. Raises StoreError where the store cannot be listed.
    """
    for pipeline in order.rules:
        root = f"data/{encode(pipeline)}"
        for output in store.children(root):
            prefix = f"{root}/{output}"
            if DELTA_LOG in store.children(prefix):
                yield from _of_table(store, prefix, pipeline, order)


def _of_table(store: Store, prefix: str, pipeline: str, order: Order) -> Iterator[Collected]:
    # Only here: deltalake takes a while to import, and many stores have no table.
    from nightmill.publish.delta import unneeded_files  # noqa: PLC0415 - see above

    keep = max(order.rules[pipeline].tables, YOUNG)
    ahead = order.now - datetime.now(UTC)  # the table itself counts from the real now
    try:
        keys = unneeded_files(store, prefix, max(keep - ahead, timedelta()))
        entries = list(store.list(prefix))
    except NightmillError as error:
        yield Collected("table", prefix, _told(error), Fate.PROBLEM, pipeline=pipeline)
        return
    why = f"{_WHY} for {in_days(keep)}"
    sizes = {one.key: one.size for one in entries}
    for key in dict.fromkeys([*keys, *unfinished_files(entries, order.now - keep)]):
        if is_published_plainly(store, pipeline, key):
            continue
        thing = Collected(_WHAT, key, why, Fate.TO_DELETE, Size(1, sizes.get(key, 0)), pipeline)
        yield _delete(store, thing) if order.acts else thing


def _delete(store: Store, thing: Collected) -> Collected:
    try:
        store.delete(thing.key)
    except NightmillError as error:
        return replace(thing, why=_told(error), fate=Fate.PROBLEM)
    return replace(thing, fate=Fate.DELETED)


def _told(error: NightmillError) -> str:
    return " ".join(str(error).split())
