"""An output opened for reading: one view named `output`, in a DuckDB that can do nothing else.

DuckDB reads Parquet in pieces, skips by the statistics in its footers what it need not read, and
spills to the scratch disk what does not fit into its memory. Text formats are first turned into
Parquet on the scratch disk, so that every check reads typed columns and none parses text again.
Once the output is open, queries can reach no other file and no network, and install nothing.

Parquet's statistics know nothing of NaN, and DuckDB believes them: of a file that pyarrow wrote,
`WHERE isnan(x)` finds no row. The view shows columns of floats through an expression that has no
statistics, so a query of the author finds what is there; all other columns keep theirs.

DuckDB takes `*?[` in a path for a pattern and `key=value` anywhere in it for a column: it is shown
links with plain names, which keep only the folders that the author made columns of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from nightmill.audit.context import AuditContext
from nightmill.audit.csv_options import csv_fault, csv_source
from nightmill.audit.finding import one_line
from nightmill.audit.text_types import json_source
from nightmill.audit.watch import watch
from nightmill.audit.whole_numbers import WHOLE
from nightmill.causes import Cause
from nightmill.errors import NightmillError
from nightmill.spec.check_values import NO_TYPE, TYPES, kind_of_type, plain_type
from nightmill.spec.checks import COMPRESSED
from nightmill.spec.outputs import PARQUET
from nightmill.spec.problems import shown
from nightmill.spec.sql import literal, quoted

_JSON = (".json", ".jsonl", ".ndjson")


class UnreadableOutputError(NightmillError):
    """An output cannot be read as what its name says."""

    cause = Cause.CHECK_FAILED


@dataclass(frozen=True)
class Table:
    """An open output. `columns` maps names to DuckDB's types; `source` reads the Parquet files."""

    connection: duckdb.DuckDBPyConnection
    parts: Mapping[str, str]
    source: str
    is_text: bool = False  # the types were found by looking, where there was something to see

    @cached_property
    def columns(self) -> dict[str, str]:
        """The columns in their order, with DuckDB's names of their types."""
        found = self.rows(f"DESCRIBE SELECT * FROM {self.source})")
        long = WHOLE if self.is_text else None  # Parquet has no integer of that length
        types = {name: "HUGEINT" if kind == long else kind for name, kind, *_others in found}
        texts = [name for name, kind in types.items() if self.is_text and kind == "VARCHAR"]
        if texts:
            counts = ", ".join(f"count({quoted(name)})" for name in texts)
            filled = self.rows(f"SELECT {counts} FROM {self.source})")[0]
            types |= {name: NO_TYPE for name, count in zip(texts, filled, strict=True) if not count}
        return types

    def select(self, options: str = "") -> str:
        """Return the query that reads all columns, with further options of read_parquet."""
        shown = []
        for name, kind in self.columns.items():
            x = quoted(name)
            if kind in TYPES["float"]:
                shown.append(f"CASE WHEN {x} IS NULL THEN NULL ELSE {x} END AS {x}")
            elif kind == NO_TYPE:
                shown.append(f"NULL AS {x}")  # comparable with anything
            elif kind == "HUGEINT":
                shown.append(f"{x}::HUGEINT AS {x}")
        replaced = f" REPLACE ({', '.join(shown)})" if shown else ""
        return f"SELECT *{replaced} FROM {self.source}{options})"

    @cached_property
    def count(self) -> int:
        """The number of rows, from the footers of the files."""
        return int(self.one("SELECT count(*) FROM output"))

    @cached_property
    def variants(self) -> list[tuple[str, dict[str, str]]]:
        """The parts whose columns differ, one of each kind, with names and types of its columns."""
        if len(self.parts) == 1:
            return []
        files = ", ".join(map(literal, self.parts))
        found = self.rows(
            "SELECT min(file_name), columns FROM (SELECT file_name,"
            " list((name, duckdb_type, num_children) ORDER BY column_id) AS columns"
            f" FROM parquet_schema([{files}]) GROUP BY file_name) GROUP BY 2 ORDER BY 1"
        )
        return [(self.parts[link], top_level(nodes)) for link, nodes in found]

    @cached_property
    def types_of_parts(self) -> dict[str, dict[str, str]]:
        """The types of each column that differ from part to part, each with the first such part.

        A part in which a column holds nothing but nulls agrees with all.
        """
        seen: dict[str, dict[str, str]] = {}
        for part, columns in self.variants:
            for name, kind in columns.items():
                if kind != NO_TYPE:
                    seen.setdefault(name, {}).setdefault(kind, part)
        return {name: types for name, types in sorted(seen.items()) if len(types) > 1}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows that a query finds."""
        return self.connection.execute(query, values).fetchall()

    def one(self, query: str, *values: object) -> Any:
        """Return the one value that a query finds."""
        return self.rows(query, *values)[0][0]

    def said(self, error: duckdb.Error) -> str:
        """Give DuckDB's words for an error, with the names that the author knows."""
        text = str(error).split("\n\n", maxsplit=1)[0]
        for link, part in self.parts.items():
            text = text.replace(link, part)
        return one_line(text.partition("Error: ")[2] or text)


