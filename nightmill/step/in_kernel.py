"""Runs inside the kernel before its first cell: see `kernel_hook`, which puts it there.

Executed from this file, never imported: the kernel's environment has no Nightmill and may have an
older Python, so there is nothing here but the standard library and what ipykernel brings. It runs
in a namespace of its own and leaves no name behind that a notebook could use by mistake.

What it is for:

- `breakpoint()` asks, and so fails. debugpy, which comes with ipykernel, makes it do nothing where
  no debugger listens: the author's pause would pass unseen. Where `kernel_start` kept ipykernel
  from importing it, the notebook itself may.
- What floods is slowed down instead of lost or heaped up: ipykernel collects all that was printed
  in a fifth of a second into one message, however large, and drops messages that are not taken in
  time; IPython keeps all of it as well. Here messages are bounded, the kernel waits for its reader,
  and nothing is kept.
- Threads are known: which are still at work, and which ended in an exception that nobody saw.
- Children that were killed are noted: nobody but their parent ever learns of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

_PIECE = 1 << 20  # characters a message of printed text
_QUEUED_MESSAGES = 32  # at each end, so that the largest heap is some dozens of megabytes
_TOLD_ERRORS, _TOLD_CHARACTERS = 20, 500
_LOOK_EVERY_S = 0.05


class Threads:
    """Knows the threads that a notebook started."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())
        self._errors: list[str] = []
        shown = threading.excepthook

        def note(args: Any) -> None:
            if args.exc_type is not SystemExit and len(self._errors) < _TOLD_ERRORS:
                name = args.thread.name if args.thread else "a thread"
                said = traceback.format_exception_only(args.exc_type, args.exc_value)
                self._errors.append(f"{name}: {''.join(said).strip()[:_TOLD_CHARACTERS]}")
            shown(args)

        threading.excepthook = note

    def settle(self, wait_s: float) -> str:
        """Wait so long for threads at work, and tell as JSON which there were, are, and failed."""
        begun = time.monotonic()
        found = self._at_work()
        while self._at_work() and time.monotonic() - begun < wait_s:
            time.sleep(_LOOK_EVERY_S)
        left = self._at_work()
        facts = {
            "waited_s": round(time.monotonic() - begun, 1),
            "found": [thread.name for thread in found],
            "left": [thread.name for thread in left],
            "errors": self._errors,
        }
        self._errors = []
        return json.dumps(facts)

    def _at_work(self) -> list[threading.Thread]:
        frames = sys._current_frames()  # noqa: SLF001 - the one way to see what a thread does
        return [
            thread
            for thread in threading.enumerate()
            if not thread.daemon
            and thread not in self._before
            and thread is not threading.main_thread()
            and not _is_idle_worker(frames.get(thread.ident or 0))
        ]


def _is_idle_worker(frame: Any) -> bool:
    """Tell whether a thread is a worker of an executor that waits for something to do."""
    if frame is None:
        return True  # it has just ended
    file = frame.f_code.co_filename.replace("\\", "/")
    return bool(frame.f_code.co_name == "_worker" and file.endswith("concurrent/futures/thread.py"))


def bound_messages(stream_class: Any) -> None:
    """Make what is written to ipykernel's streams leave in pieces, each waiting for the last.

    The class is changed, since IPython puts a `write` of its own on the streams for every cell.
    """
    write, written = stream_class.write, {"stdout": 0, "stderr": 0}

    def bounded(stream: Any, text: str) -> int | None:
        size = len(text) if isinstance(text, str) else 0  # `write` raises for what is no text
        if written[stream.name] + size < _PIECE:
            written[stream.name] += size
            done: int | None = write(stream, text)
            return done
        written[stream.name] = 0
        for start in range(0, size, _PIECE):
            write(stream, text[start : start + _PIECE])
            stream.flush()
        return size

    stream_class.write = bounded


def lose_nothing(shell: Any, pub_thread: Any) -> None:
    """Make the socket of outputs wait for its reader, where its own way is to drop messages.

    A limit reaches only the readers that are there: it is set again whenever a cell begins.
    """
    import zmq  # noqa: PLC0415 - ipykernel's own, and only there

    def set_options() -> None:
        pub_thread.socket.setsockopt(zmq.XPUB_NODROP, 1)
        pub_thread.socket.setsockopt(zmq.SNDHWM, _QUEUED_MESSAGES)

    def begin(_info: Any) -> None:
        pub_thread.schedule(set_options)  # a socket belongs to its thread

    shell.events.register("pre_run_cell", begin)


def forget_prints(shell: Any) -> None:
    """Keep IPython from holding all that was ever printed, for a history nobody asks for.

    This runs within such a holding, which will put the old `write` back on the streams themselves;
    so that is taken off when the next cell begins.
    """
    put_back = {"stdout", "stderr"}

    def tee(channel: str) -> Any:
        if channel in put_back:
            put_back.remove(channel)
            vars(getattr(sys, channel)).pop("write", None)
        return contextlib.nullcontext()

    if hasattr(shell, "_tee"):
        shell._tee = tee  # noqa: SLF001 - there is no setting for it


def note_killed_children(file: Path) -> None:
    """Add a line to the file for each child that SIGKILL ended, if there is such a file.

    Seen are those that Python itself waits for, as multiprocessing, joblib and subprocess do.
    """
    waitpid = os.waitpid

    def watched(*arguments: int) -> tuple[int, int]:
        pid, status = waitpid(*arguments)
        if pid and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            with contextlib.suppress(OSError), file.open("a") as lines:
                lines.write(f"{pid}\n")
        return pid, status

    if file.is_file():
        os.waitpid = watched


def install(shell: Any) -> None:
    """Do all of the above; the kernel keeps `Threads` under a name that `kernel_hook` knows."""
    sys.breakpointhook = sys.__breakpointhook__
    if "debugpy" in sys.modules and sys.modules["debugpy"] is None:
        del sys.modules["debugpy"]
    shell.kernel.nightmill_threads = Threads()
    connection_file = getattr(shell.kernel.parent, "abs_connection_file", "")
    note_killed_children(Path(connection_file).with_name("killed-children"))
    forget_prints(shell)
    if hasattr(sys.stdout, "pub_thread"):  # a stream of ipykernel's
        bound_messages(type(sys.stdout))
        lose_nothing(shell, sys.stdout.pub_thread)


if __name__ == "nightmill_in_kernel":
    install(sys.modules["IPython"].get_ipython())
