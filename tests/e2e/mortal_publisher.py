"""Publishes in processes that may be killed: forks of one that has imported everything.

The process that forks has called nothing of deltalake, whose threads do not outlive a fork.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn, Self
from unittest.mock import patch

import nightmill.publish.delta  # noqa: F401 - loaded once for all forks
from nightmill.publish.publish import publish_current
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml
from nightmill.store import s3
from nightmill.store.open import open_store
from tests.commit_attempt import _shared_client
from tests.e2e.traced import run_traced


@dataclass(frozen=True)
class Order:
    """What is to be published: the file of a pipeline.yaml, a store, and a place in it."""

    pipeline: str
    store_url: str
    place: Mapping[str, str]


class Mortal:
    """Has orders carried out, one after the other."""

    def __init__(self, env: Mapping[str, str], store_url: str = "") -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, store_url],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.communicate()

    def run(self, order: Order, born: Callable[[int], None]) -> int:
        """Publish; tell the process that does, and return its exit code, negative for a signal."""
        self._send(order)
        born(self._answer())
        return self._answer()

    def run_traced(self, order: Order, folder: Path, kill_at: int) -> int:
        """Publish, but kill that process right before its n-th change to a folder."""
        self._send(order, folder=str(folder), kill_at=kill_at)
        return self._answer()

    def _send(self, order: Order, **how: object) -> None:
        self._server.stdin.write(json.dumps(asdict(order) | how) + "\n")
        self._server.stdin.flush()

    def _answer(self) -> int:
        return int(self._server.stdout.readline())


def _serve(url: str) -> None:
    """Fork for each order of standard input, and say how the fork ended."""
    with patch.object(s3, "_client", _shared_client):
        if url:
            open_store(url, base=Path())  # a client for all forks; it has not connected yet
        for line in sys.stdin:
            case = json.loads(line)
            order = Order(case["pipeline"], case["store_url"], case["place"])
            if "kill_at" in case:
                _say(run_traced(lambda one=order: _publish(one), case["folder"], case["kill_at"]))
                continue
            process = os.fork()
            if not process:
                _end_with(order)
            _say(process)
            _say(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _end_with(order: Order) -> NoReturn:
    try:
        _publish(order)
    finally:
        os._exit(0)


def _publish(order: Order) -> None:
    spec = validate(PipelineSpec, read_yaml(Path(order.pipeline)))
    publish_current(open_store(order.store_url, base=Path()), spec, **order.place)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
