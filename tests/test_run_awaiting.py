"""Waiting for inputs in `nightmill run`: who begins when, who gives up, what people see of it."""

from __future__ import annotations

import selectors
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from nightmill.cli.display import LiveDisplay, PlainDisplay
from nightmill.errors import StoreError
from nightmill.run.aftermath import amend_death
from nightmill.run.awaiting import Awaited
from nightmill.run.bell import Bell
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


def look(awaited: Awaited, status: StepStatus) -> bool:
    """Look as the launcher does, and once more when the store has answered."""
    rung = threading.Event()
    if awaited.are_there(status, rung.set):
        return True
    now = time.monotonic()
    if status.wait is not None and status.wait.look_at > now:
        return False  # not asked
    assert rung.wait(30)
    return awaited.are_there(status, rung.set)


def test_a_step_begins_when_its_input_is_there(launcher, store):
    """Other steps run meanwhile, with one worker for all; what waited begins, then what needs it.

    The input is committed only when the other step is over, so that nobody may hold it up.
    """
    awaited, looked = Awaited(store, look_every_s=0.05), threading.Event()
    steps = planned("waits", wait=SOON), planned("behind", "waits"), planned("aside")
    told = []

    def has_inputs(status, ring):
        return awaited.are_there(status, lambda: (looked.set(), ring()))

    def watch(status, event):
        told.append((status.planned.run.step, event["event"]))
        if told[-1] == ("aside", "over"):
            assert looked.wait(30)
            make(store, "2013-01-01")

    ended = launcher(*steps, workers=1, has_inputs=has_inputs).run(watch)
    assert set(states(ended).values()) == {StepState.SUCCEEDED}
    assert [step for step, event in told if event == "started"] == ["aside", "waits", "behind"]
    assert told.index(("waits", "awaiting")) < told.index(("waits", "started"))
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
    assert not look(awaited, status)
    make(store, DAY)
    assert not look(awaited, status)
    status.wait = replace(status.wait, look_at=status.wait.look_at - 600)
    assert look(awaited, status)
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
    assert not look(awaited, status)
    assert "nobody answers" in status.wait.lacking
    status.wait = replace(status.wait, since=status.wait.since - 600, look_at=0)
    assert not look(awaited, status)
    if minutes < 10:
        assert (status.state, status.cause) == (StepState.FAILED, "store")
    else:
        assert (status.state, status.cause) == (StepState.WAITING, "")


def test_a_long_wait_is_told_as_it_was_written(store):
    """Nobody wants to read that a step waited 7201 seconds."""
    status = StepStatus(planned("waits", wait=timedelta(hours=2)))
    awaited = Awaited(store)
    assert not look(awaited, status)
    status.wait = replace(status.wait, since=status.wait.since - 7201, look_at=0)
    assert not look(awaited, status)
    assert status.message.startswith("bad_parameters: waited 2 h: ")


def test_people_see_what_a_step_waits_for(screen, store):
    """Live rows and plain lines name the input and the time that is left; once is enough."""
    status = StepStatus(planned("waits", wait=timedelta(hours=2)))
    assert not look(Awaited(store), status)
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
    made: Launcher = launcher(planned("a"), has_inputs=lambda *question: asked.append(question))
    assert made.run(lambda _status, _event: None)[0].state is StepState.SUCCEEDED
    assert asked == []


class Counting:
    """A store that notes what it is asked for."""

    def __init__(self, store):
        self.store, self.asked = store, []

    def __getattr__(self, name):
        self.asked.append(name)
        return getattr(self.store, name)


def look_again(awaited: Awaited, status: StepStatus, *, after_s: float) -> str:
    """Let time go by and look once more; return what is told."""
    status.wait = replace(status.wait, since=status.wait.since - after_s, look_at=0)
    assert not look(awaited, status)
    return status.wait.lacking if status.wait else status.message


@pytest.mark.parametrize("version", ["same_partition", "latest_before_partition"])
def test_a_look_that_finds_nothing_new_is_cheap(store, version):
    """While the input is not there, only the first look and the last ask what to tell people."""
    counting = Counting(store)
    step = replace(planned("waits"), awaits=(source(version, wait=timedelta(hours=2)),))
    status, awaited, costs = StepStatus(step), Awaited(counting), []
    assert not look(awaited, status)
    for after_s in (600, 600, 7201):
        costs.append(len(counting.asked))
        counting.asked.clear()
        look_again(awaited, status, after_s=after_s)
    assert status.state is StepState.FAILED
    first, second, third, last = *costs, len(counting.asked)
    assert second == third < first <= last  # the last also asks whether a review is what lacks


def test_how_many_members_are_there_is_always_told(store):
    """Each look counts anew the members that an input still lacks."""
    wants = source(wait=SOON, members=("a", "b"))
    status, awaited = StepStatus(replace(planned("waits"), awaits=(wants,))), Awaited(store)
    assert not look(awaited, status)
    assert "by 2 of 2 members" in status.wait.lacking
    make(store, DAY, member="a")
    assert "by 1 of 2 members" in look_again(awaited, status, after_s=1)
    make(store, DAY, member="b")
    status.wait = replace(status.wait, look_at=0)
    assert look(awaited, status)


