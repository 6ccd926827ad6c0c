"""The record: the JSON truth about one attempt, for reviewers, Airflow and replays.

Pure models, apart from the step that writes them, because the command line, Airflow and the review
pages read records without being able to run a notebook. Times are aware UTC; durations come from a
monotonic clock and are seconds; sizes are bytes; hashes are SHA-256 of the bytes, never ETags.
The JSON Schema is published as `record.schema.json` beside this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from nightmill.causes import Cause
from nightmill.spec import states
from nightmill.spec.check_values import Severity
from nightmill.spec.json_text import as_json, read_json, readable
from nightmill.spec.names import label
from nightmill.spec.retry import Retry

SCHEMA_FILE = Path(__file__).with_name("record.schema.json")


AttemptState = states.AttemptState
CellState = states.CellState


class CheckState(StrEnum):
    """How a check of an output ended; one in `error` could not be made, so nothing is known."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ERROR = "error"


Bytes = Annotated[int, Field(lt=2**63)]
"""A size in a file of ours: more, no machine can count, nor any float hold."""

Told = Annotated[Any, PlainSerializer(readable)]
"""Any value that a notebook or its author may have given: what is written of it can be read."""


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants"
    )


class Spilled(_Part):
    """The whole of an output that was too large for the notebook; size in bytes."""

    address: str
    size: Bytes


class CellRecord(_Part):
    """One code cell. `number` is the author's: 1-based over all cells of the source notebook.

    The cell that papermill injects has the number of the parameters cell it follows. `spilled`
    names what is cut in the notebook and stored whole beside it.
    """

    number: int
    title: str
    state: CellState
    injected: bool = False
    started_at: AwareDatetime | None = None
    duration_s: float | None = None
    peak_memory_bytes: Bytes | None = None
    spilled: tuple[Spilled, ...] = ()


class Failure(_Part):
    """Why the attempt failed: cause, one line for people, and the failing cell if there is one.

    `cells` is how many cells the notebook has; `retry` is what the step's policy says of the cause.
    """

    cause: Cause
    message: str
    retry: Retry = Retry.NEVER
    cell: int | None = None
    cells: int | None = None
    title: str | None = None
    ename: str | None = None
    evalue: str | None = None
    traceback: tuple[str, ...] = ()
    evidence: dict[str, Told] = Field(default_factory=dict)


class FileRecord(_Part):
    """One file of an input or output."""

    path: str
    size: Bytes
    sha256: str
    etag: str


class InputRecord(_Part):
    """The immutable version that an input was resolved to."""

    pipeline: str
    output: str
    partition: str
    run: str
    attempt: int
    address: str
    files: tuple[FileRecord, ...]


class OutputRecord(_Part):
    """An output as stored under the attempt's own prefix."""

    kind: Literal["file", "directory"]
    address: str
    size: Bytes
    files: tuple[FileRecord, ...]


class CheckResult(_Part):
    """What one check of an output found, in one line and in its parts.

    `check` is its key in pipeline.yaml. `profile` is a small summary of the data that the checks of
    later partitions compare theirs with.
    """

    output: str
    check: str
    column: str | None = None
    severity: Severity = "error"
    state: CheckState
    expected: str = ""
    observed: str = ""
    message: str
    duration_s: float
    profile: dict[str, Told] | None = None

    @property
    def blocks(self) -> bool:
        """Whether it stands in the way of the commit."""
        return self.severity == "error" and self.state in (CheckState.FAILED, CheckState.ERROR)


class Code(_Part):
    """What ran: the notebook, the modules it may import, and where they came from.

    `bundle` is the hash of all of it together with pipeline.yaml and the kernel's lock, and the
    name under which the store keeps it.
    """

    notebook: str
    notebook_sha256: str
    modules: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    image: str | None
    bundle: str | None = None


class KernelRecord(_Part):
    """The locked environment that ran the notebook."""

    name: str
    lock_sha256: str
    python: str
    libraries: dict[str, str]
    threads: int
    threads_from: str


class Memory(_Part):
    """Peak resident memory of the kernel's process tree, and the limit where there is one."""

    peak_bytes: Bytes | None
    limit_bytes: Bytes | None


class Amendment(_Part):
    """What was written into a record from outside, by whom and why.

    `was` is the cause before: None where the attempt still counted as running. `cause` is None
    where it turned out to have committed.
    """

    at: AwareDatetime
    by: str
    was: Cause | None
    cause: Cause | None


class Decision(_Part):
    """What a person decided about outputs held for review, when, and why."""

    approved: bool
    by: str
    at: AwareDatetime
    comment: str = ""


class Review(_Part):
    """Outputs that a person has to approve before the step's commit; undecided: `decision` None."""

    required: tuple[str, ...]
    decision: Decision | None = None


class Record(_Part):
    """Everything known of an attempt.

    `evidence` is what was seen of the processes, also where all went well; `warnings` are for the
    reviewer: something went wrong that failed no cell. `review` is there where outputs are held for
    review: such an attempt has succeeded, and its approval is the commit.
    """

    schema_version: Literal[1] = 1
    pipeline: str
    step: str
    partition: str
    as_of: str
    run: str
    order: int
    attempt: int
    member: str = ""
    state: AttemptState
    failure: Failure | None = None
    committed: bool = False
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    duration_s: float | None = None
    nightmill: str
    host: str
    pool: str | None = None
    store: str
    notebook: str | None = None
    parameters: dict[str, Told]
    code: Code | None = None
    kernel: KernelRecord | None = None
    inputs: dict[str, InputRecord | None] = Field(default_factory=dict)
    outputs: dict[str, OutputRecord] = Field(default_factory=dict)
    checks: tuple[CheckResult, ...] = ()
    cells: tuple[CellRecord, ...] = ()
    memory: Memory | None = None
    metrics: dict[str, Told] = Field(default_factory=dict)
    evidence: dict[str, Told] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    amendments: tuple[Amendment, ...] = ()
    review: Review | None = None

    @property
    def label(self) -> str:
        """The step together with its member, for people."""
        return label(self.step, self.member)

    @property
    def is_held(self) -> bool:
        """Whether the commit waits for a person; also once approved, until it is finished."""
        is_waiting = self.state is AttemptState.SUCCEEDED and not self.committed
        return self.review is not None and is_waiting and not self.is_rejected

    @property
    def is_rejected(self) -> bool:
        """Whether a person has decided that its outputs are never to be current."""
        decision = self.review.decision if self.review else None
        return decision is not None and not decision.approved

    def rows_of(self, output: str) -> int | None:
        """Return how many rows a check has counted in an output; None where none has."""
        found = (one for one in self.checks if (one.output, one.check) == (output, "rows"))
        counts = (one.profile["rows"] for one in found if one.profile and "rows" in one.profile)
        return next((count for count in counts if isinstance(count, int)), None)

    @property
    def exit_code(self) -> int:
        """The exit code of the step: 0, or its cause's own."""
        return self.failure.cause.exit_code if self.failure else 0

    def to_json(self) -> bytes:
        """Return the record as ASCII JSON."""
        return as_json(self.model_dump(mode="json"), indent=1) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        """Read what `to_json` wrote; raises ValueError for anything else."""
        return cls.model_validate(read_json(data))


def json_schema() -> Mapping[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a record."""
    schema = Record.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
