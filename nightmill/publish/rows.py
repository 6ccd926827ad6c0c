"""The rows of a committed output, as a stream: a large file is never whole in memory.

The files are fetched to the local disk, compared with the hash that was committed, and read from
there. DuckDB takes `key=value` anywhere in a path for a column and `*?[` for a pattern, so they get
plain names, below only those folders that the author made columns of.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

import duckdb

from nightmill.publish.columns import fit
from nightmill.publish.durations import refuse_durations
from nightmill.publish.names import Columns, require_own_names
from nightmill.publish.target import PublishError
from nightmill.spec.outputs import PARQUET
from nightmill.spec.problems import shown
from nightmill.spec.sql import literal, quoted
from nightmill.store.interface import Store
from nightmill.store.pointer import CommittedFile, CommittedOutput

_SETTINGS: dict[str, Any] = {
    "memory_limit": "256MiB",
    "threads": 2,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


@contextmanager
def open_rows(
    store: Store,
    output: CommittedOutput,
    *,
    constants: Mapping[str, str],
    table: Columns,
    may_add: bool = False,
) -> Iterator[duckdb.DuckDBPyRelation]:
    """Give all rows of an output, each with these constants as further columns.

    Columns that the `table` has are of its types; whether there may be others, or fewer, `may_add`
    tells. Raises PublishError for what is no Parquet, has
    such columns itself, or does not fit; StoreError for bytes that are not the committed ones.
    """
    parent = os.environ.get("NIGHTMILL_SCRATCH") or None
    with tempfile.TemporaryDirectory(prefix="nightmill-publish-", dir=parent) as folder:
        files = _fetch(store, output, Path(folder))
        with duckdb.connect(":memory:", config={**_SETTINGS, "temp_directory": folder}) as opened:
            listed = f"[{', '.join(map(literal, files))}]"
            source = f"read_parquet({listed}, {_options(files, table)})"
            try:
                opened.execute("SET enable_progress_bar = false")
                require_own_names(opened, listed, output=output.name)
                refuse_durations(opened, listed, output=output.name)
                read = opened.sql(f"SELECT * FROM {source}")
                _refuse_constants(read.columns, output, constants)
                theirs = {name: kind for name, kind in table.items() if name not in constants}
                columns = fit(read, theirs, output=output.name, may_add=may_add)
                found = [one.sql for one in columns]
                given = [f"{literal(text)} AS {name}" for name, text in constants.items()]
                rows = read.select(", ".join([*found, *given]))
            except duckdb.Error as error:
                problem = f"cannot be read as Parquet: {str(error).splitlines()[0]}"
                raise _error(output, problem, "write it with pandas, polars or pyarrow") from error
            yield rows


def _fetch(store: Store, output: CommittedOutput, folder: Path) -> list[str]:
    found = [file for file in output.files if _is_part(PurePosixPath(file.path))]
    if not found:
        raise _error(output, "has no Parquet file", "write one, or leave out `format: delta`")
    return [
        _fetch_one(store, output, file, _place(folder, n, file)) for n, file in enumerate(found)
    ]


def _fetch_one(store: Store, output: CommittedOutput, file: CommittedFile, place: Path) -> str:
    store.get_file(f"{output.prefix}/{file.path}", place, sha256=file.sha256)
    return str(place)


def _place(folder: Path, number: int, file: CommittedFile) -> Path:
    keys = [quote(name, safe="=%") for name in PurePosixPath(file.path).parent.parts if "=" in name]
    return folder.joinpath("parts", *keys, f"{number:06d}.parquet")


def _is_part(path: PurePosixPath) -> bool:
    """Tell whether a reader of the folder would read it: not _SUCCESS, not .part.crc."""
    hidden = any(name.startswith(("_", ".")) for name in path.parts)
    return not hidden and path.suffix.lower() in PARQUET


def _options(files: Sequence[str], table: Columns) -> str:
    """Say how to read: a folder's key is text where the table has text, whatever it looks like."""
    folders = {key for file in files for key in _keys_of(Path(file))}
    names = {unquote(part.partition("=")[0]) for part in folders}
    texts = ", ".join(f"{quoted(one)}: VARCHAR" for one in sorted(names) if _is_text(one, table))
    options = f"union_by_name=true, hive_partitioning={str(bool(folders)).lower()}"
    return f"{options}, hive_types={{{texts}}}" if texts else options


def _keys_of(file: Path) -> Iterator[str]:
    """Name the innermost folders of a file, as far as they are columns."""
    return takewhile(lambda name: "=" in name, reversed(file.parent.parts))


def _is_text(name: str, table: Columns) -> bool:
    return bool(table.get(name) == "string")


def _refuse_constants(
    columns: Sequence[str], output: CommittedOutput, constants: Mapping[str, str]
) -> None:
    for name in columns:
        if name.lower() in constants:
            problem = f"has a column {shown(name)}, and its table's partitions are named so"
            raise _error(output, problem, "rename the column")


def _error(output: CommittedOutput, problem: str, advice: str) -> PublishError:
    return PublishError(problem, where=f"output {output.name}", advice=advice)
