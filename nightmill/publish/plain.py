"""Which files below a plain address are published ones, and no part of a Delta table there.

Both lie in folders `partition=...`, since one output may have been published both ways.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

from nightmill.store.current import pointers_at
from nightmill.store.interface import Store
from nightmill.store.keys import data_partition_prefix, encode
from nightmill.store.pointer import Pointer

_OF_TABLES = re.compile(
    r"(part|cdc)-\d+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|#\d+$", re.IGNORECASE
)
"""How deltalake and Spark name what they write."""


def is_published_plainly(store: Store, pipeline: str, key: str) -> bool:
    """Tell whether a file is where some step's current version has its plain address."""
    _data, _pipeline, output, partition, *_rest = [*key.split("/"), "", ""]
    if not partition.startswith("partition=") or _is_of_table(key):
        return False
    root = f"current/{encode(pipeline)}"
    found = (
        plain_key(one, name)
        for step in store.children(root)
        for one in pointers_at(store, f"{root}/{step}/{partition.removeprefix('partition=')}")
        for name in one.outputs
        if encode(name) == output
    )
    return key in found


def plain_key(pointer: Pointer, output: str) -> str | None:
    """Name the key at which a pointer's version has its plain address; None where it has none."""
    committed = pointer.outputs.get(output)
    if committed is None or committed.kind != "file":
        return None
    names = (pointer.pipeline, output, pointer.partition)
    prefix = data_partition_prefix(*names, member=pointer.member)
    return f"{prefix}/{PurePosixPath(committed.key).name}"


def former_files(
    store: Store, pointer: Pointer, output: str, path: str, but: Collection[str]
) -> Iterator[str]:
    """Name what was published plainly where a table's rows count now: one file at most by name.

    The names are those of now: the committed file's, and that of the `path` in pipeline.yaml. `but`
    are the table's own files.
    """
    names = (pointer.pipeline, output, pointer.partition)
    prefix = data_partition_prefix(*names, member=pointer.member)
    declared = None if path.endswith("/") else f"{prefix}/{PurePosixPath(path).name}"
    for key in dict.fromkeys([plain_key(pointer, output), declared]):
        is_ours = key is not None and key not in but and not _is_of_table(key)
        if key is not None and is_ours and store.stat(key) is not None:
            yield key


def _is_of_table(key: str) -> bool:
    return bool(_OF_TABLES.search(PurePosixPath(key).name))
