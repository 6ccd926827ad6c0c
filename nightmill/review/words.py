"""How the pages write figures: the units, times and spans that a reader takes in at a glance.

Times are shown in the pipeline's own time zone, which is always named beside them.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from nightmill.spec import words

_SECOND, _MINUTE_S, _HOUR_S, _DAY_S = 1, 60, 3600, 86_400
_SHOWN_DIGITS = 4
_LARGE, _SMALL = 1e9, 1e-4
_ENDLESS = 10**21  # more than any counter or name of 64 bits


def amount(count: int | None) -> str:
    """Return bytes as 3.4 MiB; empty where there are none known."""
    return "" if count is None else words.amount(count)


def counted(number: int, noun: str, many: str = "") -> str:
    """Return 1 run, 2 runs."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def duration(seconds: float | None) -> str:
    """Return a span that was measured: 42 ms, 12.3 s, 4 min 05 s, 2 h 07 min, 3 d 4 h."""
    if seconds is None:
        return ""
    return _span(seconds) if seconds >= 0 else f"-{_span(-seconds)}"  # clocks differ


def _span(seconds: float) -> str:
    if seconds < _SECOND - 0.0005:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE_S - 0.05:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // 60:02} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def number(value: object) -> str:
    """Return a figure with at least four digits of it; what is no number as it is.

    Whole numbers are exact up to 21 digits: more, nobody reads, and no table has room for.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < _ENDLESS else f"{Decimal(value):.3e}"
    if not math.isfinite(value):
        return str(value)
    if value == 0 or _SMALL <= abs(value) < _LARGE:
        whole = len(str(abs(int(value)))) if abs(value) >= 1 else 0
        return f"{value:,.{max(_SHOWN_DIGITS - whole, 0) if whole else _digits(value)}f}"
    return f"{value:.3e}"


def _digits(value: float) -> int:
    """Count the decimals that show four digits of what is less than one."""
    leading = -math.floor(math.log10(abs(value))) - 1 if value else 0
    return _SHOWN_DIGITS + leading


def moment(when: datetime | None, zone: str = "UTC") -> str:
    """Return a time with its day: 26 Nov 2026, 02:31 EST."""
    if when is None:
        return ""
    local = _local(when, zone)
    return f"{local.day} {local:%b %Y, %H:%M} {zone_name(local, zone)}"


def clock(when: datetime | None, zone: str = "UTC") -> str:
    """Return the time of day alone: 02:31."""
    return "" if when is None else f"{_local(when, zone):%H:%M}"


def _local(when: datetime, zone: str) -> datetime:
    """Return a time as the clocks of a zone tell it; at the ends of the calendar, as it is."""
    try:
        return when.astimezone(ZoneInfo(zone))
    except OverflowError:
        return when


def zone_name(local: datetime, zone: str) -> str:
    """Return what people call the zone at that time; some have only an offset."""
    name = local.tzname() or zone
    return name if name[:1].isalpha() else f"UTC{name[:3]}:{name[3:] or '00'}"


def since(when: datetime | None) -> str:
    """Return how long ago something was: 20 s ago, 3 h 10 min ago."""
    if when is None:
        return ""
    seconds = (datetime.now(UTC) - when).total_seconds()
    return (
        "just now"
        if seconds < 1
        else f"{duration(float(round(seconds)))} ago".replace(".0 s", " s")
    )
