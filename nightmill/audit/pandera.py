"""The check against a pandera schema: the author's own code, so it runs in the kernel's Python.

In a process of its own, with the kernel's environment and libraries; our own process never imports
a module of an author. pandera needs the data as a whole, so what would not fit is refused.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nightmill.audit.context import AuditContext
from nightmill.audit.finding import Finding, one_line, unknown
from nightmill.audit.table import Table, literal
from nightmill.audit.watch import watch
from nightmill.spec.check_kinds import Pandera
from nightmill.spec.record import CheckState

_SCRIPT = Path(__file__).with_name("pandera_script.py")
_COPIES = 3  # of the data, in memory: what was read, the frame, and a check's own
_TAIL = 200


def check_pandera(table: Table, check: Pandera, context: AuditContext, work: Path) -> Finding:
    """Run the schema over the output; `work` is a folder for the answer."""
    files = ", ".join(map(literal, table.parts))
    query = (
        f"SELECT coalesce(sum(total_uncompressed_size), 0)::BIGINT FROM parquet_metadata([{files}])"
    )
    needed, limit = _COPIES * table.one(query), context.memory_bytes
    if limit is not None and needed > limit:
        return unknown(
            f"pandera would need about {needed >> 20:,} MiB of memory, the limit is "
            f"{limit >> 20:,} MiB: write the check in SQL, or give the step more memory"
        )
    return _run(check.target, list(table.parts), context, work / "pandera.json")


def _run(target: str, files: Sequence[str], context: AuditContext, answer: Path) -> Finding:
    kernel = context.kernel
    order = {
        "schema": target,
        "files": files,
        "folder": str(kernel.folder),
        "answer": str(answer),
    }
    with (
        subprocess.Popen(
            [kernel.python, "-c", _SCRIPT.read_text(encoding="utf-8")],
            cwd=kernel.folder,
            env=dict(kernel.env),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process,
        watch(context, process.kill),
    ):
        _out, said = process.communicate(json.dumps(order).encode())
    if not answer.is_file():
        tail = one_line(said.decode(errors="replace")[-_TAIL:])
        return unknown(f"the kernel's Python ended with {process.returncode}: {tail}")
    found = json.loads(answer.read_bytes())
    return Finding(CheckState(found["state"]), one_line(found["message"]))
