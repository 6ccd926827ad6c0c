"""Pictures, tables, JSON and errors, cut down to what a notebook can hold.

What is cut is redacted first, so that no secret is cut in two, and written whole to a file. In its
place stays a note, with the plain text that the library gave along, and nothing else: a viewer
would show the next best of the kinds and hide the note.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from nightmill.spec.words import amount
from nightmill.step.redaction import Redactor
from nightmill.step.spill import SpillFile, note
from nightmill.step.streams import StreamText, head_of, size_in_json

Spill = Callable[[str], SpillFile | None]
"""Makes a file with this extension."""

_ERROR_BYTES = 1 << 16  # a traceback is for people
_PREVIEW_BYTES = 1 << 13  # of plain text that is itself too long
_PLAIN = "text/plain"
_PIECE = 1 << 20  # characters written at a time; a multiple of four, as base64 needs

_KIND = re.compile(r"[a-z]+/(?:[\w.-]+\+)?([a-z0-9]{1,8})", re.ASCII)
_SPACE = re.compile(r"\s")
_EXTENSIONS = {
    "text/plain": "txt",
    "text/markdown": "md",
    "text/latex": "tex",
    "image/svg+xml": "svg",
    "image/jpeg": "jpg",
    "application/javascript": "js",
}


def size_of(value: Any) -> int:
    """Return how many bytes a JSON value takes in a notebook's file."""
    if isinstance(value, str):
        return size_in_json(value)
    return len(json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace"))


def fit_data(
    data: Mapping[str, Any], limit: int, *, redactor: Redactor, spill: Spill
) -> tuple[dict[str, Any], list[SpillFile]]:
    """Return a display's data by kind within so many bytes, and the files for what is cut."""
    sizes = {kind: size_of(value) for kind, value in data.items()}
    if sum(sizes.values()) <= limit:
        return dict(data), []
    notes, files = [], []
    for kind in sorted(sizes, key=lambda each: -sizes[each]):
        if sum(sizes.values()) <= limit:
            break
        size = sizes.pop(kind)
        file = spill(_extension(kind))
        if file is not None:
            _write(file, kind, redactor.tree(data[kind]))
            files.append(file)
        notes.append(note(f"{kind} of {amount(size)}", file))
    plain = redactor.text(str(data.get(_PLAIN, "")))
    shown = plain if _PLAIN in sizes else head_of(plain, _PREVIEW_BYTES)
    return {_PLAIN: "\n".join([*notes, *filter(None, [shown])])}, files


def fit_error(
    error: Mapping[str, Any], *, redactor: Redactor, spill: Spill
) -> tuple[dict[str, Any], list[SpillFile]]:
    """Return an error with a traceback and a value that people can read."""
    traceback = StreamText(redactor, _ERROR_BYTES, lambda: spill("txt"))
    if size_of(error["traceback"]) + size_of(error["evalue"]) <= _ERROR_BYTES:
        return dict(error), []
    traceback.feed("\n".join(error["traceback"]))
    traceback.close()
    cut = {
        "ename": head_of(redactor.text(error["ename"]), _PREVIEW_BYTES),
        "evalue": head_of(redactor.text(error["evalue"]), _PREVIEW_BYTES),
        "traceback": traceback.text().split("\n"),
    }
    return {**error, **cut}, [traceback.file] if traceback.file else []


def _extension(kind: str) -> str:
    named = _KIND.fullmatch(kind)
    return _EXTENSIONS.get(kind) or (named[1] if named else "txt")


def _write(file: SpillFile, kind: str, value: Any) -> None:
    if not isinstance(value, str):
        _write_text(file, json.dumps(value, ensure_ascii=False, default=str))
    elif not _is_binary(kind) or not _write_decoded(file, value):
        _write_text(file, value)
    file.close()


def _is_binary(kind: str) -> bool:
    return kind == "application/pdf" or (kind.startswith("image/") and kind != "image/svg+xml")


def _write_decoded(file: SpillFile, text: str) -> bool:
    """Write what base64 holds; False, and nothing is written, for what is no base64."""
    compact = "".join(text.split()) if _SPACE.search(text) else text
    try:
        for start in range(0, len(compact), _PIECE):
            file.write_bytes(binascii.a2b_base64(compact[start : start + _PIECE], strict_mode=True))
    except (binascii.Error, ValueError):
        file.remove()
        return False
    return True


def _write_text(file: SpillFile, text: str) -> None:
    for start in range(0, len(text), _PIECE):
        file.write(text[start : start + _PIECE])
