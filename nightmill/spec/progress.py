"""progress.json: how far a running attempt is, for whoever looks while it runs.

Written beside the record on the supervisor's clock. It is a view, never the truth: the record and
the notebook say how an attempt ended. Times are aware UTC, spans in seconds, sizes in bytes.
"""

from __future__ import annotations

import json
from datetime import timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from nightmill.spec.record import AttemptState, Bytes

SILENT_AFTER = timedelta(minutes=3)
"""A step at work shows a sign of life every 15 s, and every minute to a store that fails."""


class Progress(BaseModel):
    """Where an attempt stands: cell `position` of `of`, numbered and titled as its author sees it.

    `usual_s` is the median time of this cell in earlier attempts, `usual_total_s` that of the
    whole; None where there were none. `heartbeat` is when the supervisor last looked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    state: AttemptState
    started_at: AwareDatetime
    heartbeat: AwareDatetime
    elapsed_s: float
    usual_total_s: float | None = None
    position: int | None = None
    of: int | None = None
    cell: int | None = None
    title: str | None = None
    cell_elapsed_s: float | None = None
    usual_s: float | None = None
    memory_bytes: Bytes | None = None
    memory_limit_bytes: Bytes | None = None
    last_line: str = ""

    def to_json(self) -> bytes:
        """Return the progress as ASCII JSON."""
        return (json.dumps(self.model_dump(mode="json"), indent=1) + "\n").encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Progress:
        """Read what `to_json` wrote; raises pydantic.ValidationError for anything else."""
        return cls.model_validate_json(data)
