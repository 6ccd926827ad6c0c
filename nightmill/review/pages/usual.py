"""What is usual of a figure, and in which words a night is told that is not.

A figure is compared with the same one of the nights before it: with all of them, and with the band
that holds nine of ten. What lies far outside of the band is unusual; one night in ten lies outside
by its nature, and one in a thousand far outside. A figure that was there almost every night and is
missing from one that went well is unusual, too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from nightmill.review.pages.fact import Fact
from nightmill.review.words import counted, number
from nightmill.spec.summary import Scalar

_LEAST = 5  # earlier values: of fewer nobody knows what is usual
_LEAST_RANKED = 3
_TWENTIETHS = 20
_FAR = 0.5  # of the band's own width
_REGULAR = 0.9  # of the nights that went well have a figure that is missed


@dataclass(frozen=True)
class Usual:
    """The 5th and the 95th percentile of the earlier values, and the median of all."""

    low: float
    high: float
    median: float


class Told(Fact):
    """A figure's newest value in words; `label` tells several figures of one name apart."""

    label: str
    value: Scalar
    partition: str
    words: str
    is_unusual: bool


def finite(value: Scalar) -> float | None:
    """Return a value as a number that can be drawn; None for text, bools, NaN and infinities."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def is_number(value: Scalar) -> TypeGuard[int | float]:
    """Say whether a value can be drawn and compared."""
    return finite(value) is not None


def usual(values: Sequence[float]) -> Usual | None:
    """Say what is usual, by all values but the newest, which comes last; None for too few."""
    if len(values) <= _LEAST:
        return None
    cuts = statistics.quantiles(values[:-1], n=_TWENTIETHS, method="inclusive")
    found = Usual(cuts[0], cuts[-1], statistics.median(values))
    return found if all(map(math.isfinite, (found.low, found.high, found.median))) else None


def tell(
    label: str, values: Sequence[tuple[str, Scalar]], noun: str, *, well: Collection[str]
) -> Told | None:
    """Tell the newest of the values, each with its partition, the oldest first; None of nothing.

    Nights without a value hold None. `well` names those that might have had one.
    """
    present = [(partition, value) for partition, value in values if value is not None]
    if not present:
        return None
    partition, last = present[-1]
    numbers = [value for _partition, value in present if is_number(value)]
    if finite(last) is None:
        said, is_unusual = "no number" if numbers else "", bool(numbers)
    else:
        said, is_unusual = _compared(numbers, noun)
    silent = len(values) - 1 - max(n for n, (_, value) in enumerate(values) if value is not None)
    since = f"of {partition}, none for {counted(silent, noun)} since" if silent else ""
    words = ", ".join(part for part in (since, said) if part)
    is_missed = _is_missed([name for name, _ in values], [name for name, _ in present], well)
    return Told(
        label=label,
        value=last,
        partition=partition,
        words=words,
        is_unusual=is_unusual or is_missed,
    )


def _is_missed(names: Sequence[str], present: Sequence[str], well: Collection[str]) -> bool:
    """Say whether a night since the last of those present went well and lacks what was usual."""
    last = names.index(present[-1])
    so_far = [name for name in names[:last] if name in well]
    usual_ = len(present) >= _LEAST_RANKED and len(present) > _REGULAR * len(so_far)
    return usual_ and any(name in well for name in names[last + 1 :])


def _compared(values: Sequence[float], noun: str) -> tuple[str, bool]:
    """Compare the last value with those before; say whether it is unusual."""
    *earlier, last = values
    many = counted(len(values), noun)
    if not earlier:
        return f"the only {noun}", False
    if min(values) == max(values):
        return f"the same in all {many}", False
    band = usual(values)
    spread = f"{number(band.low)} to {number(band.high)}" if band else ""
    if len(values) >= _LEAST_RANKED and not min(earlier) <= last <= max(earlier):
        rank = "lowest" if last < min(earlier) else "highest"
        said = f" (usual: {spread})" if band else ""
        return f"the {rank} of {many}{said}", _is_far(last, band)
    if band is None:
        return f"{number(min(values))} to {number(max(values))} in {many}", False
    if band.low <= last <= band.high:
        return f"as usual ({spread})", False
    return f"{'lower' if last < band.low else 'higher'} than usual ({spread})", _is_far(last, band)


def _is_far(value: float, band: Usual | None) -> bool:
    if band is None:
        return False
    room = _FAR * (band.high - band.low)
    return not band.low - room <= value <= band.high + room
