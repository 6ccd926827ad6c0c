"""Threads that outlive their cell: waited for, told, and what they print is kept. Real kernels."""

from __future__ import annotations

import json
import re
import textwrap
import time

import pytest

from nightmill.causes import Cause
from nightmill.step import client
from tests.executing import make_execute, states


@pytest.fixture
def heard():
    """Collect the events of an execution."""
    return []


@pytest.fixture
def execute(kernel_environment, monkeypatch, tmp_path, heard):
    """Return a function that executes cells in a real kernel and collects events in `heard`."""
    run = make_execute(kernel_environment, monkeypatch, tmp_path)
    return lambda *sources, **options: run(*sources, listener=heard.append, **options)


def warnings(heard):
    """Pick what was told as a warning."""
    return [event["text"] for event in heard if event["event"] == "warning"]


def waited_s(warning):
    """Read how long was waited, as a warning tells it."""
    return float(re.search(r"waited ([\d.]+) s", warning)[1])


def printed(cells):
    """Join what each cell printed."""
    return ["".join(o.get("text", "") for o in cell["outputs"]) for cell in cells]


# The last cell has ended when the engine asks which threads are at work.
ASKED = """
import threading, time
asked, threads = threading.Event(), get_ipython().kernel.nightmill_threads
threads.settle = lambda wait_s: (asked.set(), type(threads).settle(threads, wait_s))[1]
"""
WORKER = f"""{ASKED}
def work():
    for i in range(5):
        print('worker', i, flush=True)
        time.sleep(0.1)
    asked.wait()
    time.sleep(0.5)
    print('worker 5', flush=True)
    raise RuntimeError('worker lost its shard')
t = threading.Thread(target=work, name='shards')
t.start()
"""


def test_case_24_output_and_error_of_a_background_thread(execute, heard):
    """Every line of the thread is in the notebook and its exception is a warning: no plain green.

    It is told that it was still at work and how long it was waited for. The counters of the cells
    are what they would be without.
    """
    cells, outcome = execute(WORKER, "time.sleep(0.8)\nprint('second')", "print('last')\n6 * 7")
    assert outcome.cause is None
    assert states(cells) == ["completed"] * 3
    everything = "".join(printed(cells))
    assert all(f"worker {number}\n" in everything for number in range(6))
    assert "worker 5" in printed(cells)[2]
    assert "worker lost its shard" in everything
    failed, at_work = warnings(heard)
    assert failed == (
        "an exception in a thread was seen by no cell: shards: RuntimeError: worker lost its shard"
    )
    assert at_work.startswith("still at work in threads when the last cell ended: shards; waited ")
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3]
    assert cells[2]["outputs"][1]["data"]["text/plain"] == "42"


def test_a_thread_without_end(execute, heard, monkeypatch):
    """The wait is bounded; then the kernel ends, and the thread is named."""
    monkeypatch.setattr(client, "_THREADS_S", 1.0)
    _cells, outcome = execute(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), name='t').start()"
    )
    assert outcome.cause is None
    (warning,) = warnings(heard)
    assert warning.endswith(" s, then ended with the kernel: t")
    assert 1 <= waited_s(warning) < 20


def test_the_wait_is_no_longer_than_a_cell_may_take(execute, heard):
    """A step whose cells may take five seconds does not wait half a minute for a thread."""
    execute(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
        execution_timeout=5,
    )
    assert 5 <= waited_s(warnings(heard)[0]) < 20


def test_what_is_idle_or_a_daemon_is_not_waited_for(execute, heard):
    """An executor that nobody closed has idle workers, and daemons are meant to be left: no wait.

    Nothing of ours is in the notebook's namespace.
    """
    cells, outcome = execute(
        "print(sorted(set(globals()) - {'In', 'Out', 'exit', 'quit', 'get_ipython', 'open'}))",
        """
        import threading, time
        from concurrent.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor()
        list(executor.map(abs, range(8)))
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        """,
    )
    assert outcome.cause is None
    assert warnings(heard) == []
    names = printed(cells)[0]
    assert "nightmill" not in names
    assert all(name.startswith("_") for name in json.loads(names.replace("'", '"')))


def test_a_worker_at_work_is_waited_for(execute, heard):
    """A worker of an executor in the middle of something is a thread at work like any other."""
    cells, _outcome = execute(
        ASKED
        + textwrap.dedent("""
            from concurrent.futures import ThreadPoolExecutor
            def work():
                asked.wait()
                time.sleep(0.5)
                print('done')
            future = ThreadPoolExecutor(thread_name_prefix='pool').submit(work)
        """)
    )
    assert printed(cells) == ["done\n"]
    assert "pool_0" in warnings(heard)[0]


def test_threads_of_a_notebook_that_failed_are_told_and_not_waited_for(execute, heard, monkeypatch):
    """After a failed cell nothing is waited for; what a thread died of may be the reason."""
    monkeypatch.setattr(client, "_THREADS_S", 200.0)
    begun = time.monotonic()
    _cells, outcome = execute(
        """
        import threading, time
        threading.Thread(target=time.sleep, args=(600,), name='sleeper').start()
        failing = threading.Thread(target=lambda: 1 / 0, name='t')
        failing.start()
        failing.join()
        raise ValueError('no result')
        """
    )
    assert time.monotonic() - begun < 120
    assert outcome.message == "ValueError: no result"
    assert any("t: ZeroDivisionError: division by zero" in text for text in warnings(heard))


def test_a_kernel_that_dies_while_its_threads_are_waited_for(execute):
    """Cells that completed stay completed, and the death is not passed over."""
    cells, outcome = execute(
        ASKED
        + textwrap.dedent("""
            import os
            def die():
                asked.wait()
                time.sleep(0.5)
                os._exit(3)
            threading.Thread(target=die).start()
        """)
    )
    assert (outcome.cause, outcome.cell) == (Cause.KERNEL_DIED, None)
    assert outcome.message == "the kernel process ended by itself with exit code 3"
    assert states(cells) == ["completed"]