def test_of_several_inputs_one_that_still_lacks_is_told(store):
    """When the input has come that is waited for the least, the wait is for the other."""
    wants = source("previous_partition", wait=timedelta(hours=2)), source(wait=SOON)
    status, awaited = StepStatus(replace(planned("waits"), awaits=wants)), Awaited(store)
    assert not look(awaited, status)
    assert f"never committed for {DAY};" in status.wait.lacking
    make(store, DAY)
    assert "the day before" in look_again(awaited, status, after_s=1)


def test_a_store_that_goes_away_is_told(store):
    """Who waits for an input is told that the store is away, and of the input when it is back."""
    counting = Counting(store)
    status, awaited = StepStatus(planned("waits", wait=timedelta(hours=2))), Awaited(counting)
    assert not look(awaited, status)
    counting.store = Gone()
    assert "nobody answers" in look_again(awaited, status, after_s=1)
    counting.store = store
    assert "was never committed" in look_again(awaited, status, after_s=1)


# -- a store that is slow, or hangs ----------------------------------------------------------------


class Hanging:
    """A store that has an object wherever it is asked, but answers only when it is let go."""

    url = "/store"

    def __init__(self):
        self.go, self.asked, self.at_once = threading.Event(), [], []

    def read(self, key):
        """Wait, then fail."""
        self.asked.append(key)
        self.at_once.append(key)
        assert self.at_once == [key]
        assert self.go.wait(60)
        self.at_once.remove(key)
        raise StoreError("nobody answers", address=key, operation="read", advice="start it")


@pytest.fixture
def hanging():
    """Return a store that hangs until the test is over."""
    store = Hanging()
    yield store
    store.go.set()


def test_a_store_that_hangs_holds_up_nobody(launcher, hanging):
    """While it is asked for an input, other steps begin, are heard and end; so does the run."""
    told = []

    def watch(status, event):
        told.append((status.planned.run.step, event["event"]))
        if told[-1] == ("aside", "over"):
            made.stop()

    steps = planned("waits", wait=SOON), planned("aside")
    made = launcher(*steps, has_inputs=Awaited(hanging).are_there)
    begun = time.monotonic()
    ended = made.run(watch)
    assert time.monotonic() - begun < 20
    assert ("aside", "step_ended") in told
    assert states(ended) == {"waits": StepState.BLOCKED, "aside": StepState.SUCCEEDED}
    assert len(hanging.asked) == 1


def test_the_store_is_asked_one_question_at_a_time(hanging):
    """Steps that lack the same share an answer, and another question waits for its turn."""
    awaited, rung = Awaited(hanging, look_every_s=600), threading.Semaphore(0)
    members = [with_run(planned("waits", wait=SOON), member=name) for name in "abc"]
    other = with_run(planned("waits", wait=SOON), partition="2013-01-09")
    statuses = [StepStatus(one) for one in (*members, other)]
    for status in statuses * 2:
        assert not awaited.are_there(status, rung.release)
    assert [status.wait for status in statuses] == [None] * 4
    hanging.go.set()
    for _status in statuses:
        assert rung.acquire(timeout=30)
    for status in statuses:
        assert not awaited.are_there(status, rung.release)
        assert "nobody answers" in status.wait.lacking
    assert [key[-15:-5] for key in hanging.asked] == [DAY, "2013-01-09"]


def test_who_asks_after_an_answer_gets_one_of_their_own(hanging):
    """Only who asks before the store has answered shares the answer."""
    hanging.go.set()
    awaited, rung = Awaited(hanging), threading.Event()
    first, second = (
        StepStatus(with_run(planned("waits", wait=SOON), member=name)) for name in ("a", "b")
    )
    awaited.are_there(first, lambda: awaited.are_there(second, rung.set))
    assert rung.wait(30)
    assert len(hanging.asked) == 2


def with_run(planned: PlannedStep, **changed: str) -> PlannedStep:
    """Change whose step it is."""
    return replace(planned, run=planned.run.model_copy(update=changed))


def test_an_answer_wakes_the_launcher(launcher, store, monkeypatch):
    """A step begins as soon as the store has said that its input is there."""
    monkeypatch.setattr("nightmill.run.launcher._TICK_S", 25)
    make(store, DAY)
    begun = time.monotonic()
    made = launcher(planned("goes", wait=SOON), has_inputs=Awaited(store).are_there)
    assert states(made.run(lambda _status, _event: None)) == {"goes": StepState.SUCCEEDED}
    assert time.monotonic() - begun < 20


def test_what_nobody_foresaw_is_raised_where_people_see_it():
    """An error of another kind ends the run; it does not die with a thread."""
    status = StepStatus(planned("waits", wait=SOON))
    with pytest.raises(AttributeError):
        look(Awaited(object()), status)


def test_a_bell_rings_for_whoever_listens():
    """However often it is rung it is heard, silent once quieted, and harmless after its end."""
    with selectors.DefaultSelector() as selector, closing(Bell()) as bell:
        selector.register(bell.heard, selectors.EVENT_READ)
        for _time in range(10_000):
            bell.ring()
        assert selector.select(30)
        while selector.select(0):
            bell.quiet()
        bell.quiet()
        bell.ring()
        assert selector.select(30)
    bell.ring()
