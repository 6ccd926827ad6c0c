from __future__ import annotations

import selectors
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from nightmill.causes import Cause
from nightmill.run.aftermath import amend_death
from nightmill.run.launcher import HAD_IT_ALL, STOPPED, Launcher
from nightmill.run.plan import PlannedStep
from nightmill.run.status import StepState
from nightmill.spec.record import Record
from nightmill.spec.retry import Retries, Retry
from nightmill.spec.steprun import StepRun
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit

DAY = "2013-03-01"

# The far end: a program in the place of `nightmill`, which does what its step is named after.
FAR_END = """
import json, os, pathlib, signal, sys, time

given = dict(argument[2:].split("=", 1) for argument in sys.argv[2:] if "=" in argument)
here, step, attempt = pathlib.Path.cwd(), given["step"], int(given["attempt"])

def say(**event):
    print(json.dumps(event), flush=True)

def end(code, cause=None, message=None, review=""):
    say(event="step_ended", state="x", cause=cause, message=message, cell=2, duration_s=1.5,
        peak_bytes=300, notebook="/store/notebook.ipynb", outputs={}, review=review)
    sys.exit(code)

def fail(cause):
    codes = {"notebook_error": 10, "kernel_died": 13, "out_of_memory": 14, "store": 21}
    end(codes[cause], cause, f"{cause} in cell 2: no")

def wait_for(*files):
    while not all((here / file).exists() for file in files):
        time.sleep(0.01)

(here / f"{step}.began").touch()
match step.split("_")[0]:
    case "meets":
        wait_for("meets_a.began", "meets_b.began")
    case "fails":
        fail("notebook_error")
    case "held":
        end(0, review="held for review")
    case "flaky":  # flaky_<cause, dashes for underscores>_<attempts that fail>
        say(event="warning", text=f"attempt {attempt}")
        say(event="tail", cell=2, lines=["last", "words"])
        if attempt <= int(step.split("_")[2]):
            fail(step.split("_")[1].replace("-", "_"))
    case "hungry":
        if attempt == 1:
            wait_for("company.began")
            (here / "hungry.failed").touch()
            fail("out_of_memory")
        if not (here / "company.ended").exists():
            sys.exit(99)
        time.sleep(0.3)
        (here / "hungry.ended").touch()
    case "company":
        wait_for("hungry.failed")
        time.sleep(0.3)
        (here / "company.ended").touch()
    case "late":
        if not (here / "hungry.ended").exists():
            sys.exit(99)
    case "vanishes":
        if attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    case "mute":
        sys.exit(int(step.split("_")[1]))
    case "speaks":
        sys.stderr.write("error: the store is gone\\n")
        sys.exit(21)
    case "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    case "babbles":
        print('3\\n[]\\nnull\\n{"no": "event"}\\nlibrary says hello\\n{"event": "memory", "by')
        sys.stdout.buffer.write(b"\\xff\\xfe\\n")
        print("x" * 200_000)
        say(event="memory", bytes=700)
        say(event="memory", bytes=500)
    case "stops":
        def stop(number, frame):
            (here / f"{step}.asked").touch()
            end(17, "terminated", "terminated: stopped by SIGTERM")
        signal.signal(signal.SIGTERM, stop)
        (here / f"{step}.ready").touch()
        time.sleep(60)
    case "stubborn":
        asked = []
        def stop(number, frame):
            asked.append(number)
            (here / f"{step}.asked").touch()
            if len(asked) == 2:
                end(17, "terminated", "terminated: asked twice")
        signal.signal(signal.SIGTERM, stop)
        (here / f"{step}.ready").touch()
        while True:
            time.sleep(60)
    case "lifeline":
        (here / f"{step}.ready").touch()
        sys.stdin.read()
        (here / f"{step}.released").touch()
end(0)
"""


def planned(
    step: str, *needs: str, waits_for: tuple[str, ...] = (), retries: Retries | None = None
) -> PlannedStep:
    """Plan a step of one day that needs and waits for others."""
    run = StepRun(
        pipeline="p", step=step, partition=DAY, as_of=DAY, run="r", order=1, store="/store"
    )
    return PlannedStep(
        run,
        needs=frozenset((DAY, one, "") for one in needs),
        waits_for=frozenset((DAY, one, "") for one in waits_for),
        retries=retries or Retries(),
    )


