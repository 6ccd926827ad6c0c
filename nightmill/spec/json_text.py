"""JSON that every reader takes: ASCII, without the numbers that JSON has not; and what we take."""

from __future__ import annotations

import json
import math
from typing import Any

_MOST_DIGITS = 300
_ENDLESS = 10**_MOST_DIGITS
_DEEPEST = 50  # of lists and mappings in one value of others
_DEEPEST_FILE = 200  # in a whole file; pydantic gives up at 255, json at 1000
_TOO_DEEP = "... nested too deeply"


def as_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return plain values as ASCII JSON, valid even for lone surrogates, NaN and infinities.

    `readable` says what becomes of what no reader would take.
    """
    separators = (",", ":") if indent is None else None
    plain = _readable(value, _DEEPEST_FILE)
    text = json.dumps(plain, indent=indent, separators=separators, allow_nan=False)
    return text.encode("ascii")


def readable(value: Any) -> Any:
    """Return a value so that whatever is written of it can be read by `read_json`.

    Numbers that JSON has not, or that are beyond all floats, are told as text: null would say that
    there is no value. So is what lies too deep. Names are text without lone surrogates.
    """
    return _readable(value, _DEEPEST)


def _readable(value: Any, left: int) -> Any:
    if isinstance(value, int | float):
        return scalar(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if not left:
        return _TOO_DEEP
    if isinstance(value, dict):
        return {_name(key): _readable(item, left - 1) for key, item in value.items()}
    return [_readable(item, left - 1) for item in value]


def scalar(value: float) -> float | str:
    """Return a number; what JSON has not, or what is beyond all floats, as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else json.dumps(value)
    if abs(value) < _ENDLESS:
        return value
    try:
        return str(value)
    except ValueError:  # Python writes no more than some thousand digits
        return f"{value:#x}"


def _name(key: Any) -> Any:
    """Return the name of a part, which pydantic would refuse for a lone surrogate."""
    return key.encode("utf-8", "backslashreplace").decode() if isinstance(key, str) else key


def read_json(data: bytes) -> Any:
    """Read JSON that others may have written; raises ValueError for what nobody could use.

    That is what is nested too deeply, and whole numbers that are beyond all floats: whoever divides
    one need not ask.
    """
    try:
        return json.loads(data, parse_int=_int)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _int(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise ValueError("a number is beyond all floats")
    return int(digits)
