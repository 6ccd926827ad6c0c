"""Source notebooks, read as plain JSON and never written.

Airflow parses with this module, so it knows nothing of nbformat; jupytext is loaded only when a
text notebook is met. Cells count from 1 over all cells, as a reader of the notebook counts them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightmill.errors import ContractError
from nightmill.spec.problems import shown

MAX_BYTES = 100 * 2**20
VERSIONS = (3, 4)

# By it jsonschema would check addresses, which no notebook has. It takes a second to import.
_UNUSED = "rfc3987_syntax"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; `kind` is code, markdown or raw, `number` counts from 1 over all cells."""

    number: int
    kind: str
    source: str
    tags: tuple[str, ...] = ()
    id: str | None = None
    has_outputs: bool = False


@dataclass(frozen=True, slots=True)
class SourceNotebook:
    """A notebook as its author saved it; what its metadata does not tell is empty."""

    path: Path
    sha256: str
    cells: tuple[Cell, ...]
    kernel_name: str = ""
    kernel_display_name: str = ""
    language: str = ""

    def code_cells(self) -> Iterator[Cell]:
        """Go through the cells that run."""
        return (cell for cell in self.cells if cell.kind == "code")


def read_notebook(path: Path) -> SourceNotebook:
    """Read an .ipynb (nbformat 3 or 4) or a .py percent script.

    Raises ContractError that says where the file is no notebook.
    """
    raw = _read_bytes(path)
    content = _load(path, raw)
    metadata = _mapping(content.get("metadata"))
    kernelspec = _mapping(metadata.get("kernelspec"))
    language = _mapping(metadata.get("language_info")).get("name") or kernelspec.get("language")
    return SourceNotebook(
        path=path,
        sha256=hashlib.sha256(raw).hexdigest(),
        cells=tuple(_cell(path, cell, n) for n, cell in enumerate(content["cells"], start=1)),
        kernel_name=str(kernelspec.get("name") or ""),
        kernel_display_name=str(kernelspec.get("display_name") or ""),
        language=str(language or ""),
    )


def to_ipynb(path: Path) -> dict[str, Any]:
    """Give the notebook as nbformat 4 JSON, ready to be executed; the file stays as it is."""
    return _load(path, _read_bytes(path))


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ContractError(f"cannot be read: {error.strerror}", notebook=path) from error
    if len(raw) > MAX_BYTES:
        raise ContractError(
            f"larger than {MAX_BYTES // 2**20} MiB",
            notebook=path,
            advice="clear its outputs (nbstripout), keep data in files",
        )
    return raw


