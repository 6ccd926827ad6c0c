"""What facts of several pages are made of: bounded texts, values and lists."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightmill.spec.words import plain, printable, shortened

LISTED = 100
"""How many checks, metrics or files of one attempt a page shows; the record has all."""

TEXT_CHARACTERS = 500
"""How much of a text a page shows, unless it says otherwise."""


class Fact(BaseModel):
    """Something that a page shows, and a program reads."""

    model_config = ConfigDict(frozen=True)


class Value(Fact):
    """A parameter or a metric: a number or one line of text."""

    name: str
    value: bool | int | float | str | None


def values_of(values: Mapping[str, Any]) -> tuple[Value, ...]:
    """Tell named values, as many as a page shows of a list."""
    shown = list(values.items())[:LISTED]
    return tuple(Value(name=text(name), value=_scalar(value)) for name, value in shown)


def _scalar(value: Any) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def line(given: str) -> str:
    """Cut a text likewise, and put it on one line."""
    return text(" ".join(given.split()))


def text(given: str, most: int = TEXT_CHARACTERS) -> str:
    """Cut a text that somebody else wrote, and make it inert; line breaks stay.

    What cannot be shown is told by its code: halves of characters, too, which no page can be.
    """
    cut = shortened(plain(given), most)
    return "\n".join(map(printable, cut.split("\n")))
