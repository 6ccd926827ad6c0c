"""pipeline.yaml as models: a good one whole, and a table of bad ones with the exact place."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nightmill.errors import SpecError
from nightmill.spec.names import check_path
from nightmill.spec.problems import Faults, each
from nightmill.spec.units import parse_cpu, parse_duration, parse_memory

GOOD = """\
pipeline: flight_delays
description: Which flights will be late?
owner: data-science
tags: [flights, nightly]
schedule: "30 2 * * *"
timezone: America/New_York
start: 2013-02-01
end: "2013-12-31"
parameters: {threads: 1}
steps:
  features:
    notebook: features.ipynb
    kernel: tabular
    pool: highcpu
    cpu: 500m
    memory: 2Gi
    gpu: 1
    timeout: 2h
    cell_timeout: 90s
    inputs: [actuals, flight_model.model]
    outputs: {features: features.parquet, plots: plots/}
    parameters: {since: 2013-01-01, cut: 0.5, airlines: [AA, UA]}
    env: {OMP_NUM_THREADS: "1"}
  score-all:
    notebook: notebooks/score.py
    inputs:
      features: features
      scores_before: {from: scores, version: previous_partition, optional: true}
      model: {from: flight_model, version: latest_before_partition, max_age: 21d, wait: 90m}
    outputs: {scores: scores.parquet}
