"""The check against a pandera schema: the author's own code, so it runs in the kernel's Python.

In a process of its own, with the kernel's environment and libraries; our own process never imports
a module of an author. pandera needs the data as a whole, so what would not fit is refused. Whatever
the module has started ends with its process: nobody waits for what it left behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Self, cast

from nightmill.audit.context import AuditContext
from nightmill.audit.finding import Finding, one_line, unknown
from nightmill.audit.table import Table
from nightmill.audit.watch import watch
from nightmill.spec.check_kinds import Pandera
from nightmill.spec.record import CheckState
from nightmill.spec.sql import literal

_SCRIPT = Path(__file__).with_name("pandera_script.py")
_COPIES = 3  # of the data, in memory: what was read, the frame, and a check's own
_TAIL = 200
_KEPT = 4 * _TAIL  # bytes: a character may take four
_TICK_S = 0.2
_LAST_READS = 32  # of 64 KiB: more than a pipe holds


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
    asked = answer.with_name("pandera-order.json")
    asked.write_text(json.dumps(order), encoding="utf-8")
    with (
        asked.open("rb") as stdin,
        subprocess.Popen(
            [kernel.python, "-c", _SCRIPT.read_text(encoding="utf-8")],
            cwd=kernel.folder,
            env=dict(kernel.env),
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process,
        _Tail(cast("IO[bytes]", process.stderr)) as said,
        watch(context, partial(_end_group, process)),
    ):
        _wait(process)
    if not answer.is_file():
        tail = one_line(said.text()[-_TAIL:])
        return unknown(f"the kernel's Python ended with {process.returncode}: {tail}")
    found = json.loads(answer.read_bytes())
    return Finding(CheckState(found["state"]), one_line(found["message"]))


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for the process itself, then end its group: its number is free once it is collected."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    _end_group(process)
    process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class _Tail(threading.Thread):
    """Reads what a process says until it has ended, and keeps the last of it.

    A process that has left the group may hold the pipe open for ever.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(name="audit-pandera", daemon=True)
        self._pipe = pipe
        self._kept = b""
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.is_set():
            if select.select([self._pipe], [], [], _TICK_S)[0] and not self._read():
                return
        for _ in range(_LAST_READS):  # what it said before its end; another may go on for ever
            if not (select.select([self._pipe], [], [], 0)[0] and self._read()):
                return

    def _read(self) -> bool:
        data = os.read(self._pipe.fileno(), 1 << 16)
        self._kept = (self._kept + data)[-_KEPT:]
        return bool(data)

    def text(self) -> str:
        return self._kept.decode(errors="replace")
