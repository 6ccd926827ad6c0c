"""Sketches and distances between distributions, against values worked out by hand or elsewhere."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.audit.sketch import Numbers, Texts, ks, psi, read_sketch


def sketch(values: list[float], nulls: int = 0) -> Numbers:
    """Sketch numbers in plain Python: the value at each hundredth of the sorted list."""
    ordered = sorted(values)
    points = [ordered[max(0, math.ceil(n / 100 * len(ordered)) - 1)] for n in range(101)]
    return read_sketch({"rows": len(values) + nulls, "nulls": nulls, "quantiles": points})


def uniform(count: int, low: float = 0.0, high: float = 1.0) -> list[float]:
    return [low + (high - low) * n / count for n in range(count)]


def test_equal_distributions_have_no_distance():
    """The same data gives zero in both measures, however often it is pooled."""
    now = sketch(uniform(1000))
    assert psi(now, [now, now, now]) == pytest.approx(0, abs=1e-9)
    assert ks(now, [now, now]) == 0


def test_ks_of_two_uniforms():
    """Uniform on 0..1 against uniform on 0.3..1.3: the curves are 0.3 apart."""
    assert ks(sketch(uniform(10_000, 0.3, 1.3)), [sketch(uniform(10_000))]) == pytest.approx(
        0.3, abs=0.01
    )


def test_ks_of_data_apart():
    """Data that do not overlap are as far apart as can be."""
    assert ks(sketch([5.0] * 100), [sketch([1.0] * 100)]) == 1


def test_psi_of_two_values():
    """PSI of shares 0.5/0.5 against 0.8/0.2, worked out by its formula."""
    old, new = sketch([0.0] * 500 + [1.0] * 500), sketch([0.0] * 800 + [1.0] * 200)
    expected = (0.8 - 0.5) * math.log(0.8 / 0.5) + (0.2 - 0.5) * math.log(0.2 / 0.5)
    assert psi(new, [old]) == pytest.approx(expected, abs=0.02)


def by_hand(old: list[float], new: list[float], rows: int) -> float:
    """Add up the formula over shares of bins that were written down."""
    pairs = [(max(p, 0.5 / rows), max(q, 0.5 / rows)) for p, q in zip(old, new, strict=True)]
    return sum((q - p) * math.log(q / p) for p, q in pairs)


MASSES = {
    # values then and now, and the shares of the bins: below, at and above what is frequent
    "one to zero": ([1.0] * 1000, [0.0] * 1000, [0, 1, 0], [1, 0, 0]),
    "zero to one": ([0.0] * 1000, [1.0] * 1000, [0, 1, 0], [0, 0, 1]),
    "constant": ([5.0] * 1000, [5.0] * 1000, [1], [1]),
    "mostly ones": ([1.0] * 950 + [0.0] * 50, [1.0] * 50 + [0.0] * 950, [0.05, 0.95], [0.95, 0.05]),
    "mostly zeros": (
        [0.0] * 950 + [1.0] * 50, [0.0] * 50 + [1.0] * 950, [0.95, 0.05], [0.05, 0.95],
    ),
    "ones are gone": ([1.0] * 800 + [0.0] * 200, [0.0] * 1000, [0.2, 0.8], [1, 0]),
    "at the top": ([1.0] * 920 + [0.5] * 80, [1.0] * 200 + [0.5] * 800, [0.08, 0.92], [0.8, 0.2]),
    "amid": (
        [-1.0] * 300 + [0.0] * 400 + [1.0] * 300,
        [-1.0] * 500 + [0.0] * 100 + [1.0] * 400,
        [0.3, 0.4, 0.3],
        [0.5, 0.1, 0.4],
    ),
    "to between": ([0.0] * 500 + [1.0] * 500, [0.5] * 1000, [0.5, 0, 0.5], [0, 1, 0]),
    "infinite": (
        [math.inf] * 300 + [1.0] * 700, [math.inf] * 100 + [1.0] * 900, [0.3, 0.7], [0.1, 0.9],
    ),
    "both infinite": (
        [-math.inf] * 500 + [math.inf] * 500, [math.inf] * 1000, [0.5, 0.5], [0, 1],
    ),
    "top of a slope": (
        [1.0] * 500 + uniform(500), [1.0] * 100 + uniform(900),
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.5], [0.18, 0.18, 0.18, 0.18, 0.18, 0.1],
    ),
    "foot of a slope": (
        [0.0] * 500 + uniform(500, 1, 2), [-1.0] * 500 + uniform(500, 1, 2),
        [0, 0.5, 0.5], [0.5, 0, 0.5],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("then", "now", "old", "new"), MASSES.values(), ids=MASSES)
def test_psi_of_frequent_values(then, now, old, new):
    """Whatever leaves a frequent value counts, wherever it goes: PSI is that of the true shares."""
    found = psi(sketch(now), [sketch(then)] * 2)
    floor = [(p, q) for p, q in zip(old, new, strict=True) if 0 in (p, q)]
    assert found == pytest.approx(by_hand(old, new, 1000), rel=0.06, abs=0.02 + 0.35 * len(floor))


def test_psi_of_frequent_values_is_exact_where_nothing_is_rounded():
    """Half a row stands for none: all rows from one value to another, by the formula."""
    found = psi(sketch([0.0] * 1000), [sketch([1.0] * 1000)])
    assert found == pytest.approx(by_hand([0, 1], [1, 0], 1000))


def test_ks_of_frequent_values():
    """The curves are compared on both sides of each step."""
    assert ks(sketch([1.0] * 1000), [sketch(uniform(1000))]) == pytest.approx(1, abs=1e-9)
    assert ks(sketch([0.0] * 1000), [sketch([1.0] * 1000)]) == 1
    old, new = sketch([1.0] * 950 + [0.0] * 50), sketch([1.0] * 50 + [0.0] * 950)
    assert ks(new, [old]) == ks(old, [new]) == pytest.approx(0.9)


def test_psi_of_texts():
    """The same for texts, where shares are exact; a text that is new counts as any other."""
    old = Texts(1000, 0, {"a": 500, "b": 500})
    new = Texts(100, 0, {"a": 50, "b": 25, "c": 25})
    least = 0.5 / 1000  # no other text before: half a row
    expected = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.25 - least) * math.log(0.25 / least)
    assert psi(new, [old]) == pytest.approx(expected)


def test_psi_of_nulls():
    """Nulls are a bin of their own."""
    old, new = sketch(uniform(900), nulls=100), sketch(uniform(500), nulls=500)
    expected = (0.5 - 0.1) * math.log(0.5 / 0.1) + (0.5 - 0.9) * math.log(0.5 / 0.9)
    assert psi(new, [old]) == pytest.approx(expected, abs=0.01)


def test_texts_that_are_rarer_than_the_sketch_holds_are_no_shift():
    """Of many texts a sketch keeps some by chance: which ones says nothing; one that rises does."""
    drawn = random.Random(1)  # noqa: S311 - data for a test

    def sample(*risen: str) -> Texts:
        counts = Counter([*(str(drawn.randrange(60)) for _ in range(900)), *risen])
        return Texts(900 + len(risen), 0, dict(counts.most_common(50)))

    before = [sample() for _ in range(7)]
    assert max(psi(sample(), before) for _ in range(100)) < 0.2
    assert psi(sample(*["new"] * 300), before) > 1


def test_pooling_weighs_by_rows():
    """A partition of 900 rows counts nine times one of 100."""
    big, small = sketch([0.0] * 900), sketch([1.0] * 100)
    assert ks(sketch([0.0] * 900 + [1.0] * 100), [big, small]) == pytest.approx(0, abs=0.011)


SHAPES = {
    "smooth": lambda drawn: drawn.betavariate(2, 6),
    "mostly ones": lambda drawn: float(drawn.random() < 0.95),
    "dice": lambda drawn: float(drawn.randint(1, 6)),
    "whole numbers": lambda drawn: float(drawn.randint(0, 15)),
    "rounded": lambda drawn: round(drawn.betavariate(2, 6), 1),
    "half zeros": lambda drawn: max(0.0, drawn.random() - 0.5),
    "clipped": lambda drawn: min(1.0, max(0.0, drawn.gauss(0.5, 0.5))),
    "some infinite": lambda drawn: math.inf if drawn.random() < 0.1 else drawn.random(),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("rows", [50, 200, 1000])
def test_chance_alone_stays_below_the_usual_threshold(rows, shape):
    """Of a hundred samples of one distribution hardly one reaches a PSI of 0.2, small or large."""
    drawn = random.Random(rows)  # noqa: S311 - data for a test

    def sample(count: int) -> Numbers:
        return sketch([shape(drawn) for _ in range(count)])

    before = [sample(rows) for _ in range(7)]
    distances = [psi(sample(rows), before) for _ in range(100)]
    assert sum(distance > 0.2 for distance in distances) <= 2
    assert max(distances) < 0.5


def test_a_sketch_survives_the_record():
    """What a record keeps reads back as the very same sketch, rounded once."""
    now = sketch([n / 7 for n in range(1000)])
    assert read_sketch(now.profile()) == now
    texts = Texts(10, 1, {"a": 9})
    assert read_sketch(texts.profile()) == texts


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"rows": 5},
        {"rows": 5, "nulls": 0, "quantiles": [1, 2]},
        {"rows": 5, "nulls": 0, "quantiles": ["x"] * 101},
        {"rows": "many", "nulls": 0, "quantiles": [1] * 101},
        {"rows": 5, "nulls": 0, "counts": [1]},
        {"rows": 5, "nulls": 5, "quantiles": [1] * 101},
        {"rows": 0, "nulls": 0, "counts": {}},
    ],
)
def test_what_is_no_sketch_is_none(profile):
    """A profile of another shape, or of no values at all, is no sketch."""
    assert read_sketch(profile) is None


def test_infinities_are_numbers():
    """Infinite values are kept, and JSON's way of writing them is read."""
    now = sketch([-math.inf, *uniform(500), math.inf])
    again = read_sketch({**now.profile(), "quantiles": [str(x) for x in now.quantiles]})
    assert again == now
    assert ks(now, [again]) == 0


VALUES = st.lists(st.floats(allow_nan=False), min_size=1, max_size=200)


@settings(deadline=None)  # a busy machine is no failure
@given(VALUES, VALUES)
def test_distances_are_total(one, other):
    """Whatever the numbers, KS is from 0 to 1, PSI is finite and not negative."""
    now, before = sketch(one), sketch(other)
    assert 0 <= ks(now, [before]) <= 1
    assert -1e-9 <= psi(now, [before, now]) < 100
