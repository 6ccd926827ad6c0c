"""The kinds of checks: what each is told in pipeline.yaml, in its short form and in its long one.

A short form is turned into the long one before validation, so that each kind is read in one way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from nightmill.spec.check_values import (
    AcceptedValues,
    Bound,
    Column,
    Range,
    Severity,
    Share,
    TypeName,
    kind_of,
    parse_range,
)
from nightmill.spec.model import Model
from nightmill.spec.problems import Fault, Faults, shown
from nightmill.spec.units import Duration

Nights = Annotated[int, Field(ge=1, le=60)]
Threshold = Annotated[float, Field(gt=0, le=100)]


class Check(Model):
    """What all checks share: `error` blocks the commit, `warn` is only recorded."""

    severity: Severity = "error"


class Rows(Check):
    """How many rows: bounds (included), and change against the median of the last partitions."""

    min: Annotated[int, Field(ge=0)] | None = None
    max: Annotated[int, Field(ge=0)] | None = None
    change: Share | None = None
    against: Nights = 7

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        if isinstance(raw, int) and not isinstance(raw, bool):
            return {"min": raw, "max": raw}
        if not isinstance(raw, str):
            return raw
        found = parse_range(raw)
        if found is None or any(isinstance(end, float) for end in (found.low, found.high)):
            advice = 'write it like ">0", "100..5000" or {min: 100, change: 50%}'
            raise Faults([Fault(f"{shown(raw)} is no number of rows", advice)])
        return _whole_bounds(found)

    @model_validator(mode="after")
    def _says_something(self) -> Rows:
        if self.min is None and self.max is None and self.change is None:
            raise Faults([Fault("no bound is given", "add `min`, `max` or `change`")])
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Faults([Fault(f"no number is from {self.min} to {self.max}", "swap them")])
        return self


def _whole_bounds(found: Range) -> dict[str, Any]:
    """Turn open ends into whole numbers that are included: more than 0 is at least 1."""
    low = None if found.low is None else int(found.low) + found.low_open
    high = None if found.high is None else int(found.high) - found.high_open
    return {"min": low, "max": high}


class Columns(Check):
    """The columns and their types. With `evolution: add` there may be more of them."""

    types: Mapping[Column, TypeName] = Field(alias="schema", min_length=1)
    evolution: Literal["none", "add"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        is_long = isinstance(raw, dict) and not isinstance(raw.get("schema", ""), str)
        return raw if is_long or not isinstance(raw, dict) else {"schema": raw}


class NotNull(Check):
    """No nulls, or no more than a share of the rows. NaN counts as null."""

    at_most: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        return {"at_most": raw} if isinstance(raw, str) else raw


class Unique(Check):
    """No two rows have the same key. Rows where a part of the key is null are not compared."""

    key: Annotated[tuple[Column, ...], Field(strict=False, min_length=1, max_length=20)]

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        if isinstance(raw, dict):
            key = raw.get("key")
            return {**raw, "key": [key]} if isinstance(key, str) else raw
        return {"key": raw if isinstance(raw, list) else [raw]}


class Between(Check):
    """All values lie between two numbers or dates, both included; nulls are not looked at."""

    min: Bound = None
    max: Bound = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        if isinstance(raw, dict):
            return raw
        if not isinstance(raw, list) or len(raw) != 2:  # noqa: PLR2004 - the two ends
            raise Faults([Fault("expected two bounds", "write them like [0, 1] or [0, null]")])
        return {"min": raw[0], "max": raw[1]}

    @model_validator(mode="after")
    def _ends_fit(self) -> Between:
        ends = [end for end in (self.min, self.max) if end is not None]
        if not ends:
            raise Faults([Fault("no bound is given", "write one, like [0, null]")])
        if len({_comparable(end) for end in ends}) > 1:
            raise Faults([Fault("the two bounds are of different kinds")])
        if ends[0] > ends[-1]:
            raise Faults([Fault(f"nothing is from {ends[0]} to {ends[-1]}", "swap them")])
        return self


def _comparable(bound: Any) -> tuple[object, ...]:
    """Tell days from instants, and instants with a zone from those without."""
    return kind_of(bound), hasattr(bound, "hour"), getattr(bound, "tzinfo", None) is None


class Accepted(Check):
    """All values are among these; nulls are not looked at."""

    values: AcceptedValues

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict) else {"values": raw}


class Freshness(Check):
    """The newest date is at most `within` before `as_of`, and none more than `ahead` after it."""

    within: Duration
    ahead: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict) else {"within": raw}


class Distribution(Check):
    """The values are spread as in the last `against` committed partitions."""

    against: Nights = 14
    psi: Threshold | None = None
    ks: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _has_threshold(self) -> Distribution:
        if self.psi is None and self.ks is None:
            raise Faults([Fault("no threshold is given", "add `psi: 0.2` or `ks: 0.1`")])
        return self


class Sql(Check):
    """A query of DuckDB over the view `output`: it finds nothing, or the one value expected.

    `getvariable('partition')` and `getvariable('as_of')` are texts.
    """

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    expect: bool | int | float | str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict) else {"query": raw}


def _check_target(text: str) -> str:
    module, colon, name = text.partition(":")
    if not colon or not name.isidentifier() or not all(map(str.isidentifier, module.split("."))):
        raise Faults([Fault(f"{shown(text)} names no schema", 'write "module:Schema"')])
    return text


class Pandera(Check):
    """A pandera schema, in a module that the notebook could import."""

    target: Annotated[str, AfterValidator(_check_target)] = Field(alias="schema")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict) else {"schema": raw}
