"""Two versions of a table opened side by side in DuckDB, whatever kind of file they are.

DuckDB takes `*?[` in a path for a pattern and `key=value` for a column: it is shown links with
plain names, which keep only the folders that the author made columns of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from nightmill.replay.rows import Pair, TableDifference

_PARQUET = (".parquet", ".pq")
_DELIMITED = (".csv", ".tsv")
_JSON = (".json", ".jsonl", ".ndjson")
_COMPRESSED = (".gz", ".zst")


class UnreadableTableError(Exception):
    """One of the two is no table, whatever its name says."""


def is_table(path: Path) -> bool:
    """Tell whether a file is a table by its name, or a folder by having files of Parquet."""
    if path.is_dir():
        return bool(_parts(path))
    return _suffix(path)[0] != ""


def compare_tables(
    then: Path, now: Path, work: Path, *, keys: Sequence[Sequence[str]] = ()
) -> TableDifference:
    """Compare two tables, each a file or a folder of Parquet files.

    `keys` are columns that are unique together; `work` is an empty folder. Raises
    UnreadableTableError.
    """
    try:
        with _connected(work) as connection:
            for name, path in (("past", then), ("present", now)):
                source = _source(path, work / name)
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {source}")
            return Pair(lambda query: connection.execute(query).fetchall()).difference(keys)
    except duckdb.Error as error:
        raise UnreadableTableError(str(error).split("\n", maxsplit=1)[0]) from error


@contextmanager
def _connected(work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    settings: dict[str, Any] = {
        "temp_directory": str(work / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.execute("SET enable_progress_bar = false")
        yield connection


# -- files ----------------------------------------------------------------------------------------


def _suffix(path: Path) -> tuple[str, str]:
    """Return the kind of a table in small letters and its compression; empty where there is none.

    Parquet compresses by itself.
    """
    suffix = path.suffix.lower()
    if suffix in _PARQUET:
        return suffix, ""
    kind, packed = suffix, ""
    if suffix in _COMPRESSED:
        kind, packed = path.with_suffix("").suffix.lower(), suffix
    return (kind, packed) if kind in _DELIMITED + _JSON else ("", "")


def _parts(folder: Path) -> list[Path]:
    """List the files that a reader of the folder reads: not _SUCCESS, not .part.crc."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in _PARQUET
        and file.is_file()
        and not any(name.startswith(("_", ".")) for name in file.relative_to(folder).parts)
    ]


def _source(path: Path, work: Path) -> str:
    """Return the call that reads a table through links with plain names."""
    if not path.is_dir():
        kind, packed = _suffix(path)
        link = _link(path, work / f"table{kind}{packed}")
        return _reader(kind).format(link)
    links: list[str] = []
    columns: list[str] = []
    for number, file in enumerate(_parts(path)):
        folders = file.relative_to(path).parent.parts
        columns = [quote(name, safe="=%") for name in folders if "=" in name]
        links.append(_link(file, work.joinpath(*columns, f"{number:06d}.parquet")))
    hive = f"hive_partitioning={str(bool(columns)).lower()}"
    return f"read_parquet([{', '.join(links)}], union_by_name=true, {hive})"


def _reader(kind: str) -> str:
    if kind in _PARQUET:
        return "read_parquet({}, hive_partitioning=false)"
    name, header = ("read_csv", ", header=true") if kind in _DELIMITED else ("read_json", "")
    return f"{name}({{}}, sample_size=-1, hive_partitioning=false{header})"


def _link(file: Path, link: Path) -> str:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(file.resolve())
    return "'" + str(link).replace("'", "''") + "'"
