"""Following the log of a pod: complete where possible, never a reason to wait."""

from __future__ import annotations

import threading
import time

import pytest

from nightmill.airflow import pod_log
from nightmill.airflow.pod_log import PodLog


def line(second: int, text: str, fraction: str = ".5") -> bytes:
    """Write a line as the kubelet does, with its time."""
    return f"2013-03-01T12:00:{second:02}{fraction}Z {text}\n".encode()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(pod_log, "PAUSE_S", 0.01)
    monkeypatch.setattr(pod_log, "LAST_S", 60.0)


class Raw(list):
    """An open log; it has to be closed."""

    is_closed = False

    def close(self):
        """Give the connection back."""
        self.is_closed = True


def read(*answers) -> tuple[list[str], list[int | None]]:
    """Follow a log whose openings give these answers; return its lines, and what was asked for."""
    asked: list[int | None] = []
    opens: list[Raw] = []
    done = threading.Event()

    def opened(since_s):
        asked.append(since_s)
        answer = answers[min(len(asked), len(answers)) - 1]
        if len(asked) >= len(answers):
            done.set()
        if isinstance(answer, Exception):
            raise answer
        opens.append(Raw(answer))
        return opens[-1]

    log = PodLog(opened)
    log.start()
    assert done.wait(60)
    lines = list(log.finish())
    assert all(one.is_closed for one in opens)
    return lines, asked


def test_lines_lose_their_time():
    """The lines come in order, without the kubelet's time, and broken bytes do not matter."""
    found, asked = read([line(1, "one"), line(2, "two ")[:-1] + b"\xff\n", line(3, "")])
    assert found[:3] == ["one", "two \ufffd", ""]
    assert asked[0] is None


def test_a_lost_connection_repeats_nothing():
    """After a break only what is new is told, also where the node writes times without zeros."""
    first = [line(1, "a", ".1"), line(1, "b", ".12"), line(1, "b too", ".12")]
    again = [line(1, "b", ".12"), line(1, "c", ".123"), line(2, "d", "")]
    found, asked = read(first, again)
    assert found == ["a", "b", "b too", "c", "d"]
    assert asked[1] >= 2


def test_a_log_that_fails_is_a_line():
    """A log that cannot be read is told once and fails nothing."""
    found, _ = read(OSError("gone"))
    assert found == ["(the pod's log could not be read: OSError)"]


def test_the_kubelet_s_own_words():
    """What has no time is told whole, and hides nothing that comes after it."""
    found, _ = read([b"unable to retrieve container logs\n", line(1, "one")])
    assert found[:2] == ["unable to retrieve container logs", "one"]


def test_a_long_log_is_cut(monkeypatch):
    """A log beyond the limit ends with one line that says so."""
    monkeypatch.setattr(pod_log, "MAX_BYTES", 200)
    found, _ = read([line(second, "x" * 50) for second in range(30)])
    assert found == ["x" * 50, "x" * 50, pod_log.CUT]


def test_a_stalled_log_holds_up_nobody(monkeypatch):
    """The rest of a log that stalls is given up in time."""
    monkeypatch.setattr(pod_log, "LAST_S", 0.3)
    taken, release = threading.Event(), threading.Event()

    def stalls():
        yield line(1, "one")
        taken.set()
        release.wait(120)

    log = PodLog(lambda _since: stalls())
    log.start()
    assert taken.wait(60)
    begun = time.monotonic()
    assert list(log.finish()) == ["one", "(the rest of the pod's log did not come in time)"]
    assert time.monotonic() - begun < 60
    release.set()
