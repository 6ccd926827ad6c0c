"""Records of attempts that never ran: of the code that a project has at this moment."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightmill.spec.project import Project
from nightmill.spec.record import AttemptState, KernelRecord, Record
from nightmill.step.kept_code import bundle_code
from nightmill.store.bundle import keep
from nightmill.store.interface import Store


def git(root: Path, *arguments: str) -> str:
    """Run git in a repository that knows no user's settings."""
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def remember(root: Path, pipeline: str, step: str, store: Store | None = None) -> Record:
    """Return the record of an attempt of now; its code is kept where a store is given."""
    project = Project.load(root)
    found = project.pipeline(pipeline)
    code, bundle = bundle_code(project, found, step)
    if store is not None:
        keep(store, bundle)
    kernel = project.kernel(found.spec.steps[step])
    return Record(
        pipeline=pipeline, step=step, partition="2013-03-01", as_of="2013-03-02", run="r", order=1,
        attempt=1, state=AttemptState.SUCCEEDED, started_at=datetime.now(UTC), nightmill="0",
        host="h", store="s", parameters={}, code=code,
        kernel=KernelRecord(
            name=kernel.name, lock_sha256=kernel.lock_sha256, python="3", libraries={},
            threads=3, threads_from="",
        ),
    )  # fmt: skip


def with_code(record: Record, **facts: Any) -> Record:
    """Return the record with other facts about its code."""
    return record.model_copy(update={"code": record.code.model_copy(update=facts)})
