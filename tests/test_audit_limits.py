"""Large outputs: an audit keeps within its memory, whatever the size of the data."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nightmill.audit.context import AuditContext, KernelPython

MIB = 1 << 20

# Written and audited in processes of their own, so that the peak is that of the audit alone.
WRITE = """
import sys
import duckdb
duckdb.execute(f'''COPY (
  SELECT i AS id, 'flight-' || i AS key, hash(i)::DOUBLE / 2::DOUBLE ** 64 AS p,
    DATE '2013-01-01' + (i % 30)::INTEGER AS day
  FROM range(5000000) t(i)) TO '{sys.argv[1]}' (FORMAT parquet)''')
"""
AUDIT = """
import json, sys
from pathlib import Path
from tests.audited import make_auditor
from dataclasses import replace

CHECKS = '''
rows: "5000000"
not_null: [id, p]
unique: [[id], [key]]
between: {p: [0, 1], day: [2013-01-01, 2013-01-30]}
distribution: {p: {psi: 0.2}}
sql: SELECT day, count(*) FROM output GROUP BY day HAVING count(*) < 1000
'''
def peak():  # of this program alone: ru_maxrss holds that of whoever started it as well
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

auditor = make_auditor(Path(sys.argv[1]))
before = peak()
results = auditor.audit(Path(sys.argv[2]), CHECKS, memory_bytes=int(sys.argv[3]))
after = peak()
print(json.dumps({"states": [r.state for r in results], "messages": [r.message for r in results],
  "kib": after - before, "size": sum(len(r.model_dump_json()) for r in results)}))
"""


def run(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_five_million_rows_in_bounded_memory(tmp_path):
    """Five million rows with two unique keys fit into a pod of 256 MiB, and nothing is printed."""
    path = tmp_path / "scores.parquet"
    run(WRITE, path)
    said = json.loads(run(AUDIT, tmp_path, path, 256 * MIB))
    assert said["states"] == ["passed"] * 7 + ["skipped", "passed"], said["messages"]
    assert said["kib"] < 220 * 1024
    assert said["size"] < 8000


@pytest.mark.parametrize(
    ("limit", "memory", "threads"),
    [
        (None, 1024 * MIB, 8),
        (512 * MIB, 256 * MIB, 4),
        (64 * MIB, 64 * MIB, 1),
        (64 * 1024 * MIB, 2048 * MIB, 8),
    ],
)
def test_a_query_takes_a_part_of_the_limit(tmp_path, limit, memory, threads):
    """Half of the cgroup's limit, within bounds, and only as many threads as that can feed."""
    context = AuditContext(
        store=None, pipeline="p", step="s", partition="x", as_of="2013-01-01", scratch=tmp_path,
        kernel=KernelPython(Path(sys.executable), {}, tmp_path), threads=8, memory_bytes=limit,
    )  # fmt: skip
    assert (context.query_memory_bytes, context.query_threads) == (memory, threads)