def times(count: int, delay_s: float = 0.01, **own: Retry) -> Retries:
    """Retry so often, after a delay that does not grow."""
    causes = {Cause(cause): retry for cause, retry in own.items()}
    return Retries(count=count, delay=timedelta(seconds=delay_s), backoff=False, own=causes)


@pytest.fixture
def launcher(tmp_path):
    """Return a function that makes a launcher whose steps are played by the far end."""
    far_end = tmp_path / "far_end.py"
    far_end.write_text(FAR_END)

    def make(*steps: PlannedStep, workers: int = 4, **options: object) -> Launcher:
        program = (sys.executable, "-S", "-E", str(far_end))
        return Launcher(steps, root=tmp_path, workers=workers, program=program, **options)

    return make


def run(launcher: Launcher) -> dict:
    """Run to the end and return the statuses by step."""
    return {one.planned.run.step: one for one in launcher.run(lambda _status, _event: None)}


def wait_until(condition) -> None:
    """Poll a condition; a launcher that never gets there fails the test."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stop_when(launcher: Launcher, *files) -> threading.Thread:
    """Stop the launcher from outside, as a signal handler would, once these files are there."""

    def wait_and_stop() -> None:
        wait_until(lambda: all(file.exists() for file in files))
        launcher.stop()

    thread = threading.Thread(target=wait_and_stop)
    thread.start()
    return thread


def test_independent_steps_run_at_once(launcher):
    """Two steps that wait for each other's beginning both succeed: they run side by side."""
    ended = run(launcher(planned("meets_a"), planned("meets_b"), workers=2))
    assert {one.state for one in ended.values()} == {StepState.SUCCEEDED}


def test_no_more_steps_run_at_once_than_workers(launcher):
    """With one worker a step begins only when the one before it is over."""
    running, most = set(), []

    def watch(status, event):
        running.add(status.planned.key) if event["event"] == "started" else None
        most.append(len(running))
        running.discard(status.planned.key) if event["event"] == "over" else None

    launcher(*(planned(name) for name in "abc"), workers=1).run(watch)
    assert max(most) == 1


@pytest.mark.parametrize("workers", [1, 2], ids=["no worker is free", "one is free"])
def test_four_times_the_steps_are_four_times_the_work(launcher, workers):
    """What is looked at after an event grows as the plan does, not with its square."""
    small, large = (calls_of_a_pass(launcher, steps, workers) for steps in (50, 200))
    assert small > 50  # it is counted at all
    assert large < 5 * small


def calls_of_a_pass(launcher, steps: int, workers: int) -> int:
    """Count the calls that a launcher makes to see what may begin, while nothing may."""
    days = (planned(f"needs_{number}", "a") for number in range(steps))
    made: Launcher = launcher(planned("a"), *days, workers=workers)
    calls = []
    with selectors.DefaultSelector() as selector:
        made._block_and_start(selector)
        before = sys.getprofile()
        sys.setprofile(lambda _frame, event, _argument: calls.append(event))
        made._block_and_start(selector)
        sys.setprofile(before)
    (process,) = made._running.values()
    process.finish(stopped=False)
    return calls.count("call")


def test_what_a_held_step_keeps_waiting(launcher):
    """Who needs it is not run, and neither is who needs that; a failure beside it says more."""
    ended = run(
        launcher(
            planned("held"),
            planned("fails"),
            planned("needs", "held"),
            planned("next", "needs"),
            planned("both", "held", "fails"),
            planned("optional", waits_for=("held",)),
        )
    )
    assert {name: one.state for name, one in ended.items()} == {
        "held": StepState.HELD,
        "fails": StepState.FAILED,
        "needs": StepState.UNREVIEWED,
        "next": StepState.UNREVIEWED,
        "both": StepState.BLOCKED,
        "optional": StepState.SUCCEEDED,
    }
    assert ended["held"].review == "held for review"


def test_a_step_starts_after_what_it_needs(launcher):
    """A step begins once everything it needs has succeeded and all it waits for is over."""
    order = []
    steps = planned("a"), planned("b", "a"), planned("c", "b", waits_for=("a",))
    launcher(*steps).run(lambda one, event: order.append((one.planned.run.step, event["event"])))
    names = [(step, event) for step, event in order if event in ("started", "over")]
    expected = [(step, event) for step in "abc" for event in ("started", "over")]
    assert names == expected


