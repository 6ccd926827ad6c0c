"""JSON that every reader takes: ASCII, and without the numbers that JSON does not have."""

from __future__ import annotations

import json
import math
from typing import Any


def as_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return plain values as ASCII JSON, valid even for lone surrogates, NaN and infinities.

    Those numbers are told as text: null would say that there is no value.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(_without_nan(value), indent=indent, separators=separators, allow_nan=False)
    return text.encode("ascii")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value
