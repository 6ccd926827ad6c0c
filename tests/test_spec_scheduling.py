"""The keys of pipeline.yaml for whoever launches steps: read, defaulted, refused with the place."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nightmill.causes import Cause
from nightmill.errors import SpecError
from nightmill.spec.problems import each
from nightmill.spec.retry import POLICY, Retries, Retry

STEPS = "steps:\n  s:\n    notebook: s.ipynb\n"

EVERYTHING = """\
pipeline: p
schedule: "@daily"
start: 2013-01-01
catchup: true
max_active_runs: 3
retry: {kernel_died: never, notebook_error: backoff}
retries: 4
retry_delay: 90s
retry_backoff: false
expect_by: 3h
alerts:
  failure: [{notifier: a.b.Notifier, arguments: {to: [x, y], subject: "{{ ti }} failed"}}]
  retry: [{notifier: a.b.Notifier}]
  success: []
  late: [{notifier: a.c}, {notifier: a.d}]
steps:
  s:
    notebook: s.ipynb
    retry: {kernel_died: more_memory}
    retries: 0
    retry_delay: 1h
    retry_backoff: true
    trigger_rule: all_done
    airflow_pool: night shift
    priority: 9
    image: "{{ var.value.other }}"
"""


def test_everything(load_spec):
    """Every scheduling key arrives typed."""
    spec = load_spec(EVERYTHING)
    assert (spec.catchup, spec.max_active_runs) == (True, 3)
    assert (spec.retries, spec.retry_delay, spec.retry_backoff) == (4, timedelta(seconds=90), False)
    assert spec.expect_by == timedelta(hours=3)
    assert [alert.notifier for alert in spec.alerts.late] == ["a.c", "a.d"]
    (failure,) = spec.alerts.failure
    assert failure.arguments == {"to": ["x", "y"], "subject": "{{ ti }} failed"}
    step = spec.steps["s"]
    assert (step.retries, step.retry_delay, step.retry_backoff) == (0, timedelta(hours=1), True)
    assert (step.trigger_rule, step.airflow_pool, step.priority) == ("all_done", "night shift", 9)
    assert step.image == "{{ var.value.other }}"
    assert spec.retries_of(step) == Retries(
        count=0,
        delay=timedelta(hours=1),
        backoff=True,
        own={Cause.KERNEL_DIED: Retry.MORE_MEMORY, Cause.NOTEBOOK_ERROR: Retry.BACKOFF},
    )


def test_defaults(load_spec):
    """Said nothing, nights run one after another, without catching up, and retry twice."""
    spec = load_spec("pipeline: p\n" + STEPS)
    assert (spec.catchup, spec.max_active_runs) == (False, 1)
    assert (spec.retries, spec.retry_delay, spec.retry_backoff) == (2, timedelta(minutes=5), True)
    assert spec.expect_by is None
    assert not any(alerts for _, alerts in spec.alerts)
    step = spec.steps["s"]
    assert (step.retries, step.retry_delay, step.retry_backoff) == (None, None, None)
    assert (step.trigger_rule, step.priority) == ("all_success", 1)
    assert step.airflow_pool is None
    assert step.image is None
    assert spec.retries_of(step) == Retries(count=2, delay=timedelta(minutes=5), backoff=True)


def test_expected_without_a_notifier(load_spec):
    """A pipeline may be expected by some time though nobody is told: the pages name late ones."""
    assert load_spec("pipeline: p\nexpect_by: 3h\n" + STEPS).expect_by == timedelta(hours=3)


@pytest.mark.parametrize(
    ("pipeline", "step", "count", "written"),
    [("", "", 2, False), ("retries: 1", "", 1, True), ("", "retries: 0", 0, True)],
)
def test_what_was_written_is_known(load_spec, pipeline, step, count, written):
    """A number of retries that somebody wrote can be told from the one that is meant otherwise."""
    spec = load_spec(f"pipeline: p\n{pipeline}\n{STEPS}    {step}\n")
    one = spec.steps["s"]
    assert (spec.retries_of(one).count, spec.written(one, "retries")) == (count, written)


def test_each_cause_has_its_policy(load_spec):
    """Every cause can be overridden with every policy, and the table has a word on each cause."""
    assert set(POLICY) == set(Cause)
    for retry in Retry:
        lines = "".join(f"      {cause}: {retry}\n" for cause in Cause)
        spec = load_spec(f"pipeline: p\n{STEPS}    retry:\n{lines}")
        retries = spec.retries_of(spec.steps["s"])
        assert {retries.of(cause) for cause in Cause} == {retry}


def top(lines: str) -> str:
    return f"pipeline: p\n{lines}\n{STEPS}"


def step(line: str) -> str:
    return f"pipeline: p\n{STEPS}    {line}\n"


BAD = {
    "many retries": (step("retries: 51"), 5, "steps.s.retries", "less than or equal to 50", ""),
    "negative": (step("retries: -1"), 5, "steps.s.retries", "greater than or equal to 0", ""),
    "delay": (step("retry_delay: 5"), 5, "steps.s.retry_delay", "`5` is no time span", "30m"),
    "backoff": (step("retry_backoff: 2"), 5, "steps.s.retry_backoff", "true or false", ""),
    "cause": (step("retry: {kernel_die: never}"), 5, "steps.s.retry.kernel_die",
              "unknown cause `kernel_die`", "`kernel_died`?"),
    "number for a cause": (step("retry: {7: never}"), 5, "steps.s.retry.7", "cause `7`", "causes:"),
    "policy": (step("retry: {kernel_died: more-memory}"), 5, "steps.s.retry.kernel_died",
               "`more-memory` is not possible", "`more_memory`?"),
    "list for a policy": (step("retry: {image: [never]}"), 5, "steps.s.retry.image",
                          "is not possible", "`never`?"),
    "truth for a policy": (top("retry: {image: no}"), 2, "retry.image", "`False` is not",
                           "possible: `never`, `backoff`, `more_memory`"),
    "no causes": (step("retry: never"), 5, "steps.s.retry", "keys and values", ""),
    "rule": (step("trigger_rule: all_don"), 5, "steps.s.trigger_rule", "`all_don`", "`all_done`?"),
    "priority": (step("priority: 0"), 5, "steps.s.priority", "greater than or equal to 1", ""),
    "pool": (step("airflow_pool: ' '"), 5, "steps.s.airflow_pool", "is no name", "one line"),
    "image": (step('image: "a\\nb"'), 5, "steps.s.image", "is no name", "one line"),
    "runs": (top("max_active_runs: 0"), 2, "max_active_runs", "greater than or equal to 1", ""),
    "catchup alone": (top("catchup: true"), 2, "catchup", "needs a `schedule`", "add one"),
    "late alone": (top("alerts:\n  late: [{notifier: a.b}]"), 3, "alerts.late",
                   "without `expect_by`", "expect_by: 3h"),
    "no list": (top("alerts:\n  failure: {notifier: a.b}"), 3, "alerts.failure", "a list", ""),
    "no module": (top("alerts:\n  failure: [{notifier: Slack}]"), 3, "alerts.failure.0.notifier",
                  "`Slack` names no notifier", "module.Class"),
    "code": (top("alerts:\n  failure: [{notifier: 'a.b()'}]"), 3, "alerts.failure.0.notifier",
             "names no notifier", ""),
    "misspelt": (top("alerts:\n  failure: [{notifier: a.b, args: {}}]"), 3,
                 "alerts.failure.0.args", "unknown key", "`arguments`"),
    "unknown event": (top("alerts:\n  failed: []"), 3, "alerts.failed", "`failed`", "`failure`?"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "words", "advice"), BAD.values(), ids=BAD)
def test_bad(load_spec, text, line, key, words, advice):
    """Each fault names line and key, says what is wrong and what to do."""
    with pytest.raises(SpecError) as caught:
        load_spec(text)
    error = each(caught.value)[0]
    assert (error.line, error.key) == (line, key)
    assert words in error.problem
    assert advice in error.advice
