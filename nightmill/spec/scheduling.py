"""The keys of pipeline.yaml about when, where, how often, and how long what ran is kept.

Apart from `pipeline`, because what a step is does not depend on any of them. Whoever launches a
step acts on them: Airflow on all but `keep`, `nightmill run` on the retries; `nightmill gc` keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from nightmill.causes import Cause
from nightmill.spec.model import Model
from nightmill.spec.problems import Fault, Faults, fail_if, shown, suggest
from nightmill.spec.retention import Keep
from nightmill.spec.retry import Retries, Retry
from nightmill.spec.units import Duration

TriggerRule = Literal[
    "all_success", "all_failed", "all_done", "all_done_min_one_success", "all_skipped",
    "one_success", "one_failed", "one_done",
    "none_failed", "none_failed_min_one_success", "none_skipped", "always",
]  # fmt: skip

MAX_RETRIES = 50
MAX_PRIORITY = 1_000_000


def _check_dotted_path(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text, re.ASCII):
        advice = "write module.Class, like airflow.providers.smtp.notifications.smtp.SmtpNotifier"
        raise Faults([Fault(f"{shown(text)} names no notifier", advice)])
    return text


def _check_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise Faults([Fault(f"{shown(text)} is no name", "use printable text on one line")])
    return text


def _read_policy(raw: Any) -> Any:
    """Read `cause: never | backoff | more_memory`; what is no mapping is left to pydantic."""
    if not isinstance(raw, dict):
        return raw
    fail_if(_policy_faults(raw))
    return {Cause(cause): Retry(retry) for cause, retry in raw.items()}


def _policy_faults(raw: Mapping[Any, Any]) -> Iterator[Fault]:
    for cause, retry in raw.items():
        if cause not in _CAUSES:
            advice = suggest(str(cause), _CAUSES, noun="causes")
            yield Fault(f"unknown cause {shown(cause)}", advice, (cause,))
        if retry not in _RETRIES:
            advice = suggest(str(retry), _RETRIES, noun="possible")
            yield Fault(f"{shown(retry)} is not possible here", advice, (cause,))


_CAUSES = tuple(cause.value for cause in Cause)
_RETRIES = tuple(retry.value for retry in Retry)

RetryByCause = Annotated[Mapping[Cause, Retry], BeforeValidator(_read_policy)]
Line = Annotated[str, Field(max_length=256), AfterValidator(_check_line)]


class AlertSpec(Model):
    """Somebody to tell: any Airflow notifier by its dotted path, and its arguments.

    Arguments may be Airflow templates. Secrets belong into the connection that an argument names.
    """

    notifier: Annotated[str, Field(max_length=500), AfterValidator(_check_dotted_path)]
    arguments: Mapping[str, Any] = Field(default_factory=dict)


AlertList = Annotated[tuple[AlertSpec, ...], Field(strict=False)]


class Alerts(Model):
    """Whom to tell what: a step failed for good, or will be retried; all succeeded; it is late."""

    failure: AlertList = ()
    retry: AlertList = ()
    success: AlertList = ()
    late: AlertList = ()


class StepScheduling(Model):
    """What is done with one step; None takes what the pipeline says.

    `retry` says which causes are worth another attempt, where the step knows better than the table
    in `spec.retry`, the pipeline's own words first.
    """

    retry: RetryByCause = Field(default_factory=dict)
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None = None
    retry_delay: Duration | None = None
    retry_backoff: bool | None = None
    trigger_rule: TriggerRule = "all_success"
    airflow_pool: Line | None = None
    priority: Annotated[int, Field(ge=1, le=MAX_PRIORITY)] = 1
    image: Line | None = None


class PipelineScheduling(Model):
    """What is done with a pipeline, and with its steps unless they say otherwise.

    `expect_by` is how long after its scheduled time (or, without a schedule, after it was queued)
    a run should be done: the review pages name what is late, `alerts.late` tells it. Retries wait
    `retry_delay`, doubled each time with `retry_backoff`.
    """

    catchup: bool = False
    max_active_runs: Annotated[int, Field(ge=1, le=1000)] = 1
    retry: RetryByCause = Field(default_factory=dict)
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] = 2
    retry_delay: Duration = timedelta(minutes=5)
    retry_backoff: bool = True
    expect_by: Duration | None = None
    alerts: Alerts = Field(default_factory=Alerts)
    keep: Keep = Field(default_factory=Keep)

    def retries_of(self, step: StepScheduling) -> Retries:
        """Return how one of the steps is tried again: its own words, then the pipeline's."""
        return Retries(
            count=self.retries if step.retries is None else step.retries,
            delay=step.retry_delay or self.retry_delay,
            backoff=self.retry_backoff if step.retry_backoff is None else step.retry_backoff,
            own={**self.retry, **step.retry},
        )

    def written(self, step: StepScheduling, key: str) -> bool:
        """Say whether the author wrote a key, for this step or for the whole pipeline."""
        return getattr(step, key) is not None or key in self.model_fields_set

    def scheduling_faults(self) -> Iterator[Fault]:
        """Find keys that need another one to mean anything."""
        if self.catchup and getattr(self, "schedule", None) is None:
            yield Fault("`catchup` needs a `schedule`", "add one, or remove it", ("catchup",))
        if self.alerts.late and self.expect_by is None:
            yield Fault(
                "nothing is late without `expect_by`",
                "add `expect_by: 3h`, counted from the scheduled time",
                ("alerts", "late"),
            )
