"""What the pages tell of an attempt from its record: checks, outputs, inputs, code, kernel.

Texts of notebooks and people are cut to a bounded length; lists too, with a count of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import AwareDatetime

from nightmill.review.commands import Command, replays
from nightmill.review.links import RUNS
from nightmill.review.pages.code_facts import CodeFact, KernelFact, code_of, kernel_of
from nightmill.review.pages.fact import LISTED, Fact, Value, line, text, values_of
from nightmill.review.pages.now_current import NowCurrent
from nightmill.review.visit import Visit
from nightmill.spec.record import (
    AttemptState,
    CheckResult,
    CheckState,
    InputRecord,
    OutputRecord,
    Record,
)
from nightmill.spec.summary import Standing
from nightmill.store.history import prefix_of
from nightmill.store.versions import Version

_CHECK_ORDER = (CheckState.FAILED, CheckState.ERROR, CheckState.SKIPPED, CheckState.PASSED)

Currency = Literal[
    "current", "was current", "held", "approved", "rejected", "never committed", "not yet"
]
"""What an output is to its readers; `approved` is one whose commit is not finished."""


class CheckFact(Fact):
    """One check of an output, and what it found."""

    output: str
    check: str
    column: str | None
    state: str
    severity: str
    expected: str
    observed: str
    message: str
    duration_s: float
    blocks: bool


class OutputFact(Fact):
    """An output as the attempt stored it; `page` is that of its versions. Sizes are bytes."""

    name: str
    kind: str
    size: int
    rows: int | None
    files: int
    digest: str
    currency: Currency
    address: str
    page: str


class InputFact(Fact):
    """The version an input was resolved to; `is_behind` says that a newer one is current now.

    None says that nobody knows. An optional input that was not there has no `output`.
    """

    name: str
    pipeline: str = ""
    output: str = ""
    partition: str = ""
    run: str = ""
    attempt: int = 0
    size: int = 0
    run_page: str = ""
    is_behind: bool | None = None


class AttemptFacts(Fact):
    """One attempt: how it ended, and all that it read, was given, made and found."""

    label: str
    member: str
    attempt: int
    address: str
    compare_page: str
    state: str
    cause: str | None
    message: str
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    duration_s: float | None
    peak_bytes: int | None
    limit_bytes: int | None
    pool: str | None
    host: str
    parameters: tuple[Value, ...]
    inputs: tuple[InputFact, ...]
    outputs: tuple[OutputFact, ...]
    checks: tuple[CheckFact, ...]
    checks_passed: int
    metrics: tuple[Value, ...]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    code: CodeFact | None
    kernel: KernelFact | None
    commands: tuple[Command, ...]


def facts_of(visit: Visit, record: Record, now: NowCurrent, *, state: str) -> AttemptFacts:
    """Tell everything of an attempt that stands so; `now` knows what is current."""
    prefix, memory, failure = prefix_of(record), record.memory, record.failure
    return AttemptFacts(
        **record.model_dump(include=_AS_RECORDED),
        label=record.label,
        address=visit.links.attempt(RUNS, prefix),
        compare_page=visit.links.attempt("compare", prefix),
        state=state,
        cause=failure and failure.cause,
        message=text(failure.message) if failure else "",
        peak_bytes=memory and memory.peak_bytes,
        limit_bytes=memory and memory.limit_bytes,
        parameters=values_of(record.parameters),
        inputs=tuple(_inputs(visit, record.inputs, now)),
        outputs=outputs_of(visit, record, now),
        checks=checks_of(record.checks),
        checks_passed=sum(one.state is CheckState.PASSED for one in record.checks),
        metrics=values_of(record.metrics),
        warnings=tuple(map(line, record.warnings[:LISTED])),
        left_out=tuple(_left_out(record)),
        code=record.code and code_of(record.code),
        kernel=record.kernel and kernel_of(record.kernel),
        commands=tuple(replays(record)),
    )


_AS_RECORDED = {
    "member", "attempt", "started_at", "ended_at", "duration_s", "pool", "host",
}  # fmt: skip


def checks_of(results: Sequence[CheckResult]) -> tuple[CheckFact, ...]:
    """Tell what the checks found: those in the way of the commit first, those that passed last."""
    ranked = sorted(results, key=lambda one: (not one.blocks, _CHECK_ORDER.index(one.state)))
    return tuple(
        CheckFact(
            **one.model_dump(include={"output", "check", "column", "severity", "duration_s"}),
            state=one.state,
            expected=text(one.expected),
            observed=text(one.observed),
            message=text(one.message),
            blocks=one.blocks,
        )
        for one in ranked[:LISTED]
    )


def outputs_of(visit: Visit, record: Record, now: NowCurrent) -> tuple[OutputFact, ...]:
    """Tell what an attempt has stored, and what of it is current."""
    currency = _currency(record, now)
    return tuple(
        _output(visit, Version(record, name, is_current=currency == "current"), output, currency)
        for name, output in record.outputs.items()
    )


def _output(visit: Visit, version: Version, output: OutputRecord, currency: Currency) -> OutputFact:
    record, name = version.record, version.output
    names = (record.pipeline, name, record.partition)
    return OutputFact(
        name=name,
        kind=output.kind,
        size=output.size,
        rows=version.rows,
        files=len(output.files),
        digest=version.digest if output.files else "",
        currency=currency,
        address=output.address,
        page=visit.links.page(
            "outputs", *names, member=record.member or None, version=version.name
        ),
    )


def _currency(record: Record, now: NowCurrent) -> Currency:
    standing = Standing.of(record)
    if now.is_current(prefix_of(record)):
        return "current"
    if record.committed:
        return "was current"
    if standing is Standing.HELD:
        return "approved" if record.review and record.review.decision else "held"
    if record.state is AttemptState.RUNNING:
        return "not yet"
    return "rejected" if standing is Standing.REJECTED else "never committed"


def _inputs(
    visit: Visit, inputs: Mapping[str, InputRecord | None], now: NowCurrent
) -> Iterator[InputFact]:
    for name, found in list(inputs.items())[:LISTED]:
        if found is None:
            yield InputFact(name=name)
            continue
        yield InputFact(
            **found.model_dump(exclude={"address", "files"}),
            name=name,
            size=sum(file.size for file in found.files),
            run_page=visit.links.page(RUNS, found.pipeline, found.partition, found.run),
            is_behind=now.is_behind(found),
        )


def _left_out(record: Record) -> Iterator[str]:
    """Name what is longer than a page shows."""
    lists: Mapping[str, Iterable[Any]] = {
        "parameters": record.parameters,
        "inputs": record.inputs,
        "checks": record.checks,
        "metrics": record.metrics,
        "warnings": record.warnings,
    }
    for name, found in lists.items():
        count = sum(1 for _one in found)
        if count > LISTED:
            yield f"{count - LISTED:,} more {name}"
