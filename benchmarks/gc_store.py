"""What `nightmill gc` costs on a store of many attempts: time, memory, and what is left.

    .venv/bin/python benchmarks/gc_store.py [--attempts 10000] [--s3]

Nine in ten attempts are current and one is a replaced version that goes. Each has a record of a
real one's size and five more objects. `--s3` starts a local S3 server, which serves this machine
only; figures of one machine compare the phases with each other, not stores.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nightmill.spec.record import AttemptState, CellRecord, CellState, Record  # noqa: E402 - above
from nightmill.spec.retention import Keep  # noqa: E402 - above
from nightmill.store.collect import Fate, Order, collect  # noqa: E402 - above
from nightmill.store.interface import Backend  # noqa: E402 - above
from nightmill.store.keys import attempt_prefix  # noqa: E402 - above
from nightmill.store.open import open_store  # noqa: E402 - above
from nightmill.store.pointer import Pointer, Token, commit  # noqa: E402 - above
from tests.s3_server import run_s3_server  # noqa: E402 - above

FILES = ("notebook.ipynb", "progress.json", "outputs/a/a.parquet", "outputs/b/b.parquet")
CELLS = tuple(
    CellRecord(number=number, title=f"Cell {number}", state=CellState.COMPLETED, duration_s=1.0)
    for number in range(40)
)


def fill(store: Backend, number: int) -> None:
    """Write one attempt; every tenth is the older version of the partition before it."""
    is_old = (number + 1) % 10 == 0
    partition = f"day-{number - is_old:06d}"
    run = f"run-{number:06d}"
    prefix = attempt_prefix("flights", partition, run, "score", 1)
    order = 1 if is_old else 2
    record = Record(
        pipeline="flights", step="score", partition=partition, as_of="x", run=run, order=order,
        attempt=1, state=AttemptState.SUCCEEDED, committed=True, started_at=datetime.now(UTC),
        ended_at=datetime.now(UTC), nightmill="0", host="h", store="s", parameters={}, cells=CELLS,
    )  # fmt: skip
    for name in FILES:
        store.write(f"{prefix}/{name}", b"x" * 100)
    store.write(f"{prefix}/record.json", record.to_json())
    if not is_old:
        token = Token(order=order, attempt=1)
        names = {"pipeline": "flights", "step": "score", "partition": partition, "run": run}
        commit(store, Pointer(**names, token=token, attempt_prefix=prefix, outputs={}))


def measure(store: Backend) -> None:
    """Time a dry run, the gc that marks and the one that deletes; print a line for each."""
    rules = {"flights": Keep(versions=1)}
    for label, acts in (("dry run", False), ("marks", True), ("deletes", True)):
        begun = time.monotonic()
        now = datetime.now(UTC) + timedelta(days=1000)
        fates = [one.fate for one in collect(store, Order(rules, "bench", acts=acts, now=now))]
        took = time.monotonic() - begun
        told = ", ".join(f"{fates.count(fate)} {fate}" for fate in Fate if fate in fates)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{label:8} {took:7.1f} s  peak {peak} MiB  {told}", flush=True)


def main() -> None:
    """Fill a store in one process and measure in another, so that its memory is a gc's alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=10_000)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--measure", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(open_store(given.measure, base=ROOT))
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url, env = str(Path(folder, "store")), dict(os.environ)
        if given.s3:
            server = stack.enter_context(run_s3_server("127.0.0.1"))
            url = server.url("bench")
            keys = {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin-secret"}
            os.environ |= keys
            env |= keys
        store, begun = open_store(url, base=ROOT), time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: fill(store, number), range(given.attempts)))
        print(f"filled with {given.attempts:,} attempts in {time.monotonic() - begun:.0f} s")
        subprocess.run([sys.executable, __file__, "--measure", url], check=True, env=env)


if __name__ == "__main__":
    main()
