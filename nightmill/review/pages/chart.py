"""A small chart of figures over partitions: its geometry, which `chart.html` draws as SVG.

Drawn on the server, without a script. Curves are told apart by their dashes as well as by colour;
every point leads to its run and says its value, and a table beside the chart has the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightmill.review.pages.usual import Usual
from nightmill.review.words import number
from nightmill.spec.words import shortened

WIDTH, HEIGHT = 380, 160
_TOP, _RIGHT = 10, 10
_AXIS = HEIGHT - 24  # its labels are below it
_CHARACTER = 6.8  # the width of a digit in the size of the axes
_TICKS = 5
_ROUND = (1, 2, 2.5, 5, 10)
_LABEL_CHARACTERS = 16
_MANY = 90  # more points than this are drawn small
_PAD = 0.06  # of the range, above and below
_PLAIN_DECIMALS, _PLAIN_LIMIT = 6, 1e7


@dataclass(frozen=True)
class Curve:
    """A figure by slot, the oldest first; None where it has no value. Addresses are the runs'."""

    label: str
    values: Sequence[float | None]
    addresses: Sequence[str]


@dataclass(frozen=True)
class Mark:
    """A slot that failed: what to say of it, and the address of its run."""

    slot: int
    text: str
    address: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis."""

    at: float
    text: str
    anchor: str = "end"


@dataclass(frozen=True)
class Dot:
    """A point of a curve, or a mark below them."""

    x: float
    y: float
    text: str
    address: str


@dataclass(frozen=True)
class Drawn:
    """A curve as drawn: its line, its points, and the last of them."""

    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Chart:
    """A chart in user units. `band` is y and height of what is usual, `median` its y."""

    title: str
    left: float
    right: float
    curves: tuple[Drawn, ...]
    marks: tuple[Dot, ...]
    ticks: tuple[Tick, ...]
    slots: tuple[Tick, ...]
    band: tuple[float, float] | None
    median: float | None
    radius: float
    width: int = WIDTH
    height: int = HEIGHT


def draw(
    title: str,
    slots: Sequence[str],
    *,
    curves: Sequence[Curve],
    marks: Sequence[Mark] = (),
    usual: Usual | None = None,
) -> Chart | None:
    """Lay a chart out; None where no curve has a value, or their range is beyond all numbers."""
    values = [value for curve in curves for value in curve.values if value is not None]
    if not values:
        return None
    shown = [*values, *((usual.low, usual.high) if usual else ())]
    plane = _plane(min(shown), max(shown), len(slots))
    if plane is None:
        return None
    band = (plane.y(usual.high), plane.y(usual.low) - plane.y(usual.high)) if usual else None
    return Chart(
        title=title,
        left=plane.left,
        right=WIDTH - _RIGHT,
        curves=tuple(_drawn(plane, slots, curve) for curve in curves),
        marks=tuple(Dot(plane.x(one.slot), _AXIS, one.text, one.address) for one in marks),
        ticks=tuple(Tick(plane.y(at), text) for at, text in plane.ticks),
        slots=tuple(_slot_ticks(plane, slots)),
        band=band,
        median=plane.y(usual.median) if usual else None,
        radius=1.6 if len(slots) > _MANY else 2.4,
    )


def round_ticks(low: float, high: float, most: int = _TICKS) -> list[float]:
    """Return round numbers within a range, at most so many and one more."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in _ROUND if one * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number_ * step for number_ in range(first, last + 1)]


@dataclass(frozen=True)
class _Plane:
    """Where values and slots lie."""

    low: float
    high: float
    slots: int
    left: float
    ticks: tuple[tuple[float, str], ...]

    def x(self, slot: int) -> float:
        room = WIDTH - _RIGHT - self.left
        share = slot / (self.slots - 1) if self.slots > 1 else 0.5
        return round(self.left + _RIGHT / 2 + share * (room - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_AXIS - share * (_AXIS - _TOP), 1)


def _plane(low: float, high: float, slots: int) -> _Plane | None:
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        pad = abs(high) / 10 or 1.0
    else:
        pad = _PAD * (high - low)
    low, high = low - pad, high + pad
    if not math.isfinite(high - low) or high - low < 1e-300:  # noqa: PLR2004 - near the last float
        return None
    places = round_ticks(low, high)
    texts = _texts(places)
    left = 8 + _CHARACTER * max(map(len, texts), default=0)
    return _Plane(low, high, slots, left, tuple(zip(places, texts, strict=True)))


def _texts(places: Sequence[float]) -> list[str]:
    """Write the numbers of an axis with the same decimals, as few as tell them apart."""
    if max(map(abs, places), default=0) >= _PLAIN_LIMIT:
        return [f"{place:.3g}" for place in places]
    for decimals in range(_PLAIN_DECIMALS):
        texts = [f"{place:,.{decimals}f}" for place in places]
        if all(
            math.isclose(float(text.replace(",", "")), place, rel_tol=1e-9, abs_tol=1e-12)
            for text, place in zip(texts, places, strict=True)
        ):
            return texts
    return [f"{place:.3g}" for place in places]


def _drawn(plane: _Plane, slots: Sequence[str], curve: Curve) -> Drawn:
    dots, path, is_down = [], [], False
    for slot, value in enumerate(curve.values):
        if value is not None:
            x, y = plane.x(slot), plane.y(value)
            path.append(f"{'L' if is_down else 'M'}{x} {y}")
            label = f"{curve.label}, " if curve.label else ""
            text = f"{label}{slots[slot]}: {number(value)}"
            dots.append(Dot(x, y, text, curve.addresses[slot]))
        is_down = value is not None
    return Drawn(" ".join(path), tuple(dots))


def _slot_ticks(plane: _Plane, slots: Sequence[str]) -> Iterator[Tick]:
    if len(slots) == 1:
        yield Tick(plane.x(0), shortened(slots[0], _LABEL_CHARACTERS), "middle")
        return
    yield Tick(plane.left, shortened(slots[0], _LABEL_CHARACTERS), "start")
    yield Tick(WIDTH - _RIGHT, shortened(slots[-1], _LABEL_CHARACTERS), "end")
