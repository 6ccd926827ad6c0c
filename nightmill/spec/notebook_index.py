"""Source notebooks read quickly: what is slow to read is kept, without outputs, by its content.

Airflow parses all DAGs again and again, and once more in each task. A small notebook is read in a
moment; one that was saved with megabytes of outputs, or a script that needs jupytext to be read at
all, is not. The index is a folder of JSON files named after the hash of the notebook's bytes, so
an entry is never out of date and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from nightmill.spec.notebook import MAX_BYTES, Cell, SourceNotebook, read_notebook

FORMAT = 1
SMALL_BYTES = 200_000  # read in a few milliseconds, as quickly as an entry would be
MAX_ENTRIES = 1000


class NotebookIndex:
    """Reads notebooks by way of a folder of entries; works without one that can be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, SourceNotebook] = {}

    def read(self, path: Path) -> SourceNotebook:
        """Read a notebook, once; raises ContractError as `read_notebook` does."""
        if path not in self._read:
            self._read[path] = self._find(path)
        return self._read[path]

    def _find(self, path: Path) -> SourceNotebook:
        if not self._is_slow(path):
            return read_notebook(path)
        entry = self._folder / f"{_key(path)}.json"
        found = _load(entry)
        if found is None:
            found = read_notebook(path)
            with suppress(OSError):  # a read-only project is only slower
                self._save(entry, found)
        return replace(found, path=path)

    def _is_slow(self, path: Path) -> bool:
        try:
            size = path.stat().st_size
        except OSError:
            return False
        return (path.suffix == ".py" or size > SMALL_BYTES) and size <= MAX_BYTES

    def _save(self, entry: Path, notebook: SourceNotebook) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._oldest():
            old.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            json.dump(asdict(notebook) | {"path": ""}, stream)
        Path(name).replace(entry)  # readers see a whole entry or none

    def _oldest(self) -> list[Path]:
        entries = sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime)
        return entries[: max(0, len(entries) - MAX_ENTRIES + 1)]


def title_of(notebook: SourceNotebook) -> str:
    """Give the first heading of a notebook, empty where it has none."""
    for cell in notebook.cells:
        for line in cell.source.splitlines() if cell.kind == "markdown" else ():
            if line.startswith("#") and line.strip("# "):
                return line.strip("# ")
    return ""


def _key(path: Path) -> str:
    digest = hashlib.sha256(f"{FORMAT} {path.suffix} ".encode())
    digest.update(path.read_bytes())
    return digest.hexdigest()


def _load(entry: Path) -> SourceNotebook | None:
    try:
        fields = json.loads(entry.read_bytes())
        cells = [Cell(**cell | {"tags": tuple(cell["tags"])}) for cell in fields["cells"]]
        return SourceNotebook(**fields | {"cells": tuple(cells), "path": entry})
    except (OSError, ValueError, TypeError, KeyError):
        return None
