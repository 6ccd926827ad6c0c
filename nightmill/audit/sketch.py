"""Small sketches of a column's distribution, and two distances between distributions.

A sketch fits into a record: 101 quantiles of numbers, or the counts of the 50 most frequent texts.
Those of several partitions are pooled, weighted by their rows, and compared with today's.

PSI, the population stability index: sum over bins of (p - q) * ln(p / q), the symmetric divergence
of Jeffreys (1946) as credit scoring uses it (Siddiqi, Credit Risk Scorecards, 2006). Bins are the
deciles of what is compared with, and one for nulls. A value that alone is about as frequent as a
decile has a bin of its own, so that what leaves it is seen, wherever it goes. By chance alone PSI
is about (bins - 1) * (1/n + 1/m) for n and m rows (Yurdakul, 2018), so small data gets fewer bins:
20 rows in each. A share of nothing counts as half a row. Rule of thumb: below 0.1 no change, above
0.25 a large one.

KS, the statistic of Kolmogorov (1933) and Smirnov (1948): the largest difference between the two
cumulative distributions, from 0 to 1. By chance alone 1.36 / sqrt(n) is rarely exceeded.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

POINTS = 101
TEXTS = 50
FEWEST_ROWS = 50
_BINS = 10
_ROWS_A_BIN = 20
_COMPARED_TEXTS = 20
_MASS = 0.75  # of a bin's share, from which on a value has its own: chance stays small with so many


@dataclass(frozen=True)
class Numbers:
    """Quantiles of the numbers of a column, the least and the largest included.

    Rounded to eight digits, so that today's number is equal to yesterday's from the record.
    """

    rows: int
    nulls: int
    quantiles: tuple[float, ...]

    def profile(self) -> dict[str, Any]:
        """Return what a record keeps."""
        return {"rows": self.rows, "nulls": self.nulls, "quantiles": list(self.quantiles)}

    @cached_property
    def steps(self) -> tuple[tuple[float, ...], list[float], list[float]]:
        """The different quantiles, the shares of values below each, and those up to each.

        What lies between two quantiles is spread evenly, except between two values that are both
        frequent, or infinitely far apart: there each gets half of it.
        """
        points, last = self.quantiles, len(self.quantiles) - 1
        values = tuple(dict.fromkeys(points))
        under = [float(bisect_left(points, value)) for value in values]
        upto = [float(bisect_right(points, value) - 1) for value in values]
        frequent = [low < high for low, high in zip(under, upto, strict=True)]
        for left, right in pairwise(range(len(values))):
            if (frequent[left] and frequent[right]) or math.isinf(values[right] - values[left]):
                upto[left] = under[right] = (upto[left] + under[right]) / 2
        return values, [height / last for height in under], [height / last for height in upto]

    def below(self, number: float, *, included: bool = True) -> float:
        """Return the share of values up to a number, or below it; a frequent value is a step."""
        values, under, upto = self.steps
        index = bisect_right(values, number) - 1
        if index < 0:
            return 0.0
        if values[index] == number:
            return (upto if included else under)[index]
        if index == len(values) - 1:
            return 1.0
        width = values[index + 1] - values[index]
        inner = (number - values[index]) / width if math.isfinite(width) else 0.0
        return upto[index] + inner * (under[index + 1] - upto[index])


@dataclass(frozen=True)
class Texts:
    """How often the most frequent texts of a column occur."""

    rows: int
    nulls: int
    counts: Mapping[str, int]

    def profile(self) -> dict[str, Any]:
        """Return what a record keeps."""
        return {"rows": self.rows, "nulls": self.nulls, "counts": dict(self.counts)}


Sketch = Numbers | Texts


def read_sketch(profile: Mapping[str, Any]) -> Sketch | None:
    """Read what a record kept; None for a shape of another version, or nothing but nulls."""
    try:
        rows, nulls = int(profile["rows"]), int(profile["nulls"])
        if not 0 <= nulls < rows:
            return None
        if "counts" in profile:
            return Texts(rows, nulls, {str(k): int(v) for k, v in profile["counts"].items()})
        quantiles = tuple(float(f"{float(number):.8g}") for number in profile["quantiles"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Numbers(rows, nulls, quantiles) if len(quantiles) == POINTS else None


def psi(now: Sketch, before: Sequence[Sketch]) -> float:
    """Return the population stability index; all sketches are of one kind, none is empty."""
    rows = sum(sketch.rows for sketch in before)
    nulls = sum(sketch.nulls for sketch in before)
    expected, actual = _shares(now, before)
    pairs = zip(
        [nulls / rows, *(share * (1 - nulls / rows) for share in expected)],
        [now.nulls / now.rows, *(share * (1 - now.nulls / now.rows) for share in actual)],
        strict=True,
    )
    total = 0.0
    for old, new in pairs:
        if old or new:
            old_share, new_share = max(old, 0.5 / rows), max(new, 0.5 / now.rows)
            total += (new_share - old_share) * math.log(new_share / old_share)
    return total


def ks(now: Numbers, before: Sequence[Numbers]) -> float:
    """Return the largest difference between the cumulative distributions."""
    pooled = _pooled(before)
    points = {*now.quantiles, *(number for sketch in before for number in sketch.quantiles)}
    return max(
        abs(now.below(point, included=included) - pooled(point, included=included))
        for point in points
        for included in (False, True)
    )


def _shares(now: Sketch, before: Sequence[Sketch]) -> tuple[list[float], list[float]]:
    """Return the shares of the bins, before and now; each adds up to 1."""
    bins = min(_BINS, max(2, now.rows // _ROWS_A_BIN))
    if isinstance(now, Texts):
        texts = [sketch for sketch in before if isinstance(sketch, Texts)]
        return _shares_of_texts(now, texts, bins)
    numbers = [sketch for sketch in before if isinstance(sketch, Numbers)]
    edges = _edges(numbers, bins)
    return _parts(_pooled(numbers), edges), _parts(now.below, edges)


def _edges(before: Sequence[Numbers], bins: int) -> list[tuple[float, bool]]:
    """Return where bins end: at a number, or right before it."""
    pooled = _pooled(before)
    points = sorted({number for sketch in before for number in sketch.quantiles})
    heights = [pooled(point) for point in points]
    wanted = [number / bins for number in range(1, bins)]
    edges = {(points[_first_at_least(heights, height)], True) for height in wanted}
    for point, height in zip(points, heights, strict=True):
        if height - pooled(point, included=False) >= _MASS / bins:
            edges |= {(point, False), (point, True)}
    return sorted(edges)


def _first_at_least(heights: Sequence[float], height: float) -> int:
    almost = height - 1e-9  # sums of shares miss a round number by a hair
    return next(index for index, reached in enumerate(heights) if reached >= almost)


def _parts(below: _Below, edges: Sequence[tuple[float, bool]]) -> list[float]:
    inner = [below(number, included=included) for number, included in edges]
    return [high - low for low, high in pairwise([0.0, *inner, 1.0])]


class _Below(Protocol):
    """The share of values up to a number, or below it."""

    def __call__(self, number: float, *, included: bool = True) -> float: ...


def _pooled(sketches: Sequence[Numbers]) -> _Below:
    weights = [sketch.rows - sketch.nulls for sketch in sketches]
    whole = sum(weights)

    def below(number: float, *, included: bool = True) -> float:
        heights = [sketch.below(number, included=included) for sketch in sketches]
        return sum(weight * height for weight, height in zip(weights, heights, strict=True)) / whole

    return below


def _shares_of_texts(
    now: Texts, before: Sequence[Texts], bins: int
) -> tuple[list[float], list[float]]:
    pooled: Counter[str] = Counter()
    for sketch in before:
        pooled.update(sketch.counts)
    old_rows = sum(sketch.rows - sketch.nulls for sketch in before)
    new_rows = now.rows - now.nulls
    # Each text with such a share was counted each time; rarer ones only when there was room.
    known = [text for text, count in pooled.most_common() if count * TEXTS >= old_rows]
    risen = [text for text, count in now.counts.items() if count * 2 * bins >= new_rows]
    room = min(_COMPARED_TEXTS, max(2, now.rows // _ROWS_A_BIN))
    frequent = dict.fromkeys([*known[:room], *risen])
    both = []
    for counts, rows in ((pooled, old_rows), (now.counts, new_rows)):
        named = [counts.get(text, 0) / rows if rows else 0.0 for text in frequent]
        both.append([*named, max(0.0, 1.0 - sum(named))])
    return both[0], both[1]