@contextmanager
def open_table(
    path: Path, context: AuditContext, work: Path, texts: Collection[str] = ()
) -> Iterator[Table]:
    """Open the file, or the folder of Parquet files, of an output; `work` is an empty folder.

    Columns of `texts` are read from CSV as they are written, and from JSON as no dates.
    Raises UnreadableOutputError where it is truncated, corrupt, or no table.
    """
    parts = _link_parts(path, work)
    with duckdb.connect(":memory:", config=_settings(context, work)) as connection:
        table = Table(connection, parts, _source(list(parts)))
        connection.execute("SET enable_progress_bar = false")  # our output is the step's log
        try:
            with watch(context, connection.interrupt):
                if not path.is_dir() and not _is_parquet(path):
                    table = _as_parquet(table, path, work, texts)
                table = _united(table)
                _lock(table, context, [work, path if path.is_dir() else path.parent])
                _ = table.count  # reads the footer of every part
        except duckdb.Error as error:
            raise UnreadableOutputError(f"cannot be read: {table.said(error)}") from error
        yield table


def _settings(context: AuditContext, work: Path) -> dict[str, Any]:
    return {
        "threads": context.query_threads,
        "memory_limit": f"{context.query_memory_bytes >> 10}KiB",
        "temp_directory": str(work / "spill"),
        "preserve_insertion_order": False,  # takes memory, and no check asks for an order
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }


def _lock(table: Table, context: AuditContext, readable: Sequence[Path]) -> None:
    """Make the view, and take away everything but reading it."""
    connection = table.connection
    for name, text in (("partition", context.partition), ("as_of", context.as_of)):
        connection.execute(f"SET VARIABLE {name} = {literal(text)}")
    connection.execute(f"SET TimeZone = {literal(context.timezone)}")
    connection.execute(f"CREATE VIEW output AS {table.select()}")
    folders = ", ".join(literal(str(folder.resolve())) for folder in readable)
    connection.execute(f"SET allowed_directories = [{folders}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _link_parts(path: Path, work: Path) -> dict[str, str]:
    """Link every file under a plain name; map the links to the names relative to the output."""
    if not path.is_dir():
        link = work / ("output" + "".join(path.suffixes[-2:]).lower())
        link.symlink_to(path.resolve())
        return {str(link): path.name}
    files = [file for file in sorted(path.rglob("*")) if _is_part(file, path)]
    if not files:
        raise UnreadableOutputError("no Parquet file is in the folder; checks read no other kind")
    parts: dict[str, str] = {}
    for number, file in enumerate(files):
        below = file.relative_to(path)
        keys = [quote(name, safe="=%") for name in below.parent.parts if "=" in name]
        link = work.joinpath("parts", *keys, f"{number:06d}.parquet")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
        parts[str(link)] = below.as_posix()
    return parts


def _is_part(file: Path, folder: Path) -> bool:
    """Tell whether a reader of the folder would read it: not _SUCCESS, not .part.crc."""
    hidden = any(name.startswith(("_", ".")) for name in file.relative_to(folder).parts)
    return not hidden and _is_parquet(file) and file.is_file()


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def _source(files: Sequence[str]) -> str:
    """Begin the call that reads the files; a caller may add options, and closes the bracket."""
    has_keys = any("=" in Path(file).parent.name for file in files)
    listed = ", ".join(map(literal, files))
    return f"read_parquet([{listed}], hive_partitioning={str(has_keys).lower()}"


def _as_parquet(table: Table, path: Path, work: Path, texts: Collection[str]) -> Table:
    """Turn delimited text or JSON lines into Parquet; all rows are read to find the types."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    suffix = inner.suffix.lower()
    copy = work / "converted.parquet"
    (link,) = table.parts
    file = literal(link)
    try:
        find = json_source if suffix in _JSON else partial(csv_source, suffix=suffix)
        source = find(table.connection, file, texts=texts)
        table.connection.execute(
            f"COPY (SELECT * FROM {source}) TO {literal(str(copy))} (FORMAT parquet)"
        )
    except duckdb.InvalidInputException as error:
        fault = None if suffix in _JSON else csv_fault(table.connection, file, suffix, error)
        if fault is None:
            raise
        raise UnreadableOutputError(f"cannot be read: {fault}") from error
    return Table(table.connection, {str(copy): path.name}, _source([str(copy)]), is_text=True)


def top_level(nodes: Sequence[tuple[str, str, int | None]]) -> dict[str, str]:
    """Map columns to what is said of each; what is nested follows the column it is a part of."""
    columns: dict[str, str] = {}
    nested = 0
    for name, kind, children in nodes[1:]:
        if nested:
            nested -= 1
        else:
            columns[name] = kind
        nested += children or 0
    return columns


def _united(table: Table) -> Table:
    """See that the parts are one table, in whatever order their columns are.

    DuckDB would read all of them as the first one's types: 2.5 would be 3 for every check. Where
    types differ they are read as one that holds the values of all; where none does, as of numbers
    and text, no reader would see a table.
    """
    (one, these), *others = table.variants or [("", {})]
    for other, those in others:
        for name in sorted(these.keys() ^ those.keys())[:1]:
            has, lacks = (one, other) if name in these else (other, one)
            raise UnreadableOutputError(
                f"the parts differ: {has} has a column {shown(name)}, {lacks} has not"
            )
    if not others:
        return table
    for name, types in table.types_of_parts.items():
        first, *rest = types.items()
        for kind, part in rest:
            if _family(kind) != _family(first[0]):
                differ = two_types(name, {first[0]: first[1], kind: part})
                raise UnreadableOutputError(f"the parts differ: {differ}")
    return replace(table, source=f"{table.source}, union_by_name=true")


def two_types(name: str, types: Mapping[str, str]) -> str:
    """Say of which types a column is, and in which parts."""
    (kind, one), (other_kind, other) = list(types.items())[:2]
    return f"{shown(name)} is {kind} in {one} and {other_kind} in {other}"


def _family(kind: str) -> str:
    """Name what a type can be read together with: any number with any other."""
    plain = plain_type(kind)
    return "instant" if plain in TYPES["timestamptz"] else kind_of_type(kind) or plain
