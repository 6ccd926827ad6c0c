"""What every operator that runs a step has in common: the StepRun it makes, the result it reports.

A mixin, so that one and the same behaviour stands over a subprocess of the worker, a pod and a pod
on EKS. It is an operator itself because Airflow prepares only an operator's own constructor. It
holds plain text only; files are read when the step runs, on the worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import BaseOperator

from nightmill.airflow.assets import announce
from nightmill.airflow.outcome import Outcome
from nightmill.airflow.params import overrides
from nightmill.airflow.partition import decide_as_of, decide_partition, run_facts
from nightmill.causes import SUMMARY, Cause
from nightmill.errors import NightmillError
from nightmill.spec import words
from nightmill.spec.check import read_step_contract
from nightmill.spec.parameters import check_given
from nightmill.spec.project import Project
from nightmill.spec.retry import MAX_DOUBLINGS, Retries, Retry
from nightmill.spec.steprun import StepRun

RESULT = "result"
"""The XCom that holds the step's result."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StepRunFields(BaseOperator):
    """Constructor keywords and methods of an operator that runs one step.

    `project` is the folder that holds notebooks/; `store` is the address of the store, and `given`
    holds values for parameters (both may be templates). `member` is what a step with members is
    mapped over. `retry_by_cause` is what pipeline.yaml says of causes; `review_url` leads to the
    review pages. Every `outlets` asset of an output is told the partition when the step has
    succeeded, unless a person has yet to approve of it.
    """

    template_fields: Sequence[str] = ("store", "given", "member")

    def __init__(  # noqa: PLR0913 - plain keywords are how Airflow builds and maps an operator
        self,
        *,
        pipeline: str,
        step: str,
        store: str,
        project: str,
        given: Mapping[str, Any] | None = None,
        member: str = "",
        retry_by_cause: Mapping[str, str] | None = None,
        review_url: str | None = None,
        **operator: Any,
    ) -> None:
        super().__init__(**operator)
        self.pipeline = pipeline
        self.step = step
        self.store = store
        self.project = project
        self.given = given or {}
        self.member = member
        self.retry_by_cause = dict(retry_by_cause or {})
        self.review_url = review_url or ""
        self._made: StepRun | None = None

    def make_step_run(self, context: Mapping[str, Any]) -> StepRun:
        """Make the StepRun of this try; raises AirflowFailException for what no retry can mend."""
        try:
            self._made = self._step_run(context)
        except NightmillError as error:
            message = words.describe(error.cause, " ".join(str(error).split()))
            line = words.tell(message, decision=self._retries(0).refusal(error.cause, left=0))
            # The error is for whoever gave the values, who has no use for our call stack.
            raise AirflowFailException(line) from None
        return self._made

    def _step_run(self, context: Mapping[str, Any]) -> StepRun:
        pipeline = Project.load(Path(self.project)).pipeline(self.pipeline)
        facts = run_facts(context)
        partition = decide_partition(pipeline, facts)
        contracts = {step: read_step_contract(pipeline, step) for step in pipeline.spec.steps}
        given = overrides(pipeline, contracts, self.step, facts.conf) | dict(self.given)
        # A run that was cleared, or deleted and made anew, keeps Airflow's name and may count its
        # tries anew; for the store, where attempts are immutable, it is another run.
        order = run_order(context["dag_run"])
        return StepRun(
            pipeline=self.pipeline,
            step=self.step,
            partition=partition,
            as_of=decide_as_of(pipeline, facts, partition),
            run=f"{context['dag_run'].run_id}.{order}",
            order=order,
            attempt=max(1, context["ti"].try_number),
            member=self.member,
            store=self.store,
            parameters=check_given(contracts[self.step], given),
        )

    def finish(self, context: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Report a step's result: an XCom, the assets' partition, one line of log.

        `result` is what `nightmill step` left as its termination message. Unless it succeeded,
        raises AirflowException where its cause is worth another try, else AirflowFailException;
        the error is the line that the log ends with.
        """
        context["ti"].xcom_push(RESULT, dict(result))
        if result.get("state") != "succeeded":
            self._fail(context, result)
        if result.get("held"):
            self.outlets = []  # nothing is there yet for those who wait for the outputs
        run = self._made or self.make_step_run(context)  # a resumed try begins with an empty self
        announce(context, self.outlets, run, result)
        told, record = result.get("message"), result.get("record")
        self.log.info("%s of %s: %s; record: %s", self.step, self.pipeline, told, record)

    def outcome(self, run: StepRun) -> Outcome:
        """Return the store's view of a try."""
        return Outcome(run, Path(self.project), self.own_policy)

    def done_before(self, run: StepRun) -> dict[str, Any] | None:
        """Return what an earlier try of this run has committed, or left held for review."""
        done = self.outcome(run).committed() if run.attempt > 1 else None
        if done is not None:
            what = "waits for a review" if done["held"] else "has committed this"
            self.log.info("An earlier try %s already: %s", what, done["record"])
        return done

    def tell(self, lines: Iterable[str]) -> None:
        """Repeat lines of a step's own log, each at the level that it carries."""
        levels = {words.ERROR: self.log.error, words.WARNING: self.log.warning}
        for line in lines:
            mark = next((mark for mark in levels if line.startswith(mark)), "")
            levels.get(mark, self.log.info)("%s", line.removeprefix(mark))

    def more_memory(self, context: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - others ask it
        """Say where another try would have more memory; None where nothing larger is left.

        Empty where a try has what the machine has, and may well find more of it free.
        """
        return ""

    @property
    def own_policy(self) -> dict[Cause, Retry]:
        """What pipeline.yaml says of causes."""
        return {Cause(cause): Retry(retry) for cause, retry in self.retry_by_cause.items()}

    def _retries(self, count: int) -> Retries:
        return Retries(
            count=count,
            delay=self.retry_delay,
            backoff=bool(self.retry_exponential_backoff),
            own=self.own_policy,
        )

    def _fail(self, context: Mapping[str, Any], result: Mapping[str, Any]) -> NoReturn:
        cause = _cause(result)
        message = str(result.get("message") or "")
        if not message.startswith(cause):
            message = words.describe(cause, message)
        decision, is_tried_again = self._decide(context, cause)
        notebook = str(result.get("notebook") or "")
        line = words.tell(message, decision=decision, notebook=notebook, cell=result.get("cell"))
        self.log.error("%s", line)
        raise (AirflowException if is_tried_again else AirflowFailException)(line)

    def _decide(self, context: Mapping[str, Any], cause: Cause) -> tuple[str, bool]:
        """Return what follows a failure, in words, and whether that is another try."""
        ti = context["ti"]
        retries = self._retries(ti.max_tries)
        refusal = retries.refusal(cause, left=ti.max_tries + 1 - ti.try_number)
        if refusal:
            return refusal, False
        if retries.of(cause) is Retry.MORE_MEMORY:
            place = self.more_memory(context)
            if place is None:
                return "no retry: no larger pool", False
            if place:
                return f"next attempt {place}", True
        return f"next attempt in {_wait(retries, ti.try_number)}", True


def _cause(result: Mapping[str, Any]) -> Cause:
    """Read a result's cause; one that we do not know is another version's."""
    try:
        return Cause(result.get("cause") or Cause.NIGHTMILL_BUG)
    except ValueError:
        return Cause.NIGHTMILL_BUG


def _wait(retries: Retries, attempt: int) -> str:
    """Say how long Airflow will wait: with backoff up to twice as long, so that tries spread."""
    least_s = retries.wait_s(attempt)
    most_s = min(2 * least_s, retries.delay.total_seconds() * 2**MAX_DOUBLINGS)
    if not retries.backoff or most_s <= least_s:
        return words.span(least_s)
    return f"{words.span(least_s)} to {words.span(most_s)}"


def run_order(dag_run: Any) -> int:
    """Give the microseconds since the epoch at which the run was started, or started again.

    A cleared run is started anew and so is newer than what it was before.
    """
    begun: datetime = dag_run.start_date or dag_run.run_after
    return (begun - _EPOCH) // timedelta(microseconds=1)


def late() -> dict[str, Any]:
    """Make the result of a step that Airflow's own limit ended."""
    message = "the step took longer than Airflow gives it (execution_timeout)"
    return {"state": "failed", "cause": Cause.DEADLINE.value, "message": message}


def result_of_exit_code(code: int) -> dict[str, Any]:
    """Make the result of a step that left none, from the exit code of its process."""
    if code == 0:
        return {"state": "succeeded", "cause": None, "message": "succeeded"}
    cause = Cause.of_exit_code(code)
    message = f"{SUMMARY[cause]} (exit code {code}, and no word)"
    return {"state": "failed", "cause": cause.value, "message": message}
