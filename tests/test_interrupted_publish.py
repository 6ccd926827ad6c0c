"""An attempt killed between its commit and its publishing: whoever comes next completes it."""

from __future__ import annotations

import platform
import signal
from pathlib import Path

import pytest

from nightmill.airflow import publishing
from nightmill.airflow.outcome import Outcome
from nightmill.run.aftermath import amend_death
from nightmill.run.plan import PlannedStep
from nightmill.run.status import StepState, StepStatus
from nightmill.spec.record import AttemptState
from tests.commit_attempt import (
    DAY,
    NEW,
    PIPELINE,
    Mortal,
    Site,
    check_published,
    described,
    load,
    no_engine,
    read_record,
    run_attempt,
)
from tests.faulty_store import Fault

FILE = f"data/{PIPELINE}/scores/partition={DAY}/scores.bin"
TO_PUBLISH = Fault(f"copy_if {FILE} #1", "before", "kill")
KILLED = {"state": "failed", "cause": "terminated", "message": "killed"}


@pytest.fixture
def site(make_project, tmp_path, monkeypatch):
    """Have an attempt killed when it has committed and is about to publish."""
    project = make_project()
    monkeypatch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("COLUMNS", "200")
    site = Site.of(project, str(tmp_path / "store"))
    with Mortal(site) as mortal:
        assert mortal.run(site.store_url, TO_PUBLISH) == -signal.SIGKILL
    assert site.open().stat(FILE) is None
    monkeypatch.chdir(project.root)
    return site


def the_next_run(site, cli):
    """Run the same day again; all has committed."""
    ended = cli("run", PIPELINE, "--partition", DAY, "--store", site.store_url)
    assert ended.code == 0
    assert ended.out.splitlines()[:2] == [
        f"scores {DAY} committed before, and was not published: it is now",
        f"Nothing to do for p, {DAY}: all is committed (1 step). Add --rerun to run again.",
    ]


def the_launcher(site, _cli):
    """See the process die, as `nightmill run` does."""
    run = described(site, NEW)
    status = StepStatus(PlannedStep(run), state=StepState.FAILED, cause="terminated", died=True)
    amend_death(site.open(), load(site.root).pipeline(PIPELINE).spec, status)
    assert (status.state, status.warnings) == (StepState.SUCCEEDED, ())


def amend(site, cli):
    """Amend by hand."""
    assert cli("amend", f"run-{NEW}", "--force", "--store", site.store_url).code == 0


def sweep(site, cli):
    """Sweep what has fallen silent."""
    assert cli("sweep", "--older-than", "0.001s", "--store", site.store_url).code == 0


def airflow_after_the_pod(site, _cli):
    """Learn from the store that a lost pod's attempt has succeeded."""
    result = Outcome(described(site, NEW), Path(site.root)).close(KILLED, platform.node())
    assert (result["state"], result["committed"]) == ("succeeded", True)


def airflow_before_the_next_try(site, _cli):
    """Find out that an earlier try needs no other."""
    result = Outcome(described(site, NEW, 2), Path(site.root)).committed()
    assert (result["state"], result["committed"]) == ("succeeded", True)


def the_same_attempt(site, _cli):
    """Start the very attempt once more, as a container does that is restarted."""
    with no_engine():
        assert run_attempt(site, NEW).committed
    assert read_record(site.open(), NEW).state is AttemptState.SUCCEEDED


@pytest.mark.parametrize(
    "come",
    [
        the_next_run,
        the_launcher,
        amend,
        sweep,
        airflow_after_the_pod,
        airflow_before_the_next_try,
        the_same_attempt,
    ],
)
def test_whoever_comes_next_publishes_what_has_committed(site, cli, come):
    """No reader of the plain address is left with the old version, or with none."""
    come(site, cli)
    check_published(site.open(), (NEW, 1))


def test_a_worker_that_cannot_publish_still_knows_what_has_committed(site, monkeypatch, caplog):
    """Not even a missing library makes a committed step run again."""

    def fail(*_arguments: object) -> None:
        raise ImportError("No module named 'deltalake'")

    monkeypatch.setattr(publishing, "publish_committed", fail)
    assert Outcome(described(site, NEW, 2), Path(site.root)).committed()["committed"]
    assert f"`nightmill repair {PIPELINE} --partition {DAY}` completes it" in caplog.text


def test_a_run_that_cannot_complete_a_publish_says_what_does(site, cli):
    """It is a warning: the outputs are committed, and stay so."""
    in_the_way = Path(site.store_url) / "data" / PIPELINE
    in_the_way.mkdir(parents=True)
    (in_the_way / "scores").write_text("a file where the folder should be")
    ended = cli("run", PIPELINE, "--partition", DAY, "--store", site.store_url)
    assert ended.code == 0
    (line,) = [one for one in ended.out.splitlines() if one.startswith("warning: ")]
    assert line.startswith("warning: scores is committed, but not published: ")
    assert line.endswith(f"; `nightmill repair {PIPELINE} --partition {DAY}` completes it")


def test_outside_of_the_project_it_is_said_where_to_repair(site, cli, tmp_path):
    """Only the project knows what is published."""
    ended = cli("sweep", "--older-than", "0.001s", "--store", site.store_url, cwd=tmp_path)
    told = f"to publish it, run `nightmill repair {PIPELINE} --partition {DAY}` in the project"
    assert f"make {DAY}: {told}" in ended.out