"""


def test_everything(load_spec):
    """Every key arrives typed, amounts as plain numbers with their unit."""
    spec = load_spec(GOOD)
    assert (spec.pipeline, spec.owner) == ("flight_delays", "data-science")
    assert spec.tags == ("flights", "nightly")
    assert (spec.start, spec.end) == (date(2013, 2, 1), date(2013, 12, 31))
    assert spec.partition == "date"
    assert list(spec.steps) == ["features", "score-all"]
    assert spec.outputs == ("features", "plots", "scores")
    assert spec.maker("scores") == "score-all"
    assert spec.maker("nothing") is None
    step = spec.steps["features"]
    assert (step.cpu_millicores, step.memory_bytes, step.gpu) == (500, 2 * 1024**3, 1)
    assert (step.timeout, step.cell_timeout) == (timedelta(hours=2), timedelta(seconds=90))
    assert step.parameters == {"since": date(2013, 1, 1), "cut": 0.5, "airlines": ["AA", "UA"]}
    assert step.env == {"OMP_NUM_THREADS": "1"}


def test_inputs(load_spec):
    """The three ways to write an input come to the same model."""
    spec = load_spec(GOOD)
    listed = spec.steps["features"].inputs
    assert {name: given.source for name, given in listed.items()} == {
        "actuals": "actuals",
        "model": "flight_model.model",
    }
    mapped = spec.steps["score-all"].inputs
    assert mapped["features"].source == "features"
    assert mapped["scores_before"].optional
    assert mapped["scores_before"].version == "previous_partition"
    assert mapped["model"].max_age == timedelta(days=21)
    assert mapped["model"].wait == timedelta(minutes=90)
    assert mapped["features"].wait is None


def test_one_day(load_spec):
    """A pipeline may start and end on the same day."""
    spec = load_spec(top("start: 2013-01-01\nend: 2013-01-01"))
    assert spec.start == spec.end


def test_frozen(load_spec):
    """A spec that was read cannot be changed."""
    spec = load_spec(GOOD)
    with pytest.raises(ValidationError, match="frozen"):
        spec.owner = "me"


def test_defaults(load_spec):
    """The shortest pipeline runs by hand, in UTC, with date partitions."""
    spec = load_spec("pipeline: p\nsteps: {s: {notebook: s.ipynb}}\n")
    assert (spec.schedule, spec.after, spec.timezone) == (None, (), "UTC")
    assert spec.steps["s"].kernel is None
    assert spec.steps["s"].inputs == {}


def step(lines: str, top: str = "") -> str:
    """Make a pipeline whose step has extra lines; the first of them is line 5."""
    head = f"pipeline: p\n{top}steps:\n  s:\n    notebook: s.ipynb\n"
    return head + "".join(f"    {line}\n" for line in lines.splitlines())


def top(lines: str) -> str:
    """Make a pipeline with extra top lines; the first of them is line 2."""
    return f"pipeline: p\n{lines}\nsteps: {{s: {{notebook: s.ipynb}}}}\n"


LONG = "a" * 64
BAD = {
    # the text, line, key, words of the problem, words of the advice
    "no name": ("steps: {s: {notebook: s.ipynb}}", 1, "pipeline", "is missing", ""),
    "no steps": ("pipeline: p\n", 1, "steps", "is missing", ""),
    "zero steps": ("pipeline: p\nsteps: {}\n", 2, "steps", "no steps", "at least one"),
    "steps list": ("pipeline: p\nsteps: [a]\n", 2, "steps", "found a list", ""),
    "step text": ("pipeline: p\nsteps:\n  s: x\n", 3, "steps.s", "found the text `x`", ""),
    "no notebook": ("pipeline: p\nsteps:\n  s: {gpu: 0}\n", 3, "steps.s.notebook", "missing", ""),
    "unknown top": (top("shedule: x"), 2, "shedule", "unknown key", "did you mean `schedule`?"),
    "unknown key": (step("memroy: 2Gi"), 5, "steps.s.memroy", "`memroy`", "`memory`?"),
    "internal name": (step("cpu_millicores: 5"), 5, "steps.s.cpu_millicores", "unknown", ""),
    "later issue": (step("mapped: 3"), 5, "steps.s.mapped", "unknown key", "known keys"),
    "name number": ("pipeline: 5\nsteps: {s: {notebook: s.ipynb}}", 1, "pipeline",
                    "expected text, found the number `5`", "quotes"),
    "name digit": ("pipeline: 1a\nsteps: {s: {notebook: s.ipynb}}", 1, "pipeline", "`1a`", ""),
    "name slash": ('pipeline: "../x"\nsteps: {s: {notebook: s.ipynb}}', 1, "pipeline",
                   "no valid name", ""),
    "name escape": ('pipeline: "a\\e[31m"\nsteps: {s: {notebook: s.ipynb}}', 1, "pipeline",
                    "`a\\x1b[31m`", ""),
    "name accent": ("pipeline: caf\u00e9\nsteps: {s: {notebook: s.ipynb}}", 1, "pipeline",
                    "no valid name", "a-z"),
    "name newline": ('pipeline: "a\\n"\nsteps: {s: {notebook: s.ipynb}}', 1, "pipeline",
                     "no valid name", ""),
    "name long": (f"pipeline: {LONG}\nsteps: {{s: {{notebook: s.ipynb}}}}", 1, "pipeline",
                  "has 64 characters, at most 63", "shorten"),
    "step name": ("pipeline: p\nsteps:\n  a.b: {notebook: s.ipynb}", 3, "steps.a.b", "`a.b`", ""),
    "output name": (step("outputs: {a-b: x}"), 5, "steps.s.outputs.a-b", "variable", ""),
    "output keyword": (step("outputs: {class: x}"), 5, "steps.s.outputs.class", "`class`", ""),
    "output reserved": (step("outputs: {as_of: x}"), 5, "steps.s.outputs.as_of", "runner", ""),
    "input reserved": (step("inputs: [partition]"), 5, "steps.s.inputs", "runner", ""),
    "parameter reserved": (step("parameters: {partition: 1}"), 5, "steps.s.parameters.partition",
                           "given by the runner", ""),
    "path up": (step("outputs: {a: ../x}"), 5, "steps.s.outputs.a", "leaves its folder", ""),
    "path absolute": (step("outputs: {a: /x}"), 5, "steps.s.outputs.a", "leaves", "relative"),
    "path url": (step("outputs: {a: s3://b/x}"), 5, "steps.s.outputs.a", "leaves", ""),
    "path drive": (step("outputs: {a: 'C:x'}"), 5, "steps.s.outputs.a", "leaves", ""),
    "path backslash": (step("outputs: {a: 'a\\b'}"), 5, "steps.s.outputs.a", "no path", ""),
    "path empty": (step("outputs: {a: ''}"), 5, "steps.s.outputs.a", "no path", ""),
    "path long": (step(f"outputs: {{a: {'x' * 201}}}"), 5, "steps.s.outputs.a", "201", ""),
    "path shared": (step("outputs: {a: x, b: x}"), 5, "steps.s.outputs.b", "share a path", ""),
    "path within": (step("outputs:\n  a: x/\n  b: x/y"), 7, "steps.s.outputs.b", "share", ""),
    "notebook kind": ("pipeline: p\nsteps:\n  s:\n    notebook: s.R", 4, "steps.s.notebook",
                      "no notebook", ".ipynb"),
    "notebook up": ("pipeline: p\nsteps:\n  s:\n    notebook: ../s.ipynb", 4, "steps.s.notebook",
                    "leaves", ""),
    "memory bare": (step("memory: 2"), 5, "steps.s.memory", "no unit", "write 2Gi or 2Mi"),
    "memory word": (step("memory: lots"), 5, "steps.s.memory", "`lots`", "2Gi"),
    "memory B": (step("memory: 2GB"), 5, "steps.s.memory", "`2GB`", "2Gi"),
    "cpu negative": (step("cpu: -1"), 5, "steps.s.cpu", "`-1`", "500m"),
    "cpu zero": (step("cpu: 0"), 5, "steps.s.cpu", "`0`", ""),
    "cpu yes": (step("cpu: yes"), 5, "steps.s.cpu", "`True`", ""),
    "gpu text": (step("gpu: one"), 5, "steps.s.gpu", "a whole number", ""),
    "gpu negative": (step("gpu: -1"), 5, "steps.s.gpu", "greater than or equal to 0", ""),
    "timeout bare": (step("timeout: 90"), 5, "steps.s.timeout", "`90`", "90s"),
    "timeout zero": (step("timeout: 0s"), 5, "steps.s.timeout", "no sensible", ""),
    "timeout sum": (step("timeout: 1h30m"), 5, "steps.s.timeout", "`1h30m`", ""),
    "env number": (step("env: {A: 1}"), 5, "steps.s.env.A", "expected text", "quotes"),
    "env name": (step("env: {A-B: x}"), 5, "steps.s.env.A-B", "pattern", ""),
    "parameter time": (step("parameters: {a: 2013-01-01 10:00:00}"), 5, "steps.s.parameters.a",
                       "datetime", "quotes"),
    "parameter set": (step("parameters: {a: [!!set {b}]}"), 5, None, "not allowed", ""),
    "parameter is input": (step("inputs: [a]\nparameters: {a: 1}"), 6, "steps.s.parameters.a",
                           "input or output", "remove"),
    "input text": (step("inputs: features"), 5, "steps.s.inputs", "expected a list", ""),
    "input item": (step("inputs:\n  - a\n  - b.c.d"), 7, "steps.s.inputs.1", "`b.c.d`", ""),
    "input number": (step("inputs:\n  - a\n  - 5"), 7, "steps.s.inputs.1", "`5`", ""),
    "input twice": (step("inputs:\n  - a\n  - x.a"), 7, "steps.s.inputs.1", "both be named",
                    "from: x.a"),
    "input from": (step("inputs: {a: {version: latest}}"), 5, "steps.s.inputs.a.from", "missing",
                   ""),
    "input key": (step("inputs:\n  a:\n    from: b\n    verison: latest"), 8,
                  "steps.s.inputs.a.verison", "unknown key", "did you mean `version`?"),
    "input version": (step("inputs: {a: {from: b, version: previous}}"), 5,
                      "steps.s.inputs.a.version", "`previous`", "previous_partition"),
    "input age": (step("inputs: {a: {from: b, max_age: 3}}"), 5, "steps.s.inputs.a.max_age",
                  "`3`", "1d"),
    "input wait": (step("inputs: {a: {from: b, wait: long}}"), 5, "steps.s.inputs.a.wait",
                   "`long` is no time span", "2h"),
    "input optional": (step("inputs: {a: {from: b, optional: maybe}}"), 5,
                       "steps.s.inputs.a.optional", "true or false", ""),
    "in and out": (step("inputs: [a]\noutputs: {a: x}"), 6, "steps.s.outputs.a",
                   "an input and an output", "a_before"),
    "output twice": (("pipeline: p\nsteps:\n  s: {notebook: s.ipynb, outputs: {a: x}}\n"
                      "  t: {notebook: t.ipynb, outputs: {a: x}}\n"), 4, "steps.t.outputs.a",
                     "also made by the step `s`", "rename"),
    "cron words": (top("schedule: every night"), 2, "schedule", "no schedule", "@daily"),
    "cron six": (top("schedule: '0 30 2 * * *'"), 2, "schedule", "no schedule", "five fields"),
    "cron range": (top("schedule: '61 2 * * *'\nstart: 2013-01-01"), 2, "schedule", "`61 2", ""),
    "cron never": (top("schedule: '0 0 31 2 *'\nstart: 2013-01-01"), 2, "schedule", "never", ""),
    "preset": (top("schedule: '@dayly'"), 2, "schedule", "unknown preset", "`@daily`?"),
    "schedule alone": (top("schedule: '@daily'"), 2, "schedule", "needs a `start`", "start:"),
    "both": (top("schedule: '@daily'\nstart: 2013-01-01\nafter: [a.b]"), 4, "after", "both", ""),
    "after bare": (top("after:\n- a.b\n- c"), 4, "after.1", "`c`", "pipeline.output"),
    "timezone": (top("timezone: America/NewYork"), 2, "timezone", "unknown time zone",
                 "`America/New_York`?"),
    "timezone folder": (top("timezone: America"), 2, "timezone", "unknown time zone", ""),
    "timezone path": (top("timezone: ../../etc/passwd"), 2, "timezone", "unknown time zone", ""),
    "start word": (top("start: yesterday"), 2, "start", "no date", "2013-03-01"),
    "start number": (top("start: 20130101"), 2, "start", "a date like", ""),
    "start hour": (top("start: 2013-01-01 10:00:00"), 2, "start", "date", ""),
    "end early": (top("start: 2013-02-01\nend: 2013-01-01"), 3, "end", "before the start", ""),
    "partition": (top("partition: dates"), 2, "partition", "`dates`", "did you mean `date`?"),
    "text schedule": (top("partition: text\nschedule: '@daily'\nstart: 2013-01-01"), 3,
                      "schedule", "needs `partition: date`", ""),
    "text version": (step("inputs: {a: {from: b, version: previous_partition}}",
                          "partition: text\n"), 6, "steps.s.inputs.a.version", "needs", "latest"),
    "text age": (step("inputs: {a: {from: b, max_age: 1d}}", "partition: text\n"), 6,
                 "steps.s.inputs.a.max_age", "needs `partition: date`", ""),
    "tags text": (top("tags: a"), 2, "tags", "a list", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "words", "advice"), BAD.values(), ids=BAD)
def test_bad(load_spec, tmp_path, text, line, key, words, advice):
    """Each fault names file, line and key, says what is wrong and what to do."""
    with pytest.raises(SpecError) as caught:
        load_spec(text)
    error = each(caught.value)[0]
    assert error.file == tmp_path / "pipeline.yaml"
    assert error.line == line
    assert key is None or error.key == key
    assert words in error.problem
    assert advice in error.advice


def test_all_faults_at_once(load_spec):
    """One look shows every fault of the file, in the order of its lines."""
    with pytest.raises(SpecError) as caught:
        load_spec("pipeline: 1a\nownr: me\nsteps:\n  s:\n    notebook: s.R\n    memory: 2\n")
    assert [(error.line, error.key) for error in each(caught.value)] == [
        (1, "pipeline"),
        (2, "ownr"),
        (5, "steps.s.notebook"),
        (6, "steps.s.memory"),
    ]
    assert str(caught.value).count("\n  -> ") == 4


@pytest.mark.parametrize(
    ("text", "size"),
    [("512Mi", 512 * 1024**2), ("8Gi", 8 * 1024**3), ("1.5Gi", 1610612736), ("2G", 2 * 10**9),
     ("1024Ki", 1024**2), ("1Ti", 1024**4)],
)  # fmt: skip
def test_memory(text, size):
    """Memory is read as Kubernetes reads it, in bytes."""
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("value", "millicores"), [(2, 2000), ("500m", 500), (0.5, 500), ("1.5", 1500), ("250m", 250)]
)
def test_cpu(value, millicores):
    """Processors are read as Kubernetes reads them, in thousandths."""
    assert parse_cpu(value) == millicores


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1.5h", 5400)]
)
def test_duration(text, seconds):
    """A time span is a number and a unit."""
    assert parse_duration(text).total_seconds() == seconds


@given(value=st.text() | st.integers() | st.floats() | st.booleans() | st.none())
def test_amounts_are_total(value):
    """Whatever stands in the file, an amount is positive or a fault that can be shown."""
    for parse in (parse_memory, parse_cpu, parse_duration):
        problems = []
        try:
            assert parse(value) > type(parse(value))(0)
        except Faults as faults:
            problems = [fault.problem for fault in faults.faults]
        assert all(problem.isprintable() for problem in problems)


@given(text=st.text(max_size=300))
def test_paths_stay_inside(tmp_path_factory, text):
    """A path that passes stays below its folder."""
    folder = tmp_path_factory.getbasetemp() / "inside"
    try:
        checked = check_path(text)
    except Faults:
        return
    assert (folder / checked).resolve().is_relative_to(folder.resolve())