def test_a_failure_stops_its_dependants_and_nobody_else(launcher):
    """What needs a failed step, however far behind it, is not run; everything else is."""
    ended = run(
        launcher(
            planned("fails"),
            planned("direct", "fails"),
            planned("indirect", "direct"),
            planned("patient", waits_for=("fails",)),
            planned("aside"),
        )
    )
    states = {step: one.state for step, one in ended.items()}
    assert states == {
        "fails": StepState.FAILED,
        "direct": StepState.BLOCKED,
        "indirect": StepState.BLOCKED,
        "patient": StepState.SUCCEEDED,
        "aside": StepState.SUCCEEDED,
    }
    assert ended["fails"].cause == "notebook_error"
    assert not ended["fails"].died


def test_what_is_committed_is_not_started(launcher, tmp_path):
    """A committed step starts no process, and those behind it run at once."""
    made = launcher(replace(planned("before"), committed=object()), planned("after", "before"))
    ended = run(made)
    assert ended["before"].state is StepState.COMMITTED
    assert ended["after"].state is StepState.SUCCEEDED
    assert not (tmp_path / "before.began").exists()


@pytest.mark.parametrize(
    ("step", "cause", "words"),
    [
        ("killed", "terminated", "killed by SIGKILL"),
        ("mute_3", "nightmill_bug", "exit code 3 and no word"),
        ("mute_1", "nightmill_bug", "exit code 1 and no word"),
        ("mute_2", "bad_parameters", "exit code 2 and no word"),
        ("mute_14", "out_of_memory", "exit code 14 and no word"),
        ("mute_137", "terminated", "exit code 137 and no word"),
        ("mute_143", "terminated", "exit code 143 and no word"),
        ("speaks", "store", "the store is gone"),
    ],
)
def test_a_process_that_dies_without_a_word_is_a_failure_with_a_cause(launcher, step, cause, words):
    """A step's process that is killed or breaks fails the step; the exit code gives the cause."""
    ended = run(launcher(planned(step)))[step]
    assert (ended.state, ended.cause, ended.died) == (StepState.FAILED, cause, True)
    assert words in ended.message
    assert ended.message.startswith(f"{cause}: ")


def test_garbage_on_standard_output_is_ignored(launcher):
    """Lines that are no events, of whatever a library prints, change nothing and break nothing."""
    ended = run(launcher(planned("babbles")))["babbles"]
    assert ended.state is StepState.SUCCEEDED
    assert (ended.memory_bytes, ended.peak_bytes) == (500, 300)  # the last word counts
    assert (ended.duration_s, ended.notebook) == (1.5, "/store/notebook.ipynb")


def test_a_stop_ends_what_runs_and_starts_nothing(launcher, tmp_path):
    """Asked to stop, every running step is asked once, and no further step is started."""
    made = launcher(planned("stops_a"), planned("stops_b"), planned("later", "stops_a"))
    stopping = stop_when(made, tmp_path / "stops_a.ready", tmp_path / "stops_b.ready")
    ended = run(made)
    stopping.join()
    assert {step: one.cause for step, one in ended.items()} == {
        "stops_a": "terminated",
        "stops_b": "terminated",
        "later": "",
    }
    assert ended["later"].state is StepState.BLOCKED
    assert made.stopped
    assert not (tmp_path / "later.began").exists()


def test_a_second_stop_asks_again(launcher, tmp_path):
    """A step that takes its time after the first request hears the second."""
    made = launcher(planned("stubborn"))
    first = stop_when(made, tmp_path / "stubborn.ready")
    second = stop_when(made, tmp_path / "stubborn.asked")
    ended = run(made)["stubborn"]
    first.join()
    second.join()
    assert ended.message == "terminated: asked twice"


def test_a_stop_before_the_first_step_runs_nothing(launcher, tmp_path):
    """A stop that comes before anything has started leaves everything not run."""
    made = launcher(planned("a"), planned("b"))
    made.stop()
    assert {one.state for one in run(made).values()} == {StepState.BLOCKED}
    assert not (tmp_path / "a.began").exists()


def test_a_stop_while_a_process_is_being_made_reaches_it(launcher, monkeypatch):
    """A stop that falls into the very start of a step ends that step as well."""
    made = launcher(planned("stops"))
    real = sys.modules["nightmill.run.process"].subprocess.Popen

    def popen_and_stop(*arguments, **options):
        process = real(*arguments, **options)
        made.stop()
        return process

    monkeypatch.setattr("nightmill.run.process.subprocess.Popen", popen_and_stop)
    ended = run(made)["stops"]
    assert (ended.state, ended.cause) == (StepState.FAILED, "terminated")


