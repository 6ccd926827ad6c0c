"""JSON that every reader takes: ASCII, without the numbers that JSON has not; and what we take."""

from __future__ import annotations

import json
import math
from typing import Any

_MOST_DIGITS = 300


def as_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return plain values as ASCII JSON, valid even for lone surrogates, NaN and infinities.

    Those numbers are told as text: null would say that there is no value.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(_without_nan(value), indent=indent, separators=separators, allow_nan=False)
    return text.encode("ascii")


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
    if len(digits) > _MOST_DIGITS:
        raise ValueError("a number is beyond all floats")
    return int(digits)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value
