"""The files that a Delta table is made of, as its log names them, and which of them are damaged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from nightmill.store.interface import Entry, Store

_UNFINISHED = re.compile(r"#\d+$")


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of a table's state; its size in bytes."""

    key: str
    size: int
    partition: str
    member: str


def table_files(actions: Any, prefix: str) -> tuple[TableFile, ...]:
    """Read a table of Arrow in which deltalake tells them; `prefix` is that of the table."""
    names = ("path", "size_bytes", "partition.partition", "partition.member")
    known = actions.column_names
    columns = [
        actions.column(name).to_pylist() if name in known else [""] * actions.num_rows
        for name in names
    ]
    return tuple(
        TableFile(f"{prefix}/{unquote(path)}", size, partition, member)
        for path, size, partition, member in zip(*columns, strict=True)
    )


def damaged_files(store: Store, prefix: str, files: Iterable[TableFile]) -> frozenset[str]:
    """Name those that are gone or have another size, by one listing of the table.

    To be asked for files that were known before, so that none is taken for gone that is new. What
    was changed and kept its size is not found.
    """
    sizes = {one.key: one.size for one in store.list(prefix)}
    return frozenset(one.key for one in files if sizes.get(one.key) != one.size)


def unfinished_files(entries: Iterable[Entry], before: datetime) -> list[str]:
    """Name what killed writers left in a folder: until a file is whole, its name ends in #1 or so.

    deltalake overlooks such names itself, so its vacuum does not tell of them.
    """
    return [one.key for one in entries if _UNFINISHED.search(one.key) and one.modified < before]
