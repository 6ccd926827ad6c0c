"""The summary: what lists of attempts tell of one, about a kilobyte made from its record.

It is a view and never the truth: the record is. Pages and the index read thousands of these where
they could read only a few records. Times are aware UTC, spans in seconds, sizes in bytes; texts are
one line each and inert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from nightmill.causes import Cause
from nightmill.spec.json_text import as_json, scalar
from nightmill.spec.record import Bytes, CheckState, InputRecord, Record
from nightmill.spec.words import MESSAGE_CHARACTERS, TITLE_CHARACTERS, one_line, shortened

METRICS_KEPT = 100
_TEXT_CHARACTERS = 200

Name = Annotated[str, Field(min_length=1)]
Scalar = bool | int | float | str | None


class Standing(StrEnum):
    """How an attempt stands for whoever looks at many: its state, and its review if it has one."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    HELD = "held"
    REJECTED = "rejected"

    @classmethod
    def of(cls, record: Record) -> Standing:
        """Tell how the attempt of a record stands; what succeeded is committed, or was once."""
        if record.is_held:
            return cls.HELD
        return cls.REJECTED if record.is_rejected else cls(record.state.value)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)  # a later version may write more


class SummarizedInput(_Part):
    """The version that an input was resolved to."""

    pipeline: Name
    output: Name
    partition: Name
    run: Name
    attempt: int


class SummarizedOutput(_Part):
    """How large an output is; `rows` is None where no check has counted them."""

    size: Bytes
    rows: int | None = None


class Summary(_Part):
    """One attempt in short. `prefix` is where it lies in the store.

    `cell` is the failing one by its author's number, `cells` how many the notebook has. `revision`
    counts what was written into the record after its end: of two summaries of an attempt the one
    with more is the newer.
    """

    schema_version: Literal[1] = 1
    prefix: Name
    pipeline: Name
    partition: Name
    run: Name
    order: int
    step: Name
    member: str = ""
    attempt: int
    revision: int = 0
    standing: Standing
    committed: bool = False
    cause: Cause | None = None
    message: str = ""
    cell: int | None = None
    cells: int | None = None
    title: str | None = None
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    duration_s: float | None = None
    pool: str | None = None
    peak_bytes: Bytes | None = None
    limit_bytes: Bytes | None = None
    metrics: dict[str, Scalar] = Field(default_factory=dict)
    inputs: dict[str, SummarizedInput | None] = Field(default_factory=dict)
    outputs: dict[Name, SummarizedOutput] = Field(default_factory=dict)
    checks: dict[CheckState, int] = Field(default_factory=dict)
    warnings: int = 0
    bundle: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    image: str | None = None
    kernel: str | None = None
    has_notebook: bool = False

    def to_json(self) -> bytes:
        """Return the summary as one line of ASCII JSON, without what is as usual."""
        return as_json(self.model_dump(mode="json", exclude_defaults=True)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Summary:
        """Read what `to_json` wrote; raises pydantic.ValidationError for anything else."""
        return cls.model_validate_json(data)


def summarize(record: Record, prefix: str) -> Summary:
    """Tell in short what the record of the attempt at this prefix says."""
    failure, memory, code = record.failure, record.memory, record.code
    return Summary(
        prefix=prefix,
        **record.model_dump(include=_AS_RECORDED),
        revision=len(record.amendments) + bool(record.review and record.review.decision),
        standing=Standing.of(record),
        cause=failure and failure.cause,
        message=shortened(one_line(failure.message), MESSAGE_CHARACTERS) if failure else "",
        cell=failure and failure.cell,
        cells=failure and failure.cells,
        title=shortened(one_line(failure.title), TITLE_CHARACTERS)
        if failure and failure.title
        else None,
        peak_bytes=memory and memory.peak_bytes,
        limit_bytes=memory and memory.limit_bytes,
        metrics=_scalars(record.metrics),
        inputs={name: _input(found) for name, found in record.inputs.items()},
        outputs={
            name: SummarizedOutput(size=output.size, rows=record.rows_of(name))
            for name, output in record.outputs.items()
        },
        checks=Counter(one.state for one in record.checks),
        warnings=len(record.warnings),
        bundle=code and code.bundle,
        git_commit=code and code.git_commit,
        git_dirty=code and code.git_dirty,
        image=code and code.image,
        kernel=record.kernel and record.kernel.name,
        has_notebook=record.notebook is not None,
    )


_AS_RECORDED = {
    "pipeline", "partition", "run", "order", "step", "member", "attempt",
    "committed", "started_at", "ended_at", "duration_s", "pool",
}  # fmt: skip


def _scalars(metrics: Mapping[str, object]) -> dict[str, Scalar]:
    """Keep the metrics that are one value each; what JSON cannot say as text, as in the record."""
    found: dict[str, Scalar] = {}
    for name, value in metrics.items():
        if len(found) < METRICS_KEPT and isinstance(value, bool | int | float | str | None):
            found[_text(name)] = _scalar(value)
    return found


def _scalar(value: Scalar) -> Scalar:
    told = scalar(value) if isinstance(value, int | float) else value
    return _text(told) if isinstance(told, str) else told


def _text(text: str) -> str:
    return shortened(one_line(text), _TEXT_CHARACTERS)


def _input(found: InputRecord | None) -> SummarizedInput | None:
    if found is None:
        return None
    return SummarizedInput(**found.model_dump(include=set(SummarizedInput.model_fields)))
