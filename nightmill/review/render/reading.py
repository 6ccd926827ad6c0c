"""From bytes to the cells of a notebook, or to a plain reason why there are none.

Executed notebooks come from this program, from papermill, from editors of all ages, and from
people who mean harm. Bytes that can be understood are, and the page says what was odd about them.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightmill.spec.words import amount

_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # what zlib calls a window of 32 KiB with a gzip header
_MAJOR = 4
_MOST_PARTS = 2_000_000  # objects and lists: one of two bytes takes sixty when it is read
_MOST_VALUES = 12_000_000  # commas, in text too: a number of four bytes takes thirty-six
_DOWNLOAD = "Download the notebook to see what is in it."


@dataclass(frozen=True)
class Sheet:
    """A notebook of format 4, as far as it holds together: nothing in a cell has been checked."""

    cells: list[Any]
    metadata: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unreadable:
    """Why bytes are no notebook, and what their reader may do."""

    problem: str
    advice: str = _DOWNLOAD


class _NotReadable(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, problem: str, advice: str = _DOWNLOAD) -> None:
        super().__init__(problem)
        self.told = Unreadable(problem, advice)


def too_large(size: int, limit: int) -> Unreadable:
    """Say that a notebook of so many bytes is not opened at all."""
    return Unreadable(
        f"This notebook has {amount(size)}; pages show notebooks up to {amount(limit)}.",
        "Download it and open it in JupyterLab. Its large outputs can be written to files, or "
        "cleared before they are saved.",
    )


def read(data: bytes, most_bytes: int) -> Sheet | Unreadable:
    """Read a notebook of any format, without ever raising for what the bytes hold."""
    if len(data) > most_bytes:
        return too_large(len(data), most_bytes)
    try:
        data, notes = _unpacked(data, most_bytes)
        return _sheet(_parsed(data), notes)
    except _NotReadable as error:
        return error.told


def _unpacked(data: bytes, most_bytes: int) -> tuple[bytes, tuple[str, ...]]:
    if not data.startswith(_GZIP):
        return data, ()
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        found = unpacker.decompress(data, most_bytes + 1)
    except zlib.error as error:
        raise _NotReadable(f"This file is compressed with gzip, and damaged: {error}.") from error
    if len(found) > most_bytes:
        raise _NotReadable(*vars(too_large(len(found), most_bytes)).values())
    return found, ("The file is compressed with gzip.",)


def _parsed(data: bytes) -> Any:
    _refuse_what_is_hopeless(data)
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise _NotReadable(*_why_no_json(error)) from error
    except UnicodeDecodeError:
        return _parsed(data.decode("utf-8", "replace").encode())
    except ValueError:  # an integer of thousands of digits
        return json.loads(data, parse_int=float)
    except RecursionError as error:
        raise _NotReadable("The JSON of this notebook is nested too deeply to be read.") from error


def _refuse_what_is_hopeless(data: bytes) -> None:
    start = data[:200].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise _NotReadable(
            "This file is empty.",
            "Nothing was written: look at the run's log for the reason, and run it again.",
        )
    if data.count(b"{") + data.count(b"[") > _MOST_PARTS or data.count(b",") > _MOST_VALUES:
        raise _NotReadable("The JSON of this notebook has too many parts to be read here.")
    if start.startswith(b"<"):
        raise _NotReadable(
            "This file is an HTML or XML page that is named like a notebook.",
            "It may be an error page that somebody saved: fetch the notebook again.",
        )


def _why_no_json(error: json.JSONDecodeError) -> tuple[str, str]:
    if not error.doc[error.pos :].strip() or "Unterminated" in error.msg:
        return (
            f"This notebook is cut off after {len(error.doc):,} characters: its JSON has no end.",
            "Writing or copying it was interrupted. Run the step again, or fetch the file again.",
        )
    place = f"line {error.lineno}, column {error.colno}"
    return (
        f"This file is not valid JSON ({error.msg} at {place}), so it is no notebook.",
        _DOWNLOAD,
    )


def _sheet(found: Any, notes: tuple[str, ...]) -> Sheet:
    if not isinstance(found, dict):
        raise _NotReadable("This file holds JSON, but no notebook: it has no cells.")
    major = found.get("nbformat")
    if isinstance(major, int) and 0 < major < _MAJOR and "worksheets" in found:
        found = _converted(found)
        notes += (f"Converted from version {major} of the notebook format.",)
    elif isinstance(major, int) and major > _MAJOR:
        notes += (f"Written in version {major} of the notebook format, read as version {_MAJOR}.",)
    cells, metadata = found.get("cells"), found.get("metadata")
    if not isinstance(cells, list):
        raise _NotReadable("This file holds JSON, but no notebook: it has no cells.")
    return Sheet(cells, metadata if isinstance(metadata, dict) else {}, notes)


def _converted(notebook: dict[str, Any]) -> dict[str, Any]:
    # Only old notebooks need it, and it takes longer to import than they do.
    from nbformat import convert, reader  # noqa: PLC0415 - see above

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it would warn of, the page survives
            found = convert(reader.reads(json.dumps(notebook)), _MAJOR)
    except Exception as error:  # converters trust what they read: anything may come
        raise _NotReadable(
            f"This notebook is of an old format and cannot be converted: {type(error).__name__}.",
            "Open it in JupyterLab and save it anew.",
        ) from error
    return dict(found)
