"""A morning to look at: a project and a store in which nights went well and badly.

Records are made by hand with the real models, and noted by the store's own functions. All times are
told from now, since lateness is: pipelines of `nightly` were due two hours ago, whatever the hour.
"Now" is when the tests were collected, which a whole suite may have done long before: what is told
of it has to hold for most of a day, and across midnight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.testclient import TestClient

from nightmill.causes import Cause
from nightmill.review.access import Access
from nightmill.spec.progress import Progress
from nightmill.spec.record import AttemptState, Code, Decision, Failure, Record, Review
from nightmill.spec.words import describe
from nightmill.store.active import MarkFacts
from nightmill.store.bundle import keep, pack
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.interface import Store
from nightmill.store.keys import active_key
from nightmill.store.open import open_store
from tests.review_client import open_client

NOW = datetime.now(UTC).replace(microsecond=0)  # the index tells milliseconds
DUE = NOW - timedelta(hours=2)
ALIVE = NOW + timedelta(days=1)  # a heartbeat that is fresh whenever a page is asked for
_HASH = "0" * 64
_SECOND = 10**6


@dataclass
class Morning:
    """A project's folder and a store, to be filled and looked at."""

    root: Path
    store: Store

    @classmethod
    def at(cls, folder: Path) -> Morning:
        """Make an empty one."""
        (folder / "project" / "notebooks").mkdir(parents=True)
        return cls(folder / "project", open_store("store", base=folder))

    def pages(self, access: Access | None = None, *, with_project: bool = True) -> TestClient:
        """Open the pages over it."""
        return open_client(self.store, access, root=self.root if with_project else None)

    def pipeline(self, name: str, text: str) -> str:
        """Write a pipeline.yaml into the project and its bundle into the store; return its hash."""
        file = self.root / "notebooks" / name / "pipeline.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"pipeline: {name}\n{text}")
        bundle = pack({f"notebooks/{name}/pipeline.yaml": file})
        keep(self.store, bundle)
        return bundle.sha256

    def attempt(
        self,
        pipeline: str,
        partition: str,
        step: str,
        *,
        run: str = "",
        began: datetime | None = None,
        seconds: float = 60.0,
        number: int = 1,
        member: str = "",
        fails: Cause | None = None,
        cell: int | None = None,
        held: bool = False,
        rejected: bool = False,
        ends: bool = True,
        heartbeat: datetime | None = None,
        bundle: str | None = None,
        order: int | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> Record:
        """Write an attempt as it would have left itself, and return its record."""
        began = began or NOW - timedelta(hours=1)
        order = order if order is not None else int(began.timestamp()) * _SECOND
        record = Record(
            pipeline=pipeline,
            step=step,
            partition=partition,
            as_of=partition,
            run=run or f"run-{partition}",
            order=order,
            attempt=number,
            member=member,
            state=AttemptState.RUNNING,
            started_at=began,
            nightmill="1",
            host="pod",
            store=self.store.url,
            parameters={},
            code=_code(step, bundle),
        )
        prefix = prefix_of(record)
        if not ends:
            self._run(record, prefix, heartbeat)
            return record
        decision = Decision(approved=False, by="Ada", at=NOW) if rejected else None
        end = {
            "state": AttemptState.FAILED if fails else AttemptState.SUCCEEDED,
            "failure": _failure(fails, cell) if fails else None,
            "committed": not (fails or held or rejected),
            "review": Review(required=("o",), decision=decision) if held or rejected else None,
            "ended_at": began + timedelta(seconds=seconds),
            "duration_s": seconds,
            **(facts or {}),
        }
        record = record.model_copy(update=end)
        self.store.write(f"{prefix}/record.json", record.to_json())
        note(self.store, record)
        return record

    def _run(self, record: Record, prefix: str, heartbeat: datetime | None) -> None:
        self.store.write(f"{prefix}/record.json", record.to_json())
        facts = MarkFacts(started_at=record.started_at, host="pod", pid=1, order=record.order)
        self.store.write(active_key(prefix), facts.model_dump_json().encode())
        if heartbeat:
            progress = Progress(
                state=AttemptState.RUNNING,
                started_at=record.started_at,
                heartbeat=heartbeat,
                elapsed_s=1,
            )
            self.store.write(f"{prefix}/progress.json", progress.to_json())


def _failure(cause: Cause, cell: int | None) -> Failure:
    title = "Score the day" if cell else None
    message = describe(cause, "it went wrong", cell=cell, cells=22, title=title)
    return Failure(cause=cause, message=message, cell=cell, cells=22, title=title)


def _code(step: str, bundle: str | None) -> Code:
    return Code(
        notebook=f"{step}.ipynb",
        notebook_sha256=_HASH,
        modules={},
        git_commit=None,
        git_dirty=None,
        image=None,
        bundle=bundle,
    )


def night(back: int) -> str:
    """Name the partition that was due so many days before the last one."""
    return f"{DUE - timedelta(days=back):%Y-%m-%d}"


def nightly(*keys: str, steps: Sequence[str] = ("ingest", "score")) -> str:
    """Write what a pipeline.yaml says that was due two hours ago, and every day before."""
    lines = [f"  {name}: {{notebook: {name}.ipynb}}" for name in steps]
    schedule = f'schedule: "{DUE.minute} {DUE.hour} * * *"'
    return "\n".join([schedule, "start: 2013-01-01", *keys, "steps:", *lines, ""])
