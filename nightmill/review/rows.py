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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore, Event, Thread
from typing import Any

import duckdb
from pydantic import BaseModel, ConfigDict

from nightmill.audit.csv_options import csv_fault, csv_source, has_header
from nightmill.audit.text_types import json_source
from nightmill.errors import NightmillError
from nightmill.review.own_facts import (
    as_duration,
    durations_in_parquet,
    names_in_parquet,
    names_in_text,
)
from nightmill.spec.checks import COMPRESSED
from nightmill.spec.outputs import PARQUET
from nightmill.spec.sql import literal, quoted
from nightmill.spec.words import one_line, shortened

DELIMITED = {".csv": ",", ".tsv": "\t"}
JSON = (".json", ".jsonl", ".ndjson")

ROWS, COLUMNS, CHARACTERS = 20, 100, 200
"""How many rows, columns, and characters of a value are read."""

_NOTHING: Mapping[Any, str] = {}
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
    """A column, with DuckDB's name of its type, and the name that checks have for it.

    `own_name` is the one in the file, where that is another. Whole numbers that are durations have
    a `unit`: s, ms, us or ns.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    own_name: str = ""
    unit: str = ""


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
    file, suffix = literal(str(link)), link.suffixes[0]

    def ask(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query).fetchall()

    if suffix in PARQUET:
        table = connection.sql(f"FROM {_source(connection, link)}")
        units = durations_in_parquet(ask, file, COLUMNS)
        return _select(table, names_in_parquet(ask, file, table.columns), units)
    if suffix not in DELIMITED:
        return _select(connection.sql(f"FROM {_source(connection, link)}"))
    try:
        if not has_header(connection, file):
            raise UnreadableRowsError("cannot be read: there is no header in the first line")
        table = connection.sql(f"FROM {csv_source(connection, file, suffix)}")
        return _select(table, names_in_text(ask, file, DELIMITED[suffix], table.columns))
    except duckdb.InvalidInputException as error:
        fault = csv_fault(connection, file, suffix, error)
        if fault is None:
            raise
        raise UnreadableRowsError(f"cannot be read: {fault}") from error


def _select(
    table: duckdb.DuckDBPyRelation,
    own_names: Mapping[str, str] = _NOTHING,
    units: Mapping[int, str] = _NOTHING,
) -> Rows:
    """Read the first rows; `units` are those of durations, by the place of their column."""
    types = [shortened(str(one).strip('"'), CHARACTERS) for one in table.types]
    kept = list(zip(table.columns, types, strict=True))[:COLUMNS]
    spans = {
        n: units[n] for n, (_name, type_) in enumerate(kept) if type_ == "BIGINT" and n in units
    }
    texts = [_as_text(name, type_, spans.get(n, "")) for n, (name, type_) in enumerate(kept)]
    counted = table.aggregate("count(*)").fetchall()  # first: of text, a look at every line
    found = table.limit(ROWS).project(", ".join(texts)).fetchall()
    return Rows(
        columns=tuple(
            Column(name=name, type=type_, own_name=own_names.get(name, ""), unit=spans.get(n, ""))
            for n, (name, type_) in enumerate(kept)
        ),
        columns_left_out=len(types) - len(kept),
        rows=tuple(tuple(map(_cut, row)) for row in found),
        count=counted[0][0],
    )


def _as_text(name: str, type_: str, unit: str) -> str:
    """Return the SQL for a value as text; `unit` is that of a duration."""
    value = quoted(name)
    if type_ == "BLOB":
        return f"format('{{:,}} bytes', octet_length({value}))"
    text = as_duration(value, unit) if unit else f"CAST({value} AS VARCHAR)"
    if type_.startswith("DECIMAL("):  # of one without digits before the point DuckDB writes .10
        text = rf"regexp_replace({text}, '^(-?)\.', '\10.')"
    return f"left({text}, {CHARACTERS + 1})"


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
