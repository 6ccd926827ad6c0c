"""The first rows of a stored table, by a DuckDB that can read one file and do nothing else.

The file was written by somebody's notebook. The connection is locked before it is opened: it
reaches no other file and no network, installs nothing, takes a bounded amount of memory and one
thread, and is interrupted after some seconds. Values come out as text that is cut; of bytes only
how many there are.

Text is read as the checks of an output read it, and whole, so that what they refuse is no table
here either.

DuckDB takes `*?[` in a path for a pattern: it is shown a link with a plain name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore, Event, Thread
from typing import Any

import duckdb
from pydantic import BaseModel, ConfigDict

from nightmill.audit.csv_options import csv_fault, csv_source, has_header
from nightmill.audit.text_types import json_source
from nightmill.errors import NightmillError
from nightmill.spec.checks import COMPRESSED
from nightmill.spec.sql import literal, quoted
from nightmill.spec.words import one_line, shortened

PARQUET = (".parquet", ".pq")
DELIMITED = (".csv", ".tsv")
JSON = (".json", ".jsonl", ".ndjson")

ROWS, COLUMNS, CHARACTERS = 20, 100, 200
"""How many rows, columns, and characters of a value are read."""

_MOST_S = 5.0
_AGAIN_S = 0.1  # between two queries there is nothing to interrupt
_WAIT_S = 10.0
_BUSY = "cannot be read now, as others are being read"
_AT_ONCE = BoundedSemaphore(2)  # each may take the memory below
_SETTINGS: dict[str, Any] = {
    "memory_limit": "256MiB",
    "threads": 1,
    "max_temp_directory_size": "64MiB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


class UnreadableRowsError(NightmillError):
    """A file cannot be shown as a table; the message says why."""


class Column(BaseModel):
    """A column, with DuckDB's name of its type."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str


class Rows(BaseModel):
    """The first rows of a table as text, None for null; `count` is the number of all rows."""

    model_config = ConfigDict(frozen=True)

    columns: tuple[Column, ...]
    columns_left_out: int
    rows: tuple[tuple[str | None, ...], ...]
    count: int


def is_table(name: str) -> bool:
    """Say whether a file of this name can be read here."""
    return bool(_ending(name))


def first_rows(file: Path, name: str, *, zone: str = "UTC") -> Rows:
    """Read the first rows of a file on this machine, which `name` tells the kind of.

    Times with a zone are shown in `zone`. Raises UnreadableRowsError.
    """
    if not _AT_ONCE.acquire(timeout=_WAIT_S):
        raise UnreadableRowsError(_BUSY, advice="load the page again")
    try:
        with tempfile.TemporaryDirectory(prefix="nightmill-rows-") as folder:
            link = Path(folder, f"file{_ending(name)}")
            link.symlink_to(file.resolve())
            return _read(link, name, zone)
    finally:
        _AT_ONCE.release()


def _read(link: Path, name: str, zone: str) -> Rows:
    settings = {**_SETTINGS, "temp_directory": str(link.parent / "spill")}
    with duckdb.connect(":memory:", config=settings) as connection:
        try:
            with _in_time(connection):
                _lock(connection, link, zone)
                return _first(connection, link)
        except duckdb.Error as error:
            said = str(error).split("\n\n", maxsplit=1)[0].replace(str(link), name)
            text = one_line(said.partition("Error: ")[2] or said)
            problem = f"cannot be read: {shortened(text, CHARACTERS)}"
            raise UnreadableRowsError(problem) from error


def _lock(connection: duckdb.DuckDBPyConnection, link: Path, zone: str) -> None:
    """Take away everything but reading one file."""
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"SET TimeZone = {literal(zone)}")
    connection.execute(f"SET allowed_paths = [{literal(str(link))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _first(connection: duckdb.DuckDBPyConnection, link: Path) -> Rows:
    if link.suffixes[0] not in DELIMITED:
        return _select(connection, _source(connection, link))
    file, suffix = literal(str(link)), link.suffixes[0]
    try:
        if not has_header(connection, file):
            raise UnreadableRowsError("cannot be read: there is no header in the first line")
        return _select(connection, csv_source(connection, file, suffix))
    except duckdb.InvalidInputException as error:
        fault = csv_fault(connection, file, suffix, error)
        if fault is None:
            raise
        raise UnreadableRowsError(f"cannot be read: {fault}") from error


def _select(connection: duckdb.DuckDBPyConnection, source: str) -> Rows:
    table = connection.sql(f"FROM {source}")
    types = [shortened(str(one).strip('"'), CHARACTERS) for one in table.types]
    columns = [Column(name=n, type=t) for n, t in zip(table.columns, types, strict=True)]
    kept = columns[:COLUMNS]
    counted = table.aggregate("count(*)").fetchall()  # first: of text, a look at every line
    found = table.limit(ROWS).project(", ".join(map(_as_text, kept))).fetchall()
    return Rows(
        columns=tuple(kept),
        columns_left_out=len(columns) - len(kept),
        rows=tuple(tuple(map(_cut, row)) for row in found),
        count=counted[0][0],
    )


def _as_text(column: Column) -> str:
    name = quoted(column.name)
    if column.type == "BLOB":
        return f"format('{{:,}} bytes', octet_length({name}))"
    return f"left(CAST({name} AS VARCHAR), {CHARACTERS + 1})"


def _cut(value: str | None) -> str | None:
    return None if value is None else shortened(value, CHARACTERS)


def _source(connection: duckdb.DuckDBPyConnection, link: Path) -> str:
    path = literal(str(link))
    if link.suffix in PARQUET:
        return f"read_parquet({path}, hive_partitioning=false)"
    return json_source(connection, path)


def _ending(name: str) -> str:
    """Return what a name says is inside, as .csv.gz; empty for what is no table."""
    *_others, before, last = ("", "", *(suffix.lower() for suffix in Path(name).suffixes))
    if last in COMPRESSED and before in (*DELIMITED, *JSON):
        return before + last
    return last if last in (*PARQUET, *DELIMITED, *JSON) else ""


@contextmanager
def _in_time(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt what takes too long, and say so."""
    done = Event()
    is_late = False

    def end() -> None:
        nonlocal is_late
        wait = _MOST_S
        while not done.wait(wait):
            is_late, wait = True, _AGAIN_S
            connection.interrupt()

    watcher = Thread(target=end, name="rows-watch", daemon=True)
    watcher.start()
    try:
        yield
    except duckdb.Error as error:
        if is_late:
            problem = f"takes longer than {_MOST_S:g} s to read"
            raise UnreadableRowsError(problem, advice="open it on your machine") from error
        raise
    finally:
        done.set()
        watcher.join()