def test_a_step_hears_when_its_launcher_is_gone(launcher, tmp_path):
    """A step's standard input stays open as long as its launcher lives, and closes with it."""
    made = launcher(planned("lifeline"))

    def let_go(_status, event):
        if event["event"] == "started":
            wait_until((tmp_path / "lifeline.ready").exists)
            assert not (tmp_path / "lifeline.released").exists()
            next(iter(made._running.values())).popen.stdin.close()

    assert made.run(let_go)[0].state is StepState.SUCCEEDED
    assert (tmp_path / "lifeline.released").exists()


def test_a_module_of_the_projects_does_not_stand_in_for_the_runners(tmp_path):
    """A file json.py in the project's root is not what the step's own process imports."""
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "notebooks").mkdir()
    step = planned("a")
    step = replace(step, run=step.run.model_copy(update={"store": str(tmp_path / "store")}))
    ended = run(Launcher([step], root=tmp_path, workers=1))["a"]
    assert ended.cause == "bad_parameters"  # it came as far as to miss the pipeline
    assert "shadowed" not in ended.message


# -- again -----------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_until_it_succeeds(launcher):
    """Another attempt of the same run follows each failure, and what was known before is kept."""
    ended = run(launcher(planned("flaky_store_2", retries=times(3)), planned("b", "flaky_store_2")))
    one = ended["flaky_store_2"]
    assert (one.state, one.planned.run.attempt, one.planned.run.run) == (
        StepState.SUCCEEDED,
        3,
        "r",
    )
    assert [before.planned.run.attempt for before in one.earlier] == [1, 2]
    assert {before.cause for before in one.earlier} == {"store"}
    assert [before.decision for before in one.earlier] == ["next attempt in 0.0 s"] * 2
    assert [before.warnings for before in (*one.earlier, one)] == [
        ("attempt 1",),
        ("attempt 2",),
        ("attempt 3",),
    ]
    assert (one.cause, one.message, one.decision) == ("", "", "")
    assert ended["b"].state is StepState.SUCCEEDED


OVER = {
    "a notebook's error": ("flaky_notebook-error_1", times(3), 1, "the same code would meet"),
    "by its own word": (
        "flaky_store_1",
        times(3, store=Retry.NEVER),
        1,
        "no retry: pipeline.yaml says so",
    ),
    "no attempts left": ("flaky_store_9", times(2), 3, "no attempts left"),
    "none asked for": ("flaky_store_9", times(0), 1, "no retry: none was asked for"),
    "nothing to gain": ("flaky_out-of-memory_9", times(3), 1, HAD_IT_ALL),
    "wrong usage": ("mute_2", times(3), 1, "must be put right first"),
}


@pytest.mark.parametrize(("step", "retries", "attempts", "why"), OVER.values(), ids=OVER)
def test_what_is_not_worth_another_attempt_is_over(launcher, step, retries, attempts, why):
    """Cause, retries and what a machine can give bound the attempts, and the last says which."""
    ended = run(launcher(planned(step, retries=retries), planned("after", step)))
    assert (ended[step].state, ended[step].planned.run.attempt) == (StepState.FAILED, attempts)
    assert why in ended[step].decision
    assert ended["after"].state is StepState.BLOCKED


def test_a_notebooks_error_is_tried_again_where_its_step_says_so(launcher):
    """A step's own word stands above the table."""
    retries = times(1, notebook_error=Retry.BACKOFF)
    ended = run(launcher(planned("flaky_notebook-error_1", retries=retries)))
    assert ended["flaky_notebook-error_1"].state is StepState.SUCCEEDED


def test_what_ran_out_of_memory_gets_the_machine_to_itself(launcher):
    """The next attempt begins when nothing else runs, and nothing else begins before it is over."""
    steps = planned("hungry", retries=times(1)), planned("company"), planned("late")
    ended = run(launcher(*steps, workers=2))
    assert {one.state for one in ended.values()} == {StepState.SUCCEEDED}
    (before,) = ended["hungry"].earlier
    assert before.decision == "next attempt alone on this machine"


