"""`checks:` of a step: what must be true of its outputs before they are committed.

    checks:
      scores:
        rows: ">0"                                # or "100..5000", {min:, max:, change: 50%}
        columns: {flight_id: int64, p_delay: float64}   # or {schema: {...}, evolution: add}
        not_null: [flight_id, p_delay]            # or {tailnum: 5%}: at most so many
        unique: flight_id                         # [a, b] is one key; [[a], [b]] are two
        between: {p_delay: [0, 1]}                # null leaves an end open
        accepted: {carrier: [AA, UA]}
        freshness: {scheduled: 2d}                # the newest is no older, none is of the future
        distribution: {p_delay: {against: 14, psi: 0.2}}
        sql: SELECT * FROM output WHERE p_delay IS NULL     # must find nothing
        pandera: "schemas:Scores"                 # a module beside the notebook

Every check has a long form, in which `severity: warn` records a fault without blocking the commit.
Which columns there are is known only when the output is: `nightmill.audit` runs what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from nightmill.spec.check_kinds import (
    Accepted,
    Between,
    Columns,
    Distribution,
    Freshness,
    NotNull,
    Pandera,
    Rows,
    Sql,
    Unique,
)
from nightmill.spec.check_values import Column
from nightmill.spec.model import Model
from nightmill.spec.names import DataName
from nightmill.spec.problems import Fault, Faults, shown, suggest

MAX_CHECKS = 200  # an output: the record holds a result of each
MAX_DISTRIBUTIONS = 20  # an output: each leaves two kilobytes in the record
SUFFIXES = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")
COMPRESSED = (".gz", ".zst")  # of text; Parquet compresses by itself


def _names_as_mapping(raw: Any) -> Any:
    return {str(name): {} for name in raw} if isinstance(raw, list) else raw


def _as_keys(raw: Any) -> Any:
    """Take one key, `a` or `[a, b]`, for a list of one."""
    several = isinstance(raw, list) and any(isinstance(item, list | dict) for item in raw)
    return tuple(raw) if several else (raw,)


def _as_named(raw: Any) -> Any:
    """Take one query for one without a name."""
    return raw if isinstance(raw, dict) and "query" not in raw else {"": raw}


class OutputChecks(Model):
    """All checks of one output."""

    rows: Rows | None = None
    columns: Columns | None = None
    not_null: Annotated[Mapping[Column, NotNull], BeforeValidator(_names_as_mapping)] = Field(
        default_factory=dict
    )
    unique: Annotated[tuple[Unique, ...], BeforeValidator(_as_keys)] = ()
    between: Mapping[Column, Between] = Field(default_factory=dict)
    accepted: Mapping[Column, Accepted] = Field(default_factory=dict)
    freshness: Mapping[Column, Freshness] = Field(default_factory=dict)
    distribution: Annotated[Mapping[Column, Distribution], Field(max_length=MAX_DISTRIBUTIONS)] = (
        Field(default_factory=dict)
    )
    sql: Annotated[Mapping[str, Sql], BeforeValidator(_as_named)] = Field(default_factory=dict)
    pandera: Pandera | None = None

    @model_validator(mode="after")
    def _some(self) -> OutputChecks:
        several = (
            self.not_null, self.unique, self.between, self.accepted, self.freshness,
            self.distribution, self.sql,
        )  # fmt: skip
        count = sum(map(len, several)) + sum(map(bool, (self.rows, self.columns, self.pandera)))
        if not 1 <= count <= MAX_CHECKS:
            raise Faults([Fault(f"{count} checks, from 1 to {MAX_CHECKS} are possible")])
        return self


StepChecks = Mapping[DataName, OutputChecks]


def check_faults(checks: StepChecks, outputs: Mapping[str, str]) -> Iterator[Fault]:
    """Find checks of what the step does not make, or of what no check can read."""
    for name in checks:
        if name not in outputs:
            advice = suggest(name, outputs, noun="outputs of this step")
            yield Fault(f"unknown output {shown(name)}", advice, ("checks", name))
        elif not _is_readable(outputs[name]):
            yield Fault(
                f"checks cannot read {shown(outputs[name])}",
                f"write a folder, or a file that ends with {', '.join(SUFFIXES)}",
                ("checks", name),
            )


def _is_readable(path: str) -> bool:
    name = PurePosixPath(path)
    inner = name.with_suffix("") if name.suffix in COMPRESSED else name
    return path.endswith("/") or inner.suffix.lower() in SUFFIXES