def _load(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ContractError(
            f"not UTF-8: byte 0x{raw[error.start]:02x} in line {line} of the file",
            notebook=path,
            advice="save it as UTF-8",
        ) from error
    if path.suffix == ".py":
        return _from_script(path, text)
    if not text.strip():
        raise ContractError("the file is empty", notebook=path, advice="save the notebook again")
    return _version_4(path, _parse(path, text))


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ContractError(
            f"no JSON: {error.msg} in line {error.lineno}, column {error.colno} of the file",
            notebook=path,
            advice="restore it from git, or save it again in Jupyter",
        ) from error
    except (RecursionError, ValueError) as error:
        raise ContractError("no JSON that can be read: too deep or too large", notebook=path) from (
            error
        )
    if not isinstance(content, dict) or "nbformat" not in content:
        raise ContractError("JSON, but no notebook: `nbformat` is missing", notebook=path)
    return content


def _version_4(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    version = content["nbformat"]
    if version not in VERSIONS:
        raise ContractError(
            f"nbformat {shown(version)}, but only 3 and 4 can be read",
            notebook=path,
            advice="open it in Jupyter and save it again",
        )
    if version == 3:  # noqa: PLR2004 - the format's number
        content = _upgrade(path, content)
    if not isinstance(content.get("cells"), list):
        raise ContractError("no notebook: the list `cells` is missing", notebook=path)
    return content


def _upgrade(path: Path, old: dict[str, Any]) -> dict[str, Any]:
    """Turn nbformat 3 into 4, without outputs: they are made anew anyway."""
    worksheets = old.get("worksheets")
    if not isinstance(worksheets, list):
        raise ContractError("no notebook: the list `worksheets` is missing", notebook=path)
    cells = [cell for sheet in worksheets for cell in _mapping(sheet).get("cells", [])]
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [_upgrade_cell(_mapping(cell), n) for n, cell in enumerate(cells, start=1)],
    }


def _upgrade_cell(old: dict[str, Any], number: int) -> dict[str, Any]:
    metadata = _mapping(old.get("metadata"))
    cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": metadata}
    if old.get("cell_type") == "code":
        source = old.get("input", "")
        return cell | {"cell_type": "code", "source": source} | _NOTHING_RUN
    source = _text(old.get("source", "")) or ""
    if old.get("cell_type") == "heading":
        source = f"{'#' * int(old.get('level', 1))} {source}"
        return cell | {"cell_type": "markdown", "source": source}
    return cell | {"cell_type": old.get("cell_type"), "source": source}


_NOTHING_RUN: dict[str, Any] = {"outputs": [], "execution_count": None}


def _from_script(path: Path, text: str) -> dict[str, Any]:
    try:
        with _without(_UNUSED):
            import jupytext  # noqa: PLC0415 - Airflow's scheduler has no Jupyter
    except ImportError as error:
        raise ContractError(
            "a text notebook needs jupytext, which is not installed",
            notebook=path,
            advice="pip install 'nightmill[runner]', or save the notebook as .ipynb",
        ) from error
    try:
        script = _keep_comments(_without_format(text))
        notebook = jupytext.reads(script, fmt="py:percent")
    except Exception as error:  # jupytext and its YAML header raise what they like
        raise ContractError(f"no percent script: {error}", notebook=path) from error
    content: dict[str, Any] = json.loads(json.dumps(notebook))
    for number, cell in enumerate(content["cells"], start=1):
        cell["id"] = f"cell-{number}"  # jupytext's are random: the same file, the same notebook
    content["metadata"].pop("jupytext", None)
    return content


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Let a module seem not to be installed, for as long as others are imported."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # None: import refused
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def _without_format(text: str) -> str:
    """Forget which text format the header claims: a first sync may have written another one."""
    header = re.match(r"\s*# ---\n(#.*\n)*?# ---\n", text)
    if not header:
        return text
    kept = re.sub(r"(?m)^#\s+format(_name|_version|s):.*\n", "", header[0])
    return kept + text[header.end() :]


def _keep_comments(text: str) -> str:
    """Keep comments such as `# copy of the table` from being read as the command `copy`.

    jupytext takes a commented word that IPython knows as a command for a line of code; of a comment
    within a comment it removes the outer one.
    """
    return _COMMENTED_COMMAND.sub("# # ", text)


_COMMENTED_COMMAND = re.compile(
    r"(?m)^# ?(?=(cat|cd|copy|cp|ddir|echo|ldir|ls|mkdir|mv|ren|rm|rmdir)(\s|$))"
)


def _cell(path: Path, cell: Any, number: int) -> Cell:
    cell = _mapping(cell)
    source = _text(cell.get("source"))
    if source is None or cell.get("cell_type") not in ("code", "markdown", "raw"):
        raise ContractError("no cell of a notebook", notebook=path, cell=number)
    tags = _mapping(cell.get("metadata")).get("tags")
    identity = cell.get("id")
    return Cell(
        number=number,
        kind=cell["cell_type"],
        source=source,
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        id=identity if isinstance(identity, str) else None,
        has_outputs=bool(cell.get("outputs")),
    )


def _mapping(value: Any) -> dict[str, Any]:
    """Take a mapping; editors leave metadata out or null."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """Join the lines of a source; None for what is no text."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else None
