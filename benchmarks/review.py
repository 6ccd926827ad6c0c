"""What the review pages wait for with 10,000 attempts in the store, in a directory and in S3.

    .venv/bin/python benchmarks/review.py [--attempts 10000] [--only directory|s3]

`cold` is the first look of a new process, `again` the next look within two seconds, `refresh` the
one after them, when one attempt has ended meanwhile. Figures are the median of the rounds, each
with an index of its own; where much more time passes than our CPU takes, the machine is busy, or a
server on it. S3 is a real server on loopback, and requests are counted by a proxy in this process,
whose share of the figures is on top: on a network each request costs a round trip instead.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from starlette.testclient import TestClient  # noqa: E402 - as below

from nightmill.review.access import OwnerAccess  # noqa: E402 - found above
from nightmill.review.app import make_app  # noqa: E402 - as above
from nightmill.review.site import Site  # noqa: E402 - as above
from nightmill.spec.summary import Standing  # noqa: E402 - as above
from nightmill.store.index import Index, note  # noqa: E402 - found above
from nightmill.store.index_line import Line  # noqa: E402 - as above
from nightmill.store.interface import Store  # noqa: E402 - as above
from nightmill.store.open import open_store  # noqa: E402 - as above
from tests.faulty_store import FaultyStore  # noqa: E402 - as above
from tests.many_runs import fill  # noqa: E402 - as above
from tests.s3_server import run_s3_server  # noqa: E402 - as above
from tests.tcp_line import line_to  # noqa: E402 - as above

ROUNDS = 5
ROWS = 1_000  # more than any page shows at once
PIPELINES = ("flights", "taxis")
AWS = {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin-secret"}


@dataclass
class Clock:
    """A clock that goes when it is told to; seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass(frozen=True)
class Place:
    """A store that is full, and how many requests it has had."""

    name: str
    store: Store
    requests: Callable[[], int]


@dataclass
class Figures:
    """What each thing took that was done: milliseconds, those of our own CPU, and requests."""

    place: Place
    taken: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        before = (time.perf_counter() * 1000, time.process_time() * 1000, self.place.requests())
        yield
        after = (time.perf_counter() * 1000, time.process_time() * 1000, self.place.requests())
        took = (after[0] - before[0], after[1] - before[1], after[2] - before[2])
        self.taken.setdefault(name, []).append(took)

    def tell(self) -> None:
        """Print a line for each thing."""
        for name, rounds in self.taken.items():
            wall, cpu, requests = map(statistics.median, zip(*rounds, strict=True))
            figures = f"{wall:8.1f} ms {cpu:8.1f} ms CPU {requests:6.0f} requests"
            print(f"{self.place.name:10} {name:34} {figures}", flush=True)


def measure(place: Place) -> None:
    """Look at the store as the pages do."""
    figures = Figures(place)
    for _round in range(ROUNDS):
        clock = Clock()
        index = Index(place.store, clock=clock)
        with figures.of("index, cold"):
            lines = look(index)
        with figures.of("index, again"):
            look(index)
        newest = next(line for line in lines if line.key)
        with figures.of(f"first {ROWS:,} summaries, cold"):
            index.summaries(lines[:ROWS])
        with figures.of(f"first {ROWS:,} summaries, again"):
            index.summaries(lines[:ROWS])
        tell_again(place.store, newest)
        clock.now += 2.0
        with figures.of("index, refresh"):
            look(index)
        clock.now += 2.0
        with figures.of("index, refresh, nothing new"):
            look(index)
    figures.tell()


def measure_pages(place: Place) -> None:
    """Ask for a page of each kind, of a server that has just read the index."""
    figures = Figures(place)
    for _round in range(ROUNDS):
        site = Site.open(place.store, OwnerAccess("Ada"))
        line = next(
            one
            for one in look(site.index)
            if one.standing is Standing.SUCCEEDED and one.pipeline == PIPELINES[0]
        )
        client = TestClient(make_app(site))
        for name, path in pages(line).items():
            for when in ("first", "again"):
                with figures.of(f"{name}, {when}"):
                    assert client.get(path).status_code == HTTPStatus.OK, path
    figures.tell()


def pages(line: Line) -> dict[str, str]:
    """Name the address of a page of each kind."""
    attempt = line.prefix.removeprefix("runs/")
    run = "/".join(attempt.split("/")[:3])
    return {
        "tonight": "/",
        "runs": "/runs",
        "runs, searched": "/runs?q=failed",
        "pipeline": f"/pipelines/{line.pipeline}",
        "run": f"/runs/{run}",
        "attempt": f"/runs/{attempt}",
        "compare": f"/compare/{attempt}",
        "metrics": f"/metrics/{line.pipeline}/{line.step}",
        "outputs": "/outputs",
    }


def look(index: Index) -> list[Line]:
    """Read all that ran of all pipelines, as the first page does."""
    return [line for name in index.pipelines() for line in index.attempts(name)]


def tell_again(store: Store, line: Line) -> None:
    """Note the end of an attempt once more, as one that ends does."""
    from nightmill.spec.record import Record  # noqa: PLC0415 - only here

    blob = store.read(f"{line.prefix}/record.json")
    assert blob is not None
    note(store, Record.from_json(blob.data))


@contextmanager
def directory(attempts: int) -> Iterator[Place]:
    """Fill a store in a directory."""
    with tempfile.TemporaryDirectory() as folder:
        store = FaultyStore(open_store("store", base=Path(folder)))
        fill_and_tell(store, attempts, "directory")
        yield Place("directory", store, lambda: len(store.calls))


@contextmanager
def s3(attempts: int) -> Iterator[Place]:
    """Fill a store in S3."""
    os.environ |= AWS
    with run_s3_server("127.0.0.1") as server, line_to(server.endpoint) as line:
        url = server.url("review")
        fill_and_tell(open_store(url, base=ROOT), attempts, "s3")
        store = open_store(url.replace(server.endpoint, line.endpoint), base=ROOT)
        yield Place("s3", store, lambda: line.requests)


def fill_and_tell(store: Store, attempts: int, name: str) -> None:
    """Fill a store, and say how long that took."""
    begun = time.monotonic()
    fill(store, attempts)
    print(f"{name}: {attempts:,} attempts in {time.monotonic() - begun:.0f} s", flush=True)


def main() -> None:
    """Measure each place in turn."""
    places = {"directory": directory, "s3": s3}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=10_000)
    parser.add_argument("--only", choices=sorted(places))
    given = parser.parse_args()
    for name in [given.only] if given.only else places:
        with places[name](given.attempts) as place:
            measure(place)
            measure_pages(place)


if __name__ == "__main__":
    main()
