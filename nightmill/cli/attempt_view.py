"""One attempt as `runs` and `show` tell it: how far it is, and what its record says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.text import Text

from nightmill.causes import Cause
from nightmill.cli.failing_line import failing_line
from nightmill.cli.terminal import address, cell_text, duration, size, state_text
from nightmill.spec.held import review_line, standing
from nightmill.spec.progress import SILENT_AFTER, Progress
from nightmill.spec.record import Amendment, AttemptState, CheckResult, CheckState, Failure, Record
from nightmill.spec.retry import Retry, outlook
from nightmill.spec.words import memory, shortened
from nightmill.store.amend import read_progress
from nightmill.store.history import prefix_of
from nightmill.store.interface import Store

_METRIC_CHARACTERS = 60


@dataclass(frozen=True)
class AttemptView:
    """A record, and what was last seen of its attempt if the record has no end yet."""

    record: Record
    progress: Progress | None = None

    @classmethod
    def of(cls, store: Store, record: Record) -> AttemptView:
        """Look at an attempt; the store is asked only about one that runs."""
        if record.state is not AttemptState.RUNNING:
            return cls(record)
        return cls(record, read_progress(store, prefix_of(record)))

    @property
    def is_running(self) -> bool:
        """Whether the record has no end: the attempt runs, or died without a word."""
        return self.record.state is AttemptState.RUNNING

    @property
    def last_sign(self) -> datetime:
        """When the attempt was last known to be alive."""
        return self.progress.heartbeat if self.progress else self.record.started_at

    @property
    def is_silent(self) -> bool:
        """Whether it ought to have been heard of since."""
        return self.is_running and datetime.now(UTC) - self.last_sign > SILENT_AFTER

    @property
    def state(self) -> Text:
        """The attempt's state, or what its review makes of it, in its colour."""
        if self.is_silent:
            return Text("silent", style="bold red")
        return state_text(standing(self.record))

    @property
    def elapsed_s(self) -> float | None:
        """The seconds that it took, or has taken so far."""
        return self.progress.elapsed_s if self.progress else self.record.duration_s

    def now(self) -> str:
        """Return in a few words where a running attempt is; nothing of one that has ended."""
        if not self.is_running:
            return ""
        if self.is_silent:
            return f"{self.record.label}: no sign of life since {_moment(self.last_sign)}"
        return f"{self.record.label} {_cell(self.progress)}".rstrip()

    def details(self) -> Iterator[str | Text]:
        """Give the lines below the attempt's name, each without its indent."""
        record = self.record
        if self.is_running:
            yield from _running(self)
        yield from (f"{name} = {_metric(value)}" for name, value in record.metrics.items())
        for name, output in record.outputs.items():
            yield f"{name}: {address(output.address)} ({size(output.size)})"
        for name, found in record.inputs.items():
            origin = f"{found.pipeline}.{found.output} {found.partition}" if found else "none"
            yield f"{name} <- {origin}"
        for cell in record.cells:
            for whole in cell.spilled:
                place = f"{address(whole.address)} ({size(whole.size)})"
                yield f'cut in cell {cell.number} "{cell.title}", whole: {place}'
        yield from _checks(record.checks)
        yield from _review(record)
        for warning in record.warnings:
            yield Text(f"warning: {' '.join(warning.split())}", style="yellow")
        if record.failure:
            yield from record.failure.message.splitlines()
            yield from filter(None, [failing_line(record.failure.traceback)])
            yield Text(_outlook(record.failure), style="dim")
        yield from (_amendment(one) for one in record.amendments)


def _running(view: AttemptView) -> Iterator[str | Text]:
    progress = view.progress
    if progress is not None:
        if progress.cell is not None:
            yield f"{_cell(progress)}, {_of_usual(progress.cell_elapsed_s, progress.usual_s)}"
        whole = f"in all {_of_usual(progress.elapsed_s, progress.usual_total_s)}"
        used = memory(progress.memory_bytes, progress.memory_limit_bytes)
        yield f"{whole}, {used}" if used else whole
        if progress.last_line:
            yield Text(f"last line: {progress.last_line}", style="dim")
    if view.is_silent:
        since = f"no sign of life since {_moment(view.last_sign)}"
        advice = f"`nightmill amend {view.record.run}` writes down its end"
        yield Text(f"{since}; {advice}", style="bold red")
    elif progress is not None:
        # Of another machine's clock: a little in the future is now.
        age = max(0.0, (datetime.now(UTC) - progress.heartbeat).total_seconds())
        yield Text(f"heartbeat {duration(age)} ago", style="green")


def _cell(progress: Progress | None) -> str:
    if progress is None or progress.cell is None:
        return ""
    place = {"position": progress.position, "of": progress.of}
    return cell_text({**place, "number": progress.cell, "title": progress.title})


def _of_usual(spent_s: float | None, usual_s: float | None) -> str:
    usual = f" of usually {duration(usual_s)}" if usual_s is not None else ""
    return duration(spent_s) + usual


def _review(record: Record) -> Iterator[Text]:
    if record.review:
        yield Text(review_line(record), style=state_text(standing(record)).style)


def _checks(results: Sequence[CheckResult]) -> Iterator[str | Text]:
    """Tell each check that found something, and how many found nothing."""
    passed = sum(one.state is CheckState.PASSED for one in results)
    if results:
        yield f"checks: {passed} of {len(results)} passed"
    for one in results:
        if one.state is not CheckState.PASSED:
            style = "bold red" if one.blocks else "yellow"
            yield Text(f"  {one.state}: {one.message}", style=style)


def _outlook(failure: Failure) -> str:
    """Say whether another attempt is worth it, in the words of `run` where it was interrupted."""
    was_stopped = failure.cause is Cause.TERMINATED and "stopped by SIG" in failure.message
    if was_stopped and failure.retry is Retry.BACKOFF:
        return "the run was stopped from outside, as by Ctrl-C: it may simply run again"
    return outlook(failure.cause, failure.retry)


def _amendment(one: Amendment) -> Text:
    after, before = one.cause or "succeeded", one.was or "running"
    return Text(f"amended {_moment(one.at)} by {one.by}: {before} -> {after}", style="yellow")


def _moment(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _metric(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return shortened(" ".join(str(value).split()), _METRIC_CHARACTERS)
