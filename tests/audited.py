"""What the tests of audits share: a night's scores as the shipped pipeline makes them, audited."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from nightmill.audit.audit import audit
from nightmill.audit.context import AuditContext, KernelPython
from nightmill.spec.checks import OutputChecks
from nightmill.spec.record import AttemptState, CheckResult, Record
from nightmill.store.keys import RECORD, attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit

DAY = date(2013, 3, 1)
FLIGHTS = 900

CHECKS = """
rows: {min: 500, max: 1500, change: 40%, against: 3}
columns:
  {flight_id: int64, carrier: string, scheduled: timestamp, day: date, p_delay: float64, late: bool}
not_null: {flight_id: {}, p_delay: {}, late: 5%}
unique: [[flight_id], [day, flight_id]]
between: {p_delay: [0, 1], day: [2013-01-01, 2013-12-31]}
accepted: {carrier: [AA, DL, UA, WN]}
freshness: {scheduled: 2d}
distribution: {p_delay: {against: 3, psi: 0.2, ks: 0.15}, carrier: {against: 3, psi: 0.2}}
sql: {certain: SELECT * FROM output WHERE late IS NULL AND p_delay > 0.999}
"""


def read_checks(text: str) -> OutputChecks:
    """Read the checks of an output as they stand in pipeline.yaml."""
    return OutputChecks.model_validate(yaml.safe_load(text))


def night(day: date = DAY, rows: int = FLIGHTS) -> pa.Table:
    """Score a day's flights: mostly small probabilities, a few outcomes not known yet."""
    drawn = random.Random(day.toordinal())  # noqa: S311 - data for a test, the same every time
    numbers = range(rows)
    noon = datetime.combine(day, datetime.min.time()) + timedelta(hours=5)
    return pa.table(
        {
            "flight_id": pa.array([day.toordinal() * 10_000 + n for n in numbers], pa.int64()),
            "carrier": [drawn.choices(["AA", "DL", "UA", "WN"], [3, 4, 5, 1])[0] for _ in numbers],
            "scheduled": [noon + timedelta(minutes=n % 1000) for n in numbers],
            "day": [day] * rows,
            "p_delay": [drawn.betavariate(2, 6) for _ in numbers],
            "late": [None if n % 100 == 0 else drawn.random() < 0.25 for n in numbers],
        }
    )


@dataclass(frozen=True)
class Auditor:
    """Audits tables of one step on a store of its own."""

    root: Path
    context: AuditContext

    def file(self, content: pa.Table | bytes, name: str = "scores.parquet") -> Path:
        """Write an output where a notebook would."""
        path = self.root / "outputs" / "scores" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path)
        return path

    def audit(
        self, content: pa.Table | Path | bytes, checks: str = CHECKS, **changes: Any
    ) -> tuple[CheckResult, ...]:
        """Audit a table, or the output that was written at a path."""
        path = content if isinstance(content, Path) else self.file(content)
        context = replace(self.context, **changes)
        return audit({"scores": path}, {"scores": read_checks(checks)}, context)

    def one(self, content: pa.Table | Path | bytes, checks: str, **changes: Any) -> CheckResult:
        """Audit with one check and return its result."""
        (result,) = self.audit(content, checks, **changes)
        return result

    def commit(self, day: date, results: tuple[CheckResult, ...]) -> None:
        """Leave what an attempt leaves that committed: its record, and the pointer to it."""
        store, partition, member = self.context.store, day.isoformat(), self.context.member
        prefix = attempt_prefix("p", partition, "r", "s", 1, member=member)
        record = Record(
            pipeline="p", step="s", partition=partition, as_of=partition, run="r", order=1,
            member=member, attempt=1, state=AttemptState.SUCCEEDED, committed=True,
            started_at=datetime.now(UTC), nightmill="0", host="h", store=store.url,
            parameters={}, checks=results,
        )  # fmt: skip
        store.write(f"{prefix}/{RECORD}", record.to_json())
        token = Token(order=1, attempt=1)
        commit(
            store,
            Pointer(
                pipeline="p", step="s", partition=partition, run="r", token=token,
                member=member, attempt_prefix=prefix, outputs={},
            ),
        )  # fmt: skip

    def on(self, day: date) -> Auditor:
        """Return an auditor of another night."""
        text = day.isoformat()
        return replace(self, context=replace(self.context, partition=text, as_of=text))


def make_auditor(root: Path, env: Mapping[str, str] = os.environ) -> Auditor:
    """Make an auditor whose kernel is this very Python."""
    scratch = root / "scratch"
    scratch.mkdir()
    (root / "notebooks").mkdir()
    context = AuditContext(
        store=open_store("store", base=root),
        pipeline="p",
        step="s",
        partition=DAY.isoformat(),
        as_of=DAY.isoformat(),
        scratch=scratch,
        kernel=KernelPython(Path(sys.executable), dict(env), root / "notebooks"),
        threads=2,
    )
    return Auditor(root, context)
