"""Waiting for inputs in `nightmill run`: who begins when, who gives up, what people see of it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from nightmill.cli.display import LiveDisplay, PlainDisplay
from nightmill.errors import StoreError
from nightmill.run.aftermath import amend_death
from nightmill.run.awaiting import Awaited
from nightmill.run.launcher import Launcher
from nightmill.run.plan import PlannedStep
from nightmill.run.status import StepState, StepStatus
from nightmill.spec.record import Record
from nightmill.spec.steprun import StepRun
from nightmill.store.open import open_store
from tests.test_cli_display import screen
from tests.test_inputs import make, source
from tests.test_run_launcher import launcher, wait_until

__all__ = ["launcher", "screen"]  # fixtures

DAY = "2013-01-02"
SOON = timedelta(seconds=30)  # long for a test that waits in vain, which then fails


@pytest.fixture
def store(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


def planned(step: str, *needs: str, store: str = "/store", **wants: object) -> PlannedStep:
    """Plan a step that waits for a model as these words of an input say."""
    run = StepRun(pipeline="p", step=step, partition=DAY, as_of=DAY, run="r", order=1, store=store)
    awaits = (source("latest_before_partition", **wants),) if wants else ()
    return PlannedStep(run, needs=frozenset((DAY, one, "") for one in needs), awaits=awaits)


def states(statuses) -> dict[str, StepState]:
    """Name the state of each step."""
    return {one.planned.run.step: one.state for one in statuses}


def test_a_step_begins_when_its_input_is_there(launcher, store):
    """Other steps run meanwhile, with one worker for all; what waited begins, then what needs it.

    The input is committed only when the other step is over, so that nobody may hold it up.
    """
    awaited = Awaited(store, look_every_s=0.05)
    steps = planned("waits", wait=SOON), planned("behind", "waits"), planned("aside")
    told = []

    def watch(status, event):
        told.append((status.planned.run.step, event["event"]))
        if told[-1] == ("aside", "over"):
            make(store, "2013-01-01")

    ended = launcher(*steps, workers=1, has_inputs=awaited.are_there).run(watch)
    assert set(states(ended).values()) == {StepState.SUCCEEDED}
    names = [one for one in told if one[1] in ("awaiting", "started")]
    expected = [("waits", "awaiting"), ("aside", "started"), ("waits", "started")]
    assert names == [*expected, ("behind", "started")]
    assert ended[0].wait is None


def test_a_wait_has_an_end(launcher, store, tmp_path, load_spec):
    """After its time the step has failed with its cause, in a record too; no process was made."""
    steps = (
        planned("waits", store=store.url, wait=timedelta(seconds=0.4)),
        planned("behind", "waits"),
        planned("aside"),
    )
    spec = load_spec("pipeline: p\nsteps: {waits: {notebook: waits.ipynb}}\n")
    made = launcher(
        *steps,
        has_inputs=Awaited(store, look_every_s=0.05).are_there,
        on_death=partial(amend_death, store, spec),
    )
    begun = time.monotonic()
    ended = made.run(lambda _status, _event: None)
    assert 0.4 <= time.monotonic() - begun < 20
    assert states(ended) == {
        "waits": StepState.FAILED,
        "behind": StepState.BLOCKED,
        "aside": StepState.SUCCEEDED,
    }
    assert (ended[0].cause, ended[0].wait) == ("bad_parameters", None)
    assert ended[0].message == (
        "bad_parameters: waited 0.4 s: input model: m.model was never committed up to 2013-01-02; "
        "no partition has it -> run `nightmill run m --partition 2013-01-02`"
    )
    assert not (tmp_path / "waits.began").exists()
    (file,) = tmp_path.glob("store/runs/p/*/r/waits/1/record.json")
    failure = Record.from_json(file.read_bytes()).failure
    assert (failure.cause, failure.message) == ("bad_parameters", ended[0].message)


def test_an_optional_input_is_done_without_in_the_end(launcher, store):
    """When an optional input has not come in its time, the step begins without it."""
    step = planned("goes", wait=timedelta(seconds=0.2), optional=True)
    (ended,) = launcher(step, has_inputs=Awaited(store, look_every_s=0.05).are_there).run(
        lambda _status, _event: None
    )
    assert ended.state is StepState.SUCCEEDED


def test_a_stop_ends_the_wait(launcher, store):
    """Ctrl-C ends a run of which all steps wait, at once and with nothing started."""
    made = launcher(planned("waits", wait=SOON), has_inputs=Awaited(store).are_there)
    status = next(iter(made.statuses.values()))

    def stop() -> None:
        wait_until(lambda: status.wait is not None)
        made.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    begun = time.monotonic()
    ended = made.run(lambda _status, _event: None)
    thread.join()
    assert time.monotonic() - begun < 10
    assert (ended[0].state, ended[0].wait) == (StepState.BLOCKED, None)


def test_it_looks_now_and_then(store):
    """Between two looks the store is not asked, even when the input has come."""
    status = StepStatus(planned("waits", wait=timedelta(hours=2)))
    awaited = Awaited(store, look_every_s=600)
    assert not awaited.are_there(status)
    make(store, DAY)
    assert not awaited.are_there(status)
    status.wait = replace(status.wait, look_at=status.wait.look_at - 600)
    assert awaited.are_there(status)
    assert status.wait is None


class Gone:
    """A store that cannot be reached."""

    def read(self, key):
        """Fail."""
        raise StoreError("nobody answers", address=key, operation="read", advice="start it")


@pytest.mark.parametrize("minutes", [9, 90])
def test_a_store_that_is_away_is_waited_for(minutes):
    """A store that cannot be asked ends no wait before its time, and then is the cause."""
    status = StepStatus(planned("waits", wait=timedelta(minutes=minutes)))
    awaited = Awaited(Gone())
    assert not awaited.are_there(status)
    assert "nobody answers" in status.wait.lacking
    status.wait = replace(status.wait, since=status.wait.since - 600, look_at=0)
    assert not awaited.are_there(status)
    if minutes < 10:
        assert (status.state, status.cause) == (StepState.FAILED, "store")
    else:
        assert (status.state, status.cause) == (StepState.WAITING, "")


def test_a_long_wait_is_told_as_it_was_written(store):
    """Nobody wants to read that a step waited 7201 seconds."""
    status = StepStatus(planned("waits", wait=timedelta(hours=2)))
    awaited = Awaited(store)
    assert not awaited.are_there(status)
    status.wait = replace(status.wait, since=status.wait.since - 7201, look_at=0)
    assert not awaited.are_there(status)
    assert status.message.startswith("bad_parameters: waited 2 h: ")


def test_people_see_what_a_step_waits_for(screen, store):
    """Live rows and plain lines name the input and the time that is left; once is enough."""
    status = StepStatus(planned("waits", wait=timedelta(hours=2)))
    assert not Awaited(store).are_there(status)
    plain = screen(width=300)
    PlainDisplay()(status, {"event": "awaiting"})
    line = "waiting up to 2 h 00 min: input model: m.model was never committed up to 2013-01-02"
    assert f"2013-01-02 waits: {line}" in plain.getvalue()
    live = screen(width=300, is_terminal=True)
    with LiveDisplay([status]):
        pass
    assert line in live.getvalue()


def test_the_launcher_asks_only_for_those_that_wait(launcher):
    """A step without `wait` begins without a question."""
    asked = []
    made: Launcher = launcher(planned("a"), has_inputs=asked.append)
    assert made.run(lambda _status, _event: None)[0].state is StepState.SUCCEEDED
    assert asked == []
