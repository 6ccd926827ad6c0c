"""Charts, and the words for what is usual."""

import math

import pytest

from nightmill.review.pages.chart import HEIGHT, WIDTH, Curve, Mark, draw, round_ticks
from nightmill.review.pages.usual import Usual, finite, tell, usual

STEADY = [0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78, 0.79, 0.80]


def curve(*values, label=""):
    return Curve(label, values, [f"/runs/{number}" for number in range(len(values))])


def drawn(*values, **options):
    slots = [f"day {number}" for number in range(len(values))]
    return draw("auc", slots, curves=[curve(*values)], **options)


def told(*values, noun="night", without=()):
    """Tell the newest value of nights that went well, but for those `without` any."""
    pairs = [(f"day {number}", value) for number, value in enumerate(values)]
    return tell("", pairs, noun, well={name for name, _ in pairs} - set(without))


@pytest.mark.parametrize(
    ("values", "words", "is_unusual"),
    [
        ([0.5], "the only night", False),
        ([0.5, 0.5, 0.5], "the same in all 3 nights", False),
        ([3, 2], "2 to 3 in 2 nights", False),
        ([1, 3, 2], "1 to 3 in 3 nights", False),
        ([2, 3, 1], "the lowest of 3 nights", False),
        ([*STEADY, 0.755], "as usual (0.7050 to 0.7950)", False),
        ([*STEADY, 0.702], "lower than usual (0.7050 to 0.7950)", False),
        ([*STEADY, 0.799], "higher than usual (0.7050 to 0.7950)", False),
        ([*STEADY, 0.699], "the lowest of 12 nights (usual: 0.7050 to 0.7950)", False),
        ([*STEADY, 0.61], "the lowest of 12 nights (usual: 0.7050 to 0.7950)", True),
        ([*STEADY, 0.95], "the highest of 12 nights (usual: 0.7050 to 0.7950)", True),
        ([*STEADY, "NaN"], "no number", True),
        ([*STEADY, "Infinity"], "no number", True),
        (["good", "bad"], "", False),
        ([True, False], "", False),
        ([1, 2, None, None], "of day 1, none for 2 nights since, 1 to 2 in 2 nights", False),
        ([5] * 8 + [6], "the highest of 9 nights (usual: 5.000 to 5.000)", True),
    ],
)
def test_words(values, words, is_unusual):
    """The newest value is told in comparison with those before it; only what is far out alarms."""
    found = told(*values)
    assert (found.words, found.is_unusual) == (words, is_unusual)


@pytest.mark.parametrize(
    ("values", "without", "is_unusual"),
    [
        ([1, 1, 1, None], (), True),
        ([1] * 5 + [None] * 21, (), True),
        (["a", "b", "c", None], (), True),
        ([1, 1, 1, None], ("day 3",), False),  # it failed, runs, or was never run
        ([1, None, 1, 1, None], ("day 1",), True),  # one night failed, the others had it
        ([1, None, 1, None, 1, None], (), False),  # it is there now and then
        ([1, 1, None], (), False),  # of two nights nobody knows
        ([1, 1, 1, 1], (), False),
    ],
)
def test_what_is_missed(values, without, is_unusual):
    """A figure that was there all nights is missed in one that went well without it."""
    assert told(*values, without=without).is_unusual == is_unusual


def test_nothing_to_tell():
    """Of nights without any value nothing is said, and of no figure what is usual."""
    assert told(None, None) is None
    assert usual([1.0] * 5) is None
    assert usual([1e308, -1e308] * 5) is None  # what lies between them no float holds


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (0.5, 0.5),
        (True, None),
        ("0.5", None),
        (None, None),
        (math.nan, None),
        (math.inf, None),
        (10**400, None),
    ],
)
def test_finite(value, number):
    """Only finite numbers are drawn: no bools, text, NaN, infinities, or what no float holds."""
    assert finite(value) == number


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.58, 0.79, [0.6, 0.65, 0.7, 0.75]),
        (-7.0, 12.0, [-5, 0, 5, 10]),
        (1100.0, 1300.0, [1100, 1150, 1200, 1250, 1300]),
        (2e9, 9e9, [2e9, 4e9, 6e9, 8e9]),
    ],
)
def test_round_ticks(low, high, ticks):
    """The axis has a few round numbers within the range."""
    assert round_ticks(low, high) == pytest.approx(ticks)


def test_higher_is_further_up():
    """Slots go from left to right, values from the bottom up, and all lies within the picture."""
    (line,) = drawn(1, 3, 2).curves
    (first, second, third) = line.dots
    assert first.x < second.x < third.x
    assert second.y < third.y < first.y
    assert all(0 < dot.x < WIDTH and 0 < dot.y < HEIGHT for dot in line.dots)
    assert [dot.text for dot in line.dots] == ["day 0: 1", "day 1: 3", "day 2: 2"]
    assert second.address == "/runs/1"


def test_a_missing_night_breaks_the_line():
    """No line is drawn across a night without a value, and a lone point stands for itself."""
    (line,) = drawn(1, 2, None, 3).curves
    assert line.path.count("M") == 2
    assert line.path.count("L") == 1
    assert len(line.dots) == 3


def test_usual_band():
    """The band spans what is usual, the median lies in it, and both are on the picture."""
    chart = drawn(1, 2, 9, usual=Usual(low=1.5, high=4.0, median=2.0))
    top, height = chart.band
    assert 0 < top < chart.median < top + height < HEIGHT


def test_marks_stand_on_the_axis():
    """A night that failed is marked below its place."""
    chart = drawn(1, None, 2, marks=[Mark(1, "day 1: failed", "/runs/1")])
    (mark,) = chart.marks
    assert max(tick.at for tick in chart.ticks) <= mark.y < HEIGHT
    assert chart.curves[0].dots[0].x < mark.x < chart.curves[0].dots[1].x


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.5, 0.5], ["0.46", "0.48", "0.50", "0.52", "0.54"]),
        ([0, 0], ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        ([1_200_000, 1_400_000], ["1,200,000", "1,250,000", "1,300,000", "1,350,000", "1,400,000"]),
        ([1e-9, 2e-9], ["1e-09", "1.25e-09", "1.5e-09", "1.75e-09", "2e-09"]),
        ([1e300, 2e300], ["1e+300", "1.25e+300", "1.5e+300", "1.75e+300", "2e+300"]),
    ],
)
def test_numbers_of_the_axis(values, texts):
    """The axis is readable for constants, large and tiny values, in as few digits as it takes."""
    chart = drawn(*values)
    assert [tick.text for tick in chart.ticks] == texts
    assert all(len(text) * 6 < chart.left for text in texts)  # beside the plane, not over it


def test_one_night():
    """A single value is a point in the middle."""
    chart = drawn(5)
    assert [slot.anchor for slot in chart.slots] == ["middle"]
    assert len(chart.curves[0].dots) == 1


@pytest.mark.parametrize("values", [(None, None), (), (1.7e308, -1.7e308), (0, 5e-324)])
def test_what_cannot_be_drawn(values):
    """Without a value, or beyond what floats can lay out, there is no chart and no error."""
    assert drawn(*values) is None
