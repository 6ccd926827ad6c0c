"""Attempts that race for one pointer: the newest wins every time, and the pointer never goes back.

An older attempt that commits before a newer one has done nothing wrong: its outputs were current
until the newer commit replaced them, which is what "superseded" means here. Its record says that it
has committed, which is true, and which makes it a version that a rollback may choose. One that
comes after a newer one is fenced, and was never current. There is no third end.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from nightmill.errors import UsageError
from nightmill.run.plan import Request, build_plan
from nightmill.spec.project import Project
from nightmill.spec.record import AttemptState, Record
from nightmill.store.decision import decide, prepare
from nightmill.store.interface import Store
from nightmill.store.open import open_store
from nightmill.store.pointer import Move, Token
from nightmill.store.versions import find_versions
from tests import commit_racer
from tests.commit_attempt import (
    DAY,
    PIPELINE,
    Site,
    check_whole,
    no_engine,
    read_current,
    read_record,
    run_attempt,
)
from tests.commit_racer import Report, contend, winner

RACES = 500
ZOMBIE, ATTEMPT, RETRY = (1, 1), (2, 1), (2, 2)  # by age: the run's order, the attempt
CONTENDERS = (ZOMBIE, ATTEMPT, RETRY)
RACES_AT_ONCE = 4
AT_ONCE = {"directory": 4, "s3": 50}  # SeaweedFS lets the loser of a conditional write wait


@pytest.fixture(scope="module", params=["directory", "s3"])
def raced(request, tmp_path_factory):
    """Let three processes run all races; return the store and what each contender reports."""
    env, url = {}, str(tmp_path_factory.mktemp("races") / "store")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3":
            server = request.getfixturevalue("s3_server")
            env, url = server.credentials, server.url(uuid4().hex)
        for name, value in env.items():
            patch.setenv(name, value)
        yield open_store(url, base=Path()), run_races(url, env, AT_ONCE[request.param])


def run_races(url: str, env: dict[str, str], at_once: int) -> dict[tuple[int, int], Report]:
    """Start a process for each contender, and wait for their reports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([commit_racer.__name__])
    starts = [context.Barrier(3, timeout=120) for _ in range(at_once)]
    reports = context.Queue()
    processes = [
        context.Process(target=contend, args=(url, env, token, RACES, starts, reports))
        for token in (ZOMBIE, ATTEMPT, RETRY)
    ]
    for process in processes:
        process.start()
    found = dict(reports.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    return found


def test_the_newest_wins_every_race(raced):
    """After each of 500 races of a zombie, an attempt and its retry, the retry is current."""
    store, reports = raced
    assert [race for race in range(RACES) if winner(store, race) != RETRY] == []
    assert set(reports[RETRY].ends.values()) == {"committed"}


def test_the_others_are_fenced_or_superseded(raced):
    """Every contender ends in one of two ways, and both were seen: these were races."""
    _, reports = raced
    for token in (ZOMBIE, ATTEMPT):
        ends = reports[token].ends
        assert len(ends) == RACES
        assert set(ends.values()) <= {"committed", "fenced"}
    older = [reports[token].ends[race] for token in (ZOMBIE, ATTEMPT) for race in range(RACES)]
    assert min(older.count("committed"), older.count("fenced")) > RACES / 20


def test_the_pointer_never_goes_back(raced):
    """What each write replaced forms one chain from nothing to the newest, ever newer."""
    _, reports = raced
    for race in range(RACES):
        writes = [one.writes[race] for one in reports.values() if race in one.writes]
        by_replaced = {write.replaced: write for write in writes}
        assert len(by_replaced) == len(writes), "two writes replaced the same version"
        chain, etag = [], None
        while etag in by_replaced:
            chain.append(by_replaced[etag].token)
            etag = by_replaced[etag].etag
        assert len(chain) == len(writes)
        assert chain == sorted(set(chain))
        assert chain[-1] == RETRY


def test_whoever_wrote_knows_that_it_has_committed(raced):
    """A contender says committed exactly where its own write took effect."""
    _, reports = raced
    for report in reports.values():
        committed = {race for race, end in report.ends.items() if end == "committed"}
        assert committed == set(report.writes)


class AtTheLine:
    """A store whose attempt waits for the others right before it writes the pointer.

    It notes whether one of the attempt's writes there took effect: then that was current.
    """

    def __init__(self, store: Store, start: Barrier) -> None:
        self.was_current = False
        self._store = store
        self._start = start
        self._waits = True

    def __getattr__(self, name: str) -> Any:
        """Pass everything else on."""
        return getattr(self._store, name)

    def write_if(self, key: str, data: bytes, *, etag: str | None) -> str:
        """Write, the first time together with the others."""
        if not key.startswith("current/"):
            return self._store.write_if(key, data, etag=etag)
        if self._waits:
            self._waits = False
            self._start.wait(timeout=60)
        after = self._store.write_if(key, data, etag=etag)
        self.was_current = True
        return after


def race(site: Site) -> dict[tuple[int, int], bool]:
    """Let all three attempts commit at once; see that each record is true.

    Return which of them had been current.
    """
    start, lines = Barrier(3), dict[tuple[int, int], AtTheLine]()

    def attempt(token: tuple[int, int]) -> Record:
        def wrap(store: Store) -> Store:
            return lines.setdefault(token, AtTheLine(store, start))

        return run_attempt(site, *token, wrap=wrap)

    with ThreadPoolExecutor(3) as pool:
        records = dict(zip(CONTENDERS, pool.map(attempt, CONTENDERS), strict=True))
    store = site.open()
    assert read_current(store).token == Token(order=RETRY[0], attempt=RETRY[1])
    check_whole(store, read_current(store))
    for token, record in records.items():
        assert read_record(store, *token) == record
        if lines[token].was_current:
            assert (record.committed, record.state) == (True, AttemptState.SUCCEEDED)
        else:
            assert (record.committed, record.state) == (False, AttemptState.FAILED)
            assert (record.failure.cause, record.exit_code) == ("fenced", 22)
    return {token: line.was_current for token, line in lines.items()}


@pytest.mark.parametrize(
    ("backend", "races"),
    [
        ("directory", 60),
        ("s3", 30),
        pytest.param("directory", RACES, marks=pytest.mark.e2e),  # a minute on two cores
    ],
)
def test_whole_attempts_that_race(request, make_project, monkeypatch, tmp_path, backend, races):
    """Two attempts and a zombie commit at once, up to 500 times: the newest wins every time.

    Each other one ends `fenced`, unless it had been current before a newer one replaced it: then it
    has committed, and its record says so.
    """
    project = make_project()
    monkeypatch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
    url = request.getfixturevalue("s3_url") if backend == "s3" else str(tmp_path / "store")
    site = Site.of(project, url)
    with no_engine(), ThreadPoolExecutor(RACES_AT_ONCE) as pool:
        ends = list(pool.map(race, [site.at(f"race-{number}") for number in range(races)]))
    assert [end[RETRY] for end in ends] == [True] * races
    older = [end[token] for end in ends for token in (ZOMBIE, ATTEMPT)]
    assert older.count(False) > races / 10, "some were fenced"
    assert older.count(True) > races / 10, "some were current for a moment: these were races"


def test_attempts_after_a_clock_that_was_wrong(make_project, monkeypatch, tmp_path):
    """A run with its own time is fenced and told why; what `nightmill run` plans then commits."""
    project = make_project()
    monkeypatch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
    site = Site.of(project, str(tmp_path / "store"))
    store, loaded = site.open(), Project.load(project.root)
    request = Request(loaded.pipeline(PIPELINE), [DAY], rerun=True)
    with no_engine():
        (usual,) = build_plan(loaded, request, store)
        future = run_attempt(site, usual.run.order + 3650 * 86400 * 10**6)
        assert future.committed
        fenced = run_attempt(site, usual.run.order)
        assert (fenced.failure.cause, fenced.committed) == ("fenced", False)
        assert "its order lies 3,649 days in the future" in fenced.failure.message
        (above,) = build_plan(loaded, request, store)
        assert run_attempt(site, above.run.order).committed
        for order in (usual.run.order + 1, future.order):
            assert run_attempt(site, order, 2).failure.cause == "fenced"
    assert read_current(store).run == f"run-{above.run.order}"


def test_attempts_after_a_rollback(make_project, monkeypatch, tmp_path):
    """A retry of the run that was taken back is fenced before it runs; a newer run commits."""
    project = make_project()
    monkeypatch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
    site = Site.of(project, str(tmp_path / "store"))
    store = site.open()
    with no_engine():
        for order in (10, 20):
            run_attempt(site, order)
        (found,) = find_versions(store, PIPELINE, "scores", DAY)
        move = Move(kind="rollback", by="ann")
        decided = prepare(store, found.choose("previous"), found.current, move)
        decide(store, decided, seen=found.current)
        retry = run_attempt(site, 20, 2)
        assert (retry.failure.cause, retry.cells, retry.outputs) == ("fenced", (), {})
        assert "the rollback to run run-10 (attempt 1) by ann is newer" in retry.failure.message
        with pytest.raises(UsageError, match="started before"):
            run_attempt(site, 20)
        assert read_record(store, 20).committed, "it did commit once"
        assert read_current(store) == decided
        assert run_attempt(site, 30).committed
    check_whole(store, read_current(store))
