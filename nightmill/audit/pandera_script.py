"""Holds Parquet files against a pandera schema; run as text by the kernel's Python, never imported.

It knows nothing of Nightmill, because the kernel has none. One JSON object comes in by stdin and
one goes out to the file it names; what the author's module prints goes where it likes.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from pathlib import Path
from typing import Any

_EXAMPLES = 3


def judge(order: dict[str, Any]) -> dict[str, str]:
    """Return state and message: the verdict of the schema on the files."""
    if importlib.util.find_spec("pandera") is None:
        advice = "add it to the kernel's requirements.in, and lock it"
        return {"state": "error", "message": f"pandera is not in the kernel: {advice}"}
    module, name = order["schema"].split(":")
    sys.path.insert(0, order["folder"])
    try:
        schema = getattr(importlib.import_module(module), name)
        return _validate(schema, _read(schema, order["files"]))
    except Exception as error:  # noqa: BLE001 - the author's own code may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return {"state": "error", "message": f"{type(error).__name__}: {error} ({place})"}


def _read(schema: Any, files: list[str]) -> Any:
    """Read with the library that the schema is for."""
    kinds = schema.__mro__ if isinstance(schema, type) else type(schema).__mro__
    if any(".polars" in kind.__module__ for kind in kinds):
        return importlib.import_module("polars").read_parquet(files)
    pandas = importlib.import_module("pandas")
    return pandas.concat([pandas.read_parquet(file) for file in files], ignore_index=True)


def _validate(schema: Any, table: Any) -> dict[str, str]:
    errors = importlib.import_module("pandera.errors")
    try:
        schema.validate(table, lazy=True)
    except (errors.SchemaError, errors.SchemaErrors) as error:
        return {"state": "failed", "message": _describe(error)}
    return {"state": "passed", "message": "the data fits the schema"}


def _describe(error: Any) -> str:
    """Say which checks failed on which columns, and how often."""
    cases = error.failure_cases
    rows = cases.to_dicts() if hasattr(cases, "to_dicts") else cases.to_dict("records")
    found: dict[str, list[Any]] = {}
    for row in rows:
        what = f"{row['column'] or row['schema_context']}: {row['check']}"
        found.setdefault(what, []).append(row["failure_case"])
    said = [f"{what} ({len(some)} failed, such as {some[0]!r})" for what, some in found.items()]
    more = f" and {len(said) - _EXAMPLES} more" if len(said) > _EXAMPLES else ""
    return ", ".join(said[:_EXAMPLES]) + more


if __name__ == "__main__":
    task = json.load(sys.stdin)
    Path(task["answer"]).write_text(json.dumps(judge(task)), encoding="utf-8")
