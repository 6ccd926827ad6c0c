"""Sixty days made up for and killed ten times: in the end nothing tells it from a quiet run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, timedelta

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

FIRST, DAYS, KILLS = date(2013, 1, 1), 60, 10
LAST = FIRST + timedelta(days=DAYS - 1)
SPAN = ("--from", FIRST.isoformat(), "--to", LAST.isoformat())

STEPS = """
sum:
  notebook: sum.ipynb
  inputs: {before: {from: total, version: previous_partition, optional: true}}
  outputs: {total: total.json, parts: parts/}
"""
PARAMETERS = (
    "partition: str = '2013-01-01'\nbefore: str | None = None\ntotal: str = 't'\nparts: str = 'p'",
    "parameters",
)
SUM = """
import hashlib, json, os
known = json.load(open(before)) if before else {"days": 0, "chain": ""}
chain = hashlib.sha256((known["chain"] + partition).encode()).hexdigest()
for number in range(3):
    open(f"{parts}/{number}.txt", "w").write(f"{partition} {number} {chain}")
"""
WRITE = 'json.dump({"days": known["days"] + 1, "chain": chain}, open(total, "w"))'


@pytest.fixture(scope="module")
def stores(make_project):
    """Run the backfill undisturbed in one project and killed in another, side by side."""
    projects = [make_project("quiet"), make_project("killed")]
    for project in projects:
        project.pipeline("sums", STEPS, sum=[PARAMETERS, _wait_cell(project), SUM, WRITE])
    _gate(projects[0]).touch()
    with ThreadPoolExecutor(2) as pool:
        quiet = pool.submit(lambda: projects[0].start("run", "sums", *SPAN).communicate())
        killed = pool.submit(_run_and_kill, projects[1])
        quiet.result()
        kills = killed.result()
    return projects[0].store, projects[1].store, kills


def _gate(project):
    """Name the file without which no run comes to its end."""
    return project.root / "may-end"


def _wait_cell(project):
    """Write a cell that keeps the last day waiting, so that no run is over before it is killed."""
    condition = f"partition == '{LAST}' and not os.path.exists({str(_gate(project))!r})"
    return f"import os, time\nwhile {condition}: time.sleep(0.05)"


def _run_and_kill(project):
    """Kill the run whenever some more days are done; count the kills, and let the last one end."""
    dice, kills = random.Random(2013), 0  # noqa: S311 - repeatable, not secret
    while True:
        process = project.start("run", "sums", *SPAN)
        goal = min(_done(project) + dice.randint(1, 5), DAYS - 1)
        if kills == KILLS:
            _gate(project).touch()
            said = process.communicate()
            assert process.returncode == 0, said
            return kills
        while process.poll() is None and _done(project) < goal:
            time.sleep(0.02)  # a poll: the run ends, or comes so far
        time.sleep(dice.uniform(0, 1))  # anywhere within a step
        assert process.poll() is None, process.communicate()
        _kill(process, whole=dice.random() < 0.5)
        kills += 1


def _done(project):
    """Count the days that are committed."""
    return len(list(project.store.glob("current/sums/sum/*.json")))


def _kill(process, *, whole):
    """Kill the launcher, and every second time all that it has started."""
    launcher = psutil.Process(process.pid)
    below = launcher.children(recursive=True) if whole else []
    for one in (launcher, *below):
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def _current(store):
    """Read what is current of every day: the bytes of all files by day, output and name."""
    found = {}
    for file in sorted((store / "current/sums/sum").glob("*.json")):
        for name, output in json.loads(file.read_text())["outputs"].items():
            for part in output["files"]:
                data = (store / output["prefix"] / part["path"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == part["sha256"]
                found[file.stem, name, part["path"]] = data
    return found


def test_a_backfill_killed_ten_times_ends_with_the_bytes_of_an_undisturbed_one(stores):
    """Resumed by the same command, it makes every day once, each from the day before."""
    quiet, killed, kills = stores
    assert kills == KILLS
    expected = _current(quiet)
    assert len(expected) == DAYS * 4
    assert _current(killed) == expected
    chain = ""
    for number in range(DAYS):
        day = (FIRST + timedelta(days=number)).isoformat()
        chain = hashlib.sha256((chain + day).encode()).hexdigest()
    last = json.loads(expected[LAST.isoformat(), "total", "total.json"])
    assert last == {"days": DAYS, "chain": chain}


def test_what_is_published_is_what_is_committed(stores):
    """The plain address holds each day's file, whatever was killed while it was put there."""
    for store in stores[:2]:
        files = store.glob("data/sums/total/partition=*/total.json")
        published = {
            file.parent.name.removeprefix("partition="): file.read_bytes() for file in files
        }
        current = {key[0]: data for key, data in _current(store).items() if key[1] == "total"}
        assert published == current
