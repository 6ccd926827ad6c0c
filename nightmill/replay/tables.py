"""Two versions of a table opened side by side in DuckDB, whatever kind of file they are.

DuckDB takes `*?[` in a path for a pattern and `key=value` for a column: it is shown links with
plain names, which keep only the folders that the author made columns of.

Text has no types: DuckDB finds some, so that differences can be told in numbers. Whether there is
any is decided by the text of each value, since `9007199254740993.0` and `9007199254740992.0` are
one DOUBLE. CSV is read as strictly as by the audit, and what is none by RFC 4180 is no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from nightmill.audit.csv_options import csv_source, csv_texts, has_header
from nightmill.audit.text_types import json_source
from nightmill.replay.rows import Pair, TableDifference
from nightmill.spec.outputs import PARQUET
from nightmill.spec.sql import literal

_DELIMITED = (".csv", ".tsv")
_JSON = (".json", ".jsonl", ".ndjson")
_COMPRESSED = (".gz", ".zst")


class UnreadableTableError(Exception):
    """One of the two is no table, whatever its name says."""


@dataclass(frozen=True)
class _Views:
    """The two tables in a database, to be opened once or twice."""

    connection: duckdb.DuckDBPyConnection
    then: Path
    now: Path
    work: Path

    def difference(
        self, keys: Sequence[Sequence[str]], *, as_written: bool = False
    ) -> TableDifference:
        """Compare the values, with their types or by the text they are written as."""
        for name, path in (("past", self.then), ("present", self.now)):
            work = self.work / name / ("text" if as_written else "typed")
            source = _folder(path, work) if path.is_dir() else self._file(path, work, as_written)
            self.connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {source}")
        return Pair(lambda query: self.connection.execute(query).fetchall()).difference(keys)

    def _file(self, path: Path, work: Path, as_written: bool) -> str:  # noqa: FBT001 - of our own
        """Return the call that reads a file through a link with a plain name."""
        kind, packed = _suffix(path)
        link = _link(path, work / f"table{kind}{packed}")
        if kind in PARQUET:
            return f"read_parquet({link}, hive_partitioning=false)"
        if kind in _JSON:
            if as_written:
                return f"read_json_objects({link})"
            return json_source(self.connection, link)
        if not has_header(self.connection, link):
            raise UnreadableTableError(f"{path.name} has no header in its first line")
        return (csv_texts if as_written else csv_source)(self.connection, link, kind)


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
            views = _Views(connection, then, now, work)
            found = views.difference(keys)
            if not found.summary and (_is_text(then) or _is_text(now)):
                found = views.difference(keys, as_written=True)
            return found
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
    if suffix in PARQUET:
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
        if file.suffix.lower() in PARQUET
        and file.is_file()
        and not any(name.startswith(("_", ".")) for name in file.relative_to(folder).parts)
    ]


def _is_text(path: Path) -> bool:
    return not path.is_dir() and _suffix(path)[0] not in PARQUET


def _folder(path: Path, work: Path) -> str:
    """Return the call that reads a folder of Parquet through links with plain names."""
    links: list[str] = []
    columns: list[str] = []
    for number, file in enumerate(_parts(path)):
        folders = file.relative_to(path).parent.parts
        columns = [quote(name, safe="=%") for name in folders if "=" in name]
        links.append(_link(file, work.joinpath(*columns, f"{number:06d}.parquet")))
    hive = f"hive_partitioning={str(bool(columns)).lower()}"
    return f"read_parquet([{', '.join(links)}], union_by_name=true, {hive})"


def _link(file: Path, link: Path) -> str:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(file.resolve())
    return literal(str(link))
