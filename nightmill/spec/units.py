"""Amounts as authors write them (`2Gi`, `500m`, `30m`), turned into plain numbers with a unit."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from nightmill.spec.problems import Fault, Faults, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

BYTES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

MAX_MEMORY = 2**50
MAX_CPU = 10_000
MAX_DAYS = 36_600  # a hundred years; beyond, somebody's unit is wrong

ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-[0-9]{2}")

_NUMBER = r"(\d{1,16}(?:\.\d{1,9})?)"  # 16 digits hold every byte of the largest amount


def parse_memory(value: Any) -> int:
    """Read a Kubernetes quantity of memory as bytes."""
    match = _match(_NUMBER + r"([kMGT]|[KMGT]i)", value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise _fault(f"the memory {shown(value)} has no unit", f"write {value}Gi or {value}Mi")
    if not match:
        raise _fault(f"{_found(value)} is no amount of memory", "write it like 512Mi or 2Gi")
    size = int(Decimal(match[1]) * BYTES[match[2]])
    if not 2**20 <= size <= MAX_MEMORY:
        raise _fault(f"{shown(value)} is no sensible amount of memory", "from 1Mi to 1024Ti")
    return size


def parse_cpu(value: Any) -> int:
    """Read a Kubernetes quantity of processors as thousandths of one."""
    match = None if isinstance(value, bool) else _match(_NUMBER + r"(m?)", str(value))
    millicores = Decimal(match[1]) * (1 if match[2] else 1000) if match else Decimal(0)
    if not match or millicores != int(millicores) or not 0 < millicores <= MAX_CPU * 1000:
        raise _fault(f"{_found(value)} is no amount of processors", "write it like 2, 0.5 or 500m")
    return int(millicores)


def parse_duration(value: Any) -> timedelta:
    """Read a time span; one number and one unit, so that nobody must add in their head."""
    match = _match(_NUMBER + r"([smhd])", value)
    if not match:
        raise _fault(f"{_found(value)} is no time span", "write it like 90s, 30m, 2h or 1d")
    seconds = Decimal(match[1]) * SECONDS[match[2]]
    if not 0 < seconds <= MAX_DAYS * 86400:
        raise _fault(f"{shown(value)} is no sensible time span", f"above 0, up to {MAX_DAYS}d")
    return timedelta(seconds=float(seconds))


def parse_date(value: Any) -> Any:
    """Read a date also where the author quoted it."""
    if isinstance(value, str):
        try:
            return iso_date(value)
        except ValueError:
            raise Faults([no_date(value)]) from None
    return value


def iso_date(text: str) -> date:
    """Read YYYY-MM-DD and nothing else; raises ValueError."""
    # date.fromisoformat also takes 20130301 and 2013-W09-5, which sort and compare differently.
    if not ISO_DATE.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text)


def no_date(text: str) -> Fault:
    """Say why text is no date: it is written otherwise, or the calendar has no such day."""
    if not (match := ISO_DATE.fullmatch(text)):
        return Fault(f"{shown(text)} is no date", "write it like 2013-03-01")
    year, month = int(match[1]), int(match[2])
    problem = f"there is no day {shown(text)}"
    if not (year and 1 <= month <= 12):  # noqa: PLR2004 - months
        return Fault(problem, "write the year, the month and the day, like 2013-03-01")
    return Fault(problem, f"{text[:7]} has {monthrange(year, month)[1]} days")


def _match(pattern: str, value: Any) -> re.Match[str] | None:
    return re.fullmatch(pattern, value, re.ASCII) if isinstance(value, str) else None


def _found(value: Any) -> str:
    return "nothing" if value is None else shown(value)


def _fault(problem: str, advice: str) -> Faults:
    return Faults([Fault(problem, advice)])


class _Parsed:
    """Tells pydantic to read a value by a function first; the engine reads spans without it."""

    def __init__(self, parse: Callable[[Any], Any]) -> None:
        self._parse = parse

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema  # noqa: PLC0415 - see above

        return core_schema.no_info_before_validator_function(self._parse, handler(source))


Memory = Annotated[int, _Parsed(parse_memory)]
Cpu = Annotated[int, _Parsed(parse_cpu)]
Duration = Annotated[timedelta, _Parsed(parse_duration)]
Day = Annotated[date, _Parsed(parse_date)]
