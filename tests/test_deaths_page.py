"""docs/deaths.md: what it says of papermill is measured, and the page is up to date."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import papermill
import pytest

from nightmill.causes import Cause
from nightmill.spec.retry import retry_of
from tests.deaths.page import PAGE, page, read_measured, write_measured
from tests.deaths.plain import run_plain
from tests.deaths.surroundings import Ground
from tests.deaths.table import WAYS

AT_ONCE = 2
UPDATES = bool(os.environ.get("UPDATE_GOLDEN"))
PLAIN = [way for way in WAYS if way.plain.runs]


@pytest.fixture(scope="module")
def measure(kernel_environment, make_project, tmp_path_factory, s3_server):
    """Return a function that runs papermill into ways to die, and returns what it leaves."""

    def run(ways):
        grounds = [Ground(tmp_path_factory.mktemp(way.name), s3_server) for way in ways]
        project, kernels = make_project(), kernel_environment.jupyter_path
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = [
                pool.submit(run_plain, way, project, kernels, ground)
                for way, ground in zip(ways, grounds, strict=True)
            ]
            return {way.name: one.result() for way, one in zip(ways, done, strict=True)}

    return run


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param([way for way in PLAIN if way.cheap], id="cheap"),
        pytest.param([way for way in PLAIN if not way.cheap], id="others", marks=pytest.mark.e2e),
    ],
)
def test_papermill_does_what_the_page_says(ways, measure):
    """What the page says of papermill is what its command line does today."""
    found = measure(ways)
    if UPDATES:
        write_measured(papermill.__version__, found)
    measured = read_measured()["ways"]
    assert {name: left.to_json() for name, left in found.items()} == {
        name: measured[name] for name in found
    }


def test_the_page_is_up_to_date():
    """docs/deaths.md is what table and measurements make of it; UPDATE_GOLDEN=1 writes it."""
    text = page(read_measured())
    if UPDATES:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text


def test_the_table_is_large_and_has_each_name_once():
    """There are at least 25 ways to die, each with a name of its own."""
    assert max(Counter(way.name for way in WAYS).values()) == 1
    assert len(WAYS) >= 25


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_table_keeps_the_one_table_of_causes(way):
    """Exit codes and retries of the ways to die are those that every cause has."""
    if way.cause is None:
        assert (way.fate.exit, way.fate.retry) == (0, "")
        return
    cause = Cause(way.cause)
    assert way.fate.retry == retry_of(cause)
    if way.where == "here" and not way.mended_by:
        assert way.fate.exit == cause.exit_code


def test_every_cause_but_those_with_their_own_tests_is_in_the_table():
    """Whatever can end an attempt can be looked up: a newer commit and our bugs are no deaths."""
    assert {way.cause for way in WAYS} == {None, *Cause} - {Cause.FENCED, Cause.NIGHTMILL_BUG}