def test_a_waiting_step_holds_up_nobody(launcher):
    """While one step waits for its next attempt, all others run, with a single worker."""
    over = []
    steps = planned("flaky_store_1", retries=times(1, 600)), planned("a"), planned("b", "a")
    made = launcher(*steps, workers=1)
    waiting = next(iter(made.statuses.values()))

    def watch(status, event):
        if event["event"] == "over":
            over.append(status.planned.run.step)
            if over[-1] == "b":
                waiting.retry_at = time.monotonic()  # its ten minutes are over

    made.run(watch)
    assert over == ["flaky_store_1", "a", "b", "flaky_store_1"]


def test_a_stop_ends_the_wait_for_the_next_attempt(launcher):
    """Stopped while it waits, a step has failed as it did before, and is not tried again."""
    made = launcher(planned("flaky_store_1", retries=times(1, 600)), planned("b", "flaky_store_1"))
    began = time.monotonic()
    threading.Thread(target=lambda: (wait_until(lambda: made._moments), made.stop())).start()
    ended = run(made)
    assert time.monotonic() - began < 30
    one = ended["flaky_store_1"]
    assert (one.state, one.cause, one.decision) == (StepState.FAILED, "store", STOPPED)
    assert one.planned.run.attempt == 1
    assert ended["b"].state is StepState.BLOCKED


def test_what_was_stopped_is_not_tried_again(launcher, tmp_path):
    """A step that ends because the run was stopped stays ended, whatever its retries."""
    made = launcher(planned("stops", retries=times(3)))
    stopping = stop_when(made, tmp_path / "stops.ready")
    ended = run(made)["stops"]
    stopping.join()
    assert (ended.cause, ended.decision, ended.earlier) == ("terminated", STOPPED, ())


def test_a_death_is_told_before_it_is_decided_what_follows(launcher):
    """Whoever amends the record of a dead attempt may find another cause, which then counts."""

    def amend(status) -> None:
        status.cause, status.message = "notebook_error", "notebook_error in cell 2: no"

    dead = run(launcher(planned("vanishes", retries=times(3)), on_death=amend))["vanishes"]
    assert (dead.state, dead.cause, dead.earlier) == (StepState.FAILED, "notebook_error", ())
    again = run(launcher(planned("vanishes", retries=times(3))))["vanishes"]
    assert (again.state, again.earlier[0].cause) == (StepState.SUCCEEDED, "terminated")


# -- what is written down of a death ---------------------------------------------------------------


@pytest.fixture
def dead(launcher):
    """Return the status of a step whose process was killed."""
    return run(launcher(planned("killed", retries=times(1, terminated=Retry.NEVER))))["killed"]


@pytest.fixture
def spec(load_spec):
    """Say what the pipeline publishes: nothing."""
    return load_spec("pipeline: p\nsteps: {killed: {notebook: killed.ipynb}}\n")


PREFIX = f"runs/p/{DAY}/r/killed/1"


def test_a_dead_attempt_gets_its_record(dead, spec, tmp_path):
    """An attempt that never wrote a word has a record all the same: cause, who wrote it, retry."""
    store = open_store("store", base=tmp_path)
    amend_death(store, spec, dead)
    record = Record.from_json(store.read(f"{PREFIX}/record.json").data)
    assert (record.state, record.failure.cause) == ("failed", "terminated")
    assert (record.failure.retry, record.amendments[0].by) == (Retry.NEVER, "nightmill run")
    assert record.failure.message == dead.message
    assert "killed by SIGKILL" in dead.message


def test_what_had_committed_before_it_died_succeeded(dead, spec, tmp_path):
    """A process killed between its commit and its last word has done its work."""
    store = open_store("store", base=tmp_path)
    run_ = dead.planned.run
    fields = {"pipeline": "p", "step": "killed", "partition": DAY, "run": "r", "outputs": {}}
    token = Token(order=run_.order, attempt=1)
    commit(store, Pointer(**fields, token=token, attempt_prefix=PREFIX))
    amend_death(store, spec, dead)
    assert (dead.state, dead.cause, dead.message) == (StepState.SUCCEEDED, "", "")
    assert dead.warnings == ()


def test_a_record_that_cannot_be_amended_is_told(dead, spec, tmp_path):
    """A store that does not answer does not hide why the step failed."""
    (tmp_path / "store").write_text("a file where the store should be")
    amend_death(open_store("store", base=tmp_path), spec, dead)
    assert dead.state is StepState.FAILED
    assert "killed by SIGKILL (and its record could not be amended: " in dead.message
