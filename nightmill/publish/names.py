"""Names of columns that a table can have, and those that it has: none is changed or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nightmill.publish.target import PublishError
from nightmill.spec.problems import shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Columns = Mapping[str, Any]
"""The columns of a table, by name, with their types as Delta writes them."""

_MAX_DIGITS = 38

_Node = tuple[str, int, int]
"""A node of a Parquet schema: its name, how many are below it, and the digits of a decimal."""


def require_names(
    new: Sequence[str], given: Collection[str], table: Columns, *, output: str, may_add: bool
) -> None:
    """Raise PublishError for columns that a table lacks, or that it has and are not `given`.

    Of these `may_add` lets in both; but never a name that is another one in capitals.
    """
    theirs = {name.lower(): name for name in table}
    added = [name for name in new if table and name not in table]
    missing = [name for name in table if name not in given]
    for name in added:
        known = theirs.get(name.lower())
        if known is not None:
            problem, advice = f"is {shown(known)} in the table", f"call it {shown(known)}"
            raise _error(f"column {shown(name)} {problem}", output, advice)
    if added and not may_add:
        advice = "leave it out, or let it in with `evolution: add`"
        raise _error(f"column {shown(added[0])} is not in the table", output, advice)
    if missing and not may_add:
        advice = "write it again, or let it be null with `evolution: add`"
        raise _error(f"column {shown(missing[0])} of the table is missing", output, advice)


def require_own_names(opened: DuckDBPyConnection, files: str, *, output: str) -> None:
    """Raise PublishError for what DuckDB would read by another name, or as another value.

    `files` is a list of Parquet files in SQL.
    """
    query = "SELECT file_name, name, coalesce(num_children, 0), coalesce(precision, 0)"
    found = opened.execute(f"{query} FROM parquet_schema({files})").fetchall()
    by_file: dict[str, list[_Node]] = {}
    for file, *node in found:
        by_file.setdefault(file, []).append((node[0], node[1], node[2]))
    roots = set()
    for nodes in by_file.values():
        rest = iter(nodes)
        _name, size, _digits = next(rest)
        roots.update(_require_level(rest, size, "", output))
    _require_apart(sorted(roots), "", output)


def _require_level(rest: Iterator[_Node], size: int, path: str, output: str) -> list[str]:
    """Look at the nodes of one level, and below each; return their names."""
    names = []
    for _ in range(size):
        name, inner, digits = next(rest)
        where = f"{path}{name}"
        if not name:
            problem = f"a field of {shown(path[:-1])}" if path else "a column"
            raise _error(f"{problem} has no name", output, "give it one in the notebook")
        if digits > _MAX_DIGITS:
            problem = f"column {shown(where)} has {digits} digits, and Delta has {_MAX_DIGITS}"
            raise _error(problem, output, "write it with fewer digits, or as text")
        names.append(name)
        _require_level(rest, inner, f"{where}.", output)
    _require_apart(names, path, output)
    return names


def _require_apart(names: Sequence[str], path: str, output: str) -> None:
    counts = Counter(name.lower() for name in names)
    same = [f"{path}{name}" for name in names if counts[name.lower()] > 1]
    if same:
        problem = f"columns {shown(same[0])} and {shown(same[1])} have one name for Delta"
        advice = "rename one of them in the notebook: capitals do not tell names apart"
        raise _error(problem, output, advice)


def _error(problem: str, output: str, advice: str) -> PublishError:
    return PublishError(problem, where=f"output {output}", advice=advice)
