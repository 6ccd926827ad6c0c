"""What the library of Delta tables says, as one line of plain text, and what it means."""

from __future__ import annotations

import re

from nightmill.publish.target import CutOffError, PublishError

_COLOURS = re.compile(r"\x1b\[[0-9;]*m|↳")
_STORES = re.compile("Generic (S3|LocalFileSystem) error|object store")
_MOST = 300


def said(error: Exception) -> str:
    """Give an error's own words without its colours, and the stack of the library it is from."""
    lines = [_COLOURS.sub("", line).strip() for line in str(error).splitlines()]
    kept = lines[: next((n for n, line in enumerate(lines) if line.startswith("0: ")), 2)]
    return " ".join(filter(None, kept)).removeprefix("Generic DeltaTable error: ")[:_MOST]


def translated(error: Exception, address: str) -> CutOffError | PublishError:
    """Tell an error of the store below a table from one of the table; they have no common base."""
    is_of_system = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    if is_of_system or _STORES.search(str(error)):
        advice = "see that the store can be reached and written to"
        return CutOffError(said(error), address=address, operation="publish", advice=advice)
    return PublishError(
        f"the Delta table does not take it: {said(error)}",
        where=address,
        advice="see that columns and types are those of the table (`evolution: add` lets in new "
        "columns); if the table is damaged, move it away and `nightmill repair`",
    )
