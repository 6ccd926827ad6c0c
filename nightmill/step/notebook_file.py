"""The executing notebook on the scratch disk: whole at every moment, and without secrets.

It is written at the start and end of every cell, so only what changed is turned into JSON anew: a
notebook with megabytes of outputs costs a cell no more than copying them. The file is not forced to
the disk: what survives a kill is in the page cache, and what survives a pod is in the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nightmill.spec.executed import valid_unicode
from nightmill.step.redaction import Redactor


class NotebookFile:
    """Writes a notebook to its file; with no path it is only rendered."""

    def __init__(self, nb: Any, path: Path | None, redactor: Redactor) -> None:
        self._nb = nb
        self._path = path
        self._redactor = redactor
        self._cells: list[bytes] = [b""] * len(nb.cells)
        self._changed = set(range(len(nb.cells)))
        self._rest = b""
        self._marks: dict[int, bytes] = {}

    def changed(self, position: int) -> None:
        """Note that a cell is not as it was."""
        self._changed.add(position)

    def mark(self, position: int, cell: Mapping[str, Any]) -> None:
        """Show one more cell in the file, before the one at this position."""
        self._marks[position] = self._marks.get(position, b"") + self._json(cell, 2) + b",\n"

    def write(self) -> None:
        """Replace the file if anything has changed; raises OSError."""
        if self._render() and self._path is not None:
            replace_file(self._path, self._parts())

    def notebook(self) -> Any:
        """Return the notebook as it is in the file, but for what was marked."""
        self._render()
        return json.loads(b"".join(self._parts(with_marks=False)))

    def _render(self) -> bool:
        rest = self._json({key: each for key, each in self._nb.items() if key != "cells"}, 0)
        is_changed = bool(self._changed) or rest != self._rest
        self._rest = rest
        for position in self._changed:
            self._cells[position] = self._json(self._nb.cells[position], 2)
        self._changed.clear()
        return is_changed

    def _parts(self, *, with_marks: bool = True) -> Iterator[bytes]:
        yield b'{\n "cells": ['
        for position, cell in enumerate(self._cells):
            yield b",\n" if position else b"\n"
            if with_marks:
                yield self._marks.get(position, b"")
            yield cell
        yield (b"\n ]," if self._cells else b"],") + self._rest[1:] + b"\n"

    def _json(self, value: Any, depth: int) -> bytes:
        redacted = self._redactor.tree(value)
        text = json.dumps(redacted, indent=1, sort_keys=True, ensure_ascii=False)
        indent = " " * depth
        return valid_unicode(indent + text.replace("\n", f"\n{indent}")).encode()


def replace_file(path: Path, parts: Iterable[bytes]) -> None:
    """Put these bytes at `path` in one step: readers see the old or the new file whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            handle.writelines(parts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk every byte counts
