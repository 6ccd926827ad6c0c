"""The task behind a step whose outputs need a review: what is to be decided, and what follows.

    approved    the outputs are committed on the worker, and this task tells who waits for them
    rejected    the steps behind are skipped, and nobody is told of anything

With Airflow 3.1 and the standard provider people are asked in Airflow (`review_task`); before, the
task waits for what is decided on the review pages or by `nightmill approve` (`review_sensor`). Who
decides elsewhere while Airflow asks is heeded too. All members of a step are decided together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import BaseOperator

from nightmill.airflow.assets import announce
from nightmill.airflow.publishing import spec_of
from nightmill.airflow.steprun_operator import RESULT
from nightmill.errors import FencedError, NightmillError, UsageError
from nightmill.publish.approved import approve_and_publish
from nightmill.spec.held import review_line
from nightmill.spec.record import Decision, Record
from nightmill.spec.result import result_of
from nightmill.store.amend import read_record
from nightmill.store.approval import reject
from nightmill.store.interface import Store, key_at
from nightmill.store.keys import RECORD
from nightmill.store.open import open_store

SUFFIX = ".review"  # a step's own name has no dot

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """What is to be decided: the attempt of each member, by its prefix, as its record is now."""

    records: Mapping[str, Record]

    @property
    def is_approved(self) -> bool:
        """Whether all of it is current, or was."""
        return all(one.committed for one in self.records.values())

    @property
    def is_rejected(self) -> bool:
        """Whether any of it was refused: a step without one of its members is not whole."""
        return any(one.is_rejected for one in self.records.values())

    @property
    def is_decided(self) -> bool:
        """Whether nobody is to be asked any more."""
        is_open = any(one.review and not one.review.decision for one in self.records.values())
        return self.is_rejected or not is_open

    @property
    def held(self) -> list[str]:
        """The prefixes of what is still to be decided, or whose commit is not finished."""
        return [prefix for prefix, one in self.records.items() if one.is_held]

    @property
    def decision(self) -> Decision | None:
        """The decision that stands for the whole: a rejection where there is one."""
        found = [one.review.decision for one in self.records.values() if one.review]
        made = sorted(filter(None, found), key=lambda one: (one.approved, one.at))
        return made[0] if made else None


class ReviewFields(BaseOperator):
    """Constructor keywords and methods of a task that waits for a decision about a step.

    `project` is the folder that holds notebooks/; `store` is the address of the store (it may be a
    template); `review_url` leads to the review pages.
    """

    template_fields: Sequence[str] = ("store",)
    ui_color = "#f7e8c8"

    def __init__(
        self,
        *,
        pipeline: str,
        step: str,
        store: str,
        project: str,
        review_url: str | None = None,
        **operator: Any,
    ) -> None:
        super().__init__(**operator)
        self.pipeline = pipeline
        self.step = step
        self.store = store
        self.project = project
        self.review_url = review_url or ""

    def find_case(self, context: Mapping[str, Any]) -> Case:
        """Read how the attempts stand that the step's own tasks have told of.

        Raises AirflowException where the store fails, AirflowFailException for what nobody can
        decide.
        """
        told = context["ti"].xcom_pull(task_ids=self.step, key=RESULT)
        results = [told] if isinstance(told, Mapping) else list(told or ())
        with _in_airflows_words():
            store = self._open_store()
            prefixes = [self._prefix(store, one) for one in results]
            records = {prefix: read_record(store, prefix) for prefix in prefixes}
        found = {prefix: record for prefix, record in records.items() if record is not None}
        if not found or len(found) < len(results):
            raise AirflowFailException(f"the records of {self.step} are gone, or were never told")
        return Case(found)

    def decide(self, context: Mapping[str, Any], decision: Decision) -> Case:
        """Do what a person has decided, unless somebody else was faster; return how it stands.

        Raises AirflowException where the store fails, AirflowFailException where it cannot be done.
        """
        case = self.find_case(context)
        try:
            with _in_airflows_words():
                self._decide(self._open_store(), case.held, decision)
        except AirflowFailException:
            case = self.find_case(context)
            if case.held:
                raise
            log.info("Somebody else has decided meanwhile.")
            return case
        return self.find_case(context)

    def conclude(self, context: Mapping[str, Any], case: Case) -> None:
        """Tell those who wait for the outputs, or nobody; the log says who decided."""
        for record in case.records.values():
            log.info("%s: %s", record.label, review_line(record) or "has committed")
        if not case.is_approved:
            self.outlets = []  # a task that succeeds would tell that they are there
        prefix, record = next(iter(case.records.items()))
        address = self._open_store().address(f"{prefix}/{RECORD}")
        is_whole = len(case.records) == 1  # of several members none has the address of the output
        announce(context, self.outlets, record, result_of(record, address) if is_whole else {})

    def _decide(self, store: Store, prefixes: Sequence[str], decision: Decision) -> None:
        if not decision.approved:
            for prefix in prefixes:
                reject(store, prefix, decision)
            return
        spec = spec_of(Path(self.project), self.pipeline)
        for done in approve_and_publish(store, prefixes, decision, spec=spec):
            for text in done.warnings:
                log.warning("%s", text)

    def _open_store(self) -> Store:
        return open_store(self.store, base=Path(self.project))

    def _prefix(self, store: Store, result: Mapping[str, Any]) -> str:
        address = str(result.get("record") or "")
        key = key_at(store, address) or ""
        if not key.endswith(f"/{RECORD}"):
            raise AirflowFailException(
                f"the record of {self.step} at {address or 'no address'} is not in {store.url}"
            )
        return key.removesuffix(f"/{RECORD}")


@contextmanager
def _in_airflows_words() -> Iterator[None]:
    """Make our errors Airflow's: another try may help, or none will."""
    try:
        yield
    except (FencedError, UsageError) as error:
        raise AirflowFailException(" ".join(str(error).split())) from error
    except NightmillError as error:
        raise AirflowException(" ".join(str(error).split())) from error


def make_review(fields: Mapping[str, Any], *, review_url: str | None) -> ReviewFields:
    """Make the task that waits for the decision; it has the outlets of the step before it."""
    kept = ("pipeline", "step", "store", "project", "dag", "outlets", "retries", "retry_delay")
    own = {name: fields[name] for name in (*kept, "on_failure_callback")}
    return _kind()(task_id=f"{fields['step']}{SUFFIX}", review_url=review_url, **own)


def _kind() -> type[ReviewFields]:
    """Choose how people are asked; only here, since most pipelines ask nobody."""
    try:
        from nightmill.airflow.review_task import StepReviewOperator  # noqa: PLC0415 - see above
    except (ImportError, AirflowException):  # the provider says so of an Airflow before 3.1
        from nightmill.airflow.review_sensor import StepReviewSensor  # noqa: PLC0415 - see above

        return StepReviewSensor
    return StepReviewOperator
