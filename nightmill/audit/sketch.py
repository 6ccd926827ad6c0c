"""Small sketches of a column's distribution, and two distances between distributions.

A sketch fits into a record: 101 quantiles of numbers, or the counts of the 50 most frequent texts.
Those of several partitions are pooled, weighted by their rows, and compared with today's.

PSI, the population stability index: sum over bins of (p - q) * ln(p / q), the symmetric divergence
of Jeffreys (1946) as credit scoring uses it (Siddiqi, Credit Risk Scorecards, 2006). Bins are the
deciles of what is compared with, and one for nulls. By chance alone it is about (bins - 1) *
(1/n + 1/m) for n and m rows (Yurdakul, 2018), so small data gets fewer bins: 20 rows in each. A
share of nothing counts as half a row. Rule of thumb: below 0.1 no change, above 0.25 a large one.

KS, the statistic of Kolmogorov (1933) and Smirnov (1948): the largest difference between the two
cumulative distributions, from 0 to 1. By chance alone 1.36 / sqrt(n) is rarely exceeded.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

POINTS = 101
TEXTS = 50
FEWEST_ROWS = 50
_BINS = 10
_ROWS_A_BIN = 20
_COMPARED_TEXTS = 20


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

    def below(self, number: float) -> float:
        """Return the share of values up to a number; a value that is frequent is a step."""
        points = self.quantiles
        index = bisect_right(points, number)
        if index in (0, len(points)):
            return float(bool(index))
        left, right = points[index - 1], points[index]
        inner = (number - left) / (right - left) if math.isfinite(right - left) else 0.0
        return (index - 1 + inner) / (len(points) - 1)


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
    return max(abs(now.below(point) - pooled(point)) for point in points)


def _shares(now: Sketch, before: Sequence[Sketch]) -> tuple[list[float], list[float]]:
    """Return the shares of the bins, before and now; each adds up to 1."""
    bins = min(_BINS, max(2, now.rows // _ROWS_A_BIN))
    if isinstance(now, Texts):
        texts = [sketch for sketch in before if isinstance(sketch, Texts)]
        return _shares_of_texts(now, texts, bins)
    numbers = [sketch for sketch in before if isinstance(sketch, Numbers)]
    pooled = _pooled(numbers)
    points = sorted({number for sketch in numbers for number in sketch.quantiles})
    heights = [pooled(point) for point in points]
    wanted = [number / bins for number in range(1, bins)]
    edges = sorted({points[_first_at_least(heights, height)] for height in wanted})
    return _steps(pooled, edges), _steps(now.below, edges)


def _first_at_least(heights: Sequence[float], height: float) -> int:
    almost = height - 1e-9  # sums of shares miss a round number by a hair
    return next(index for index, reached in enumerate(heights) if reached >= almost)


def _steps(below: Callable[[float], float], edges: Sequence[float]) -> list[float]:
    heights = [0.0, *(below(edge) for edge in edges), 1.0]
    return [high - low for low, high in pairwise(heights)]


def _pooled(sketches: Sequence[Numbers]) -> Callable[[float], float]:
    weights = [sketch.rows - sketch.nulls for sketch in sketches]
    whole = sum(weights)

    def below(number: float) -> float:
        heights = [sketch.below(number) for sketch in sketches]
        return sum(weight * height for weight, height in zip(weights, heights, strict=True)) / whole

    return below


def _shares_of_texts(
    now: Texts, before: Sequence[Texts], bins: int
) -> tuple[list[float], list[float]]:
    pooled: Counter[str] = Counter()
    for sketch in before:
        pooled.update(sketch.counts)
    frequent = [text for text, _count in pooled.most_common(min(_COMPARED_TEXTS, bins * 2))]
    old_rows = sum(sketch.rows - sketch.nulls for sketch in before)
    both = []
    for counts, rows in ((pooled, old_rows), (now.counts, now.rows - now.nulls)):
        named = [counts.get(text, 0) / rows if rows else 0.0 for text in frequent]
        both.append([*named, max(0.0, 1.0 - sum(named))])
    return both[0], both[1]
