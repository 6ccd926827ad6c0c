"""What is known of a running attempt at any moment, told by the engine's events.

The supervisor's loop feeds it and the mirror's thread reads it. It judges nothing: the record and
the notebook say how an attempt ended. Spans come from a monotonic clock, so that a clock that is
set back makes none negative.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from nightmill.errors import NightmillError
from nightmill.spec.progress import Progress
from nightmill.spec.record import AttemptState, CellState, Record
from nightmill.spec.words import one_line, plain, printable, shortened

_LINE_LENGTH = 200


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """The two clocks of an attempt: spans come from one (seconds), stamps from the other."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now


@dataclass(frozen=True)
class UsualTimes:
    """Median times of earlier attempts in seconds: of the whole, and of cells by number and title.

    A cell that has moved or has another title is another cell.
    """

    total_s: float | None = None
    cells: Mapping[tuple[int, str], float] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> UsualTimes:
        """Take the medians of the records of attempts that succeeded."""
        totals: list[float] = []
        cells: dict[tuple[int, str], list[float]] = {}
        for record in records:
            if record.state is AttemptState.SUCCEEDED and record.duration_s is not None:
                totals.append(record.duration_s)
                for cell in record.cells:
                    if cell.state is CellState.COMPLETED and cell.duration_s is not None:
                        cells.setdefault((cell.number, cell.title), []).append(cell.duration_s)
        usual = {cell: round(median(spans), 3) for cell, spans in cells.items()}
        return cls(round(median(totals), 3) if totals else None, usual)


@dataclass(frozen=True)
class _Cell:
    """The cell that began last; `ended_s` is its time once it has ended."""

    position: int
    of: int
    number: int
    title: str
    begun: float
    ended_s: float | None = None


class ProgressTracker:
    """Takes in events as they come, and says at any time where the attempt stands.

    `redact` is applied to what a notebook said; `earlier` reads the records of earlier attempts.
    One thread tells it and another asks it: each fact is one value, replaced whole.
    """

    def __init__(
        self,
        started_at: datetime,
        *,
        memory_limit_bytes: int | None = None,
        redact: Callable[[str], str] = str,
        earlier: Callable[[], Sequence[Record]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._started_at = started_at
        self._limit = memory_limit_bytes
        self._redact = redact
        self._earlier = earlier
        self.clock = clock or Clock()
        self._begun = self.clock.monotonic()
        self._end: tuple[AttemptState, float] | None = None
        self._cell: _Cell | None = None
        self._memory: int | None = None
        self._line = ""
        self._usual = UsualTimes()

    def take(self, event: Mapping[str, Any]) -> None:
        """Take notice of an event; those that say nothing of the progress pass by."""
        match event["event"]:
            case "cell_started":
                names = ("position", "of", "number", "title")
                facts = {name: event[name] for name in names}
                self._cell = _Cell(**facts, begun=self.clock.monotonic())
            case "cell_ended" if self._cell and self._cell.position == event["position"]:
                self._cell = replace(self._cell, ended_s=self._since(self._cell.begun))
            case "memory":
                self._memory = event["bytes"]
            case "line":
                self._line = event["text"]

    def end(self, state: AttemptState) -> None:
        """Note how the attempt ended; its time stands still."""
        self._end = state, self._since(self._begun)

    def learn(self) -> None:
        """Read the usual times from the store, once; where it does not answer, there are none."""
        earlier, self._earlier = self._earlier, None
        if earlier is not None:
            with suppress(NightmillError):
                self._usual = UsualTimes.of(earlier())

    def snapshot(self) -> Progress:
        """Say where the attempt stands now."""
        state, elapsed = self._end or (AttemptState.RUNNING, self._since(self._begun))
        return Progress(
            state=state,
            started_at=self._started_at,
            heartbeat=self.clock.now(),
            elapsed_s=round(elapsed, 3),
            usual_total_s=self._usual.total_s,
            memory_bytes=self._memory,
            memory_limit_bytes=self._limit,
            last_line=last_line(self._line, redact=self._redact),
            **self._cell_facts(self._cell),
        )

    def _cell_facts(self, cell: _Cell | None) -> dict[str, Any]:
        if cell is None:
            return {}
        spent = self._since(cell.begun) if cell.ended_s is None else cell.ended_s
        return {
            "position": cell.position,
            "of": cell.of,
            "cell": cell.number,
            "title": one_line(self._redact(cell.title)),
            "cell_elapsed_s": round(spent, 3),
            "usual_s": self._usual.cells.get((cell.number, cell.title)),
        }

    def _since(self, begun: float) -> float:
        return self.clock.monotonic() - begun


def last_line(text: str, *, redact: Callable[[str], str] = str) -> str:
    """Return the last line that a terminal would show of the text, at most 200 characters of it.

    Secrets are redacted before anything is cut, and again where colours had broken one up.
    """
    lines = plain(redact(text)).splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "")
    return shortened(printable(redact(last)).strip(), _LINE_LENGTH)
