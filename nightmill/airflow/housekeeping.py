"""The DAG that sweeps: attempts that died with whoever watched them get their end written down.

It is there unless platform.yaml says `sweep_every: never`, and begins unpaused: nobody would miss
it before a record has said "running" for days. Its name has a dot, so that no pipeline has it.

Nobody is ended at first sight. After an outage of the store all are silent, and this may well look
before the living have spoken again; so the sweep that ends attempts comes later than a heartbeat
can be, after a look that found all well or a pause.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk import DAG, BaseOperator

from nightmill.airflow.plan import Plan
from nightmill.airflow.publishing import publish
from nightmill.errors import NightmillError, UsageError
from nightmill.spec import words
from nightmill.spec.names import label
from nightmill.spec.progress import SILENT_AFTER
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD, attempt_names
from nightmill.store.open import open_store
from nightmill.store.sweep import Fate, Swept, sweep

DAG_ID = "nightmill.housekeeping"
BY = f"airflow {DAG_ID}"
SWEPT = "swept"
"""The XCom that names the attempts that were ended, and those that could not be."""

SILENT_FOR = timedelta(minutes=15)
SECOND_LOOK = SILENT_AFTER  # a mirror that failed tries again within a minute
LONGEST = timedelta(hours=1)  # or a store that hangs would hold up all later sweeps

_ADVICE = (
    "the worker sweeps with its own identity (image/iam-airflow.json has its rights); "
    "`sweep_every: never` in platform.yaml leaves it to `nightmill sweep`"
)
_DOC = f"""\
Looks every few minutes for attempts whose heartbeat stopped and whose end nobody wrote down: their
worker and their pod died. Each gets its end in its record, as by `nightmill sweep`; what had
committed is published. The log and the XCom `{SWEPT}` name them.

`sweep_every` in platform.yaml says how often; `never` removes this DAG.
"""


def make_housekeeping(plan: Plan) -> DAG | None:
    """Make the DAG; None where the platform's owner wants none."""
    every = plan.platform.sweep_every
    if every is None:
        return None
    dag = DAG(
        dag_id=DAG_ID,
        description="Writes down the end of attempts that died without a word.",
        doc_md=_DOC,
        tags=["nightmill"],
        schedule=every,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
    )
    SweepOperator(
        task_id="sweep",
        store=plan.platform.store,
        project=str(plan.root),
        retries=0,  # the next run is the next try
        execution_timeout=LONGEST,
        dag=dag,
    )
    return dag


class SweepOperator(BaseOperator):
    """Sweeps a store on the worker; `project` is the folder that holds notebooks/."""

    template_fields: Sequence[str] = ("store",)
    ui_color = "#eeeeee"

    def __init__(self, *, store: str, project: str, **operator: Any) -> None:
        super().__init__(**operator)
        self.store = store
        self.project = project

    def execute(self, context: Mapping[str, Any]) -> None:
        """End what is dead; raises AirflowException, after all others, for what cannot be swept."""
        found: list[Swept] = []
        told: list[dict[str, Any]] = []
        try:
            store = open_store(self.store, base=Path(self.project))
            for one in self._sweep(store):
                found.append(one)
                if _is_ended(one) or one.fate is Fate.PROBLEM:
                    told.append(_facts(store, one))
        except NightmillError as error:
            line = " ".join(str(error).split())
            raise AirflowException(f"the store cannot be swept: {line}; {_ADVICE}") from None
        finally:
            if told:  # also where the store went away half-way: no later sweep tells of these
                context["ti"].xcom_push(SWEPT, told)
        counts = Counter(one.fate.value for one in found)
        summary = ", ".join(f"{number} {fate}" for fate, number in counts.items())
        self.log.info("Attempts that are marked as running: %s", summary or "none")
        if problems := [one for one in found if one.fate is Fate.PROBLEM]:
            raise AirflowException(_told_problems(problems))

    def _sweep(self, store: Store) -> Iterator[Swept]:
        look = sweep(store, silent_for=SILENT_FOR, by=BY, dry_run=True)
        doubtful = [one for one in look if one.fate in (Fate.TO_AMEND, Fate.PROBLEM)]
        if doubtful:
            wait = words.span(SECOND_LOOK.total_seconds())
            places = "; ".join(_place(one.prefix) for one in doubtful)
            self.log.info("Silent, or not to be read; a second look in %s: %s", wait, places)
            time.sleep(SECOND_LOOK.total_seconds())
        for one in sweep(store, silent_for=SILENT_FOR + SECOND_LOOK, by=BY):
            self._tell(store, one)
            # At once: it is no longer marked, so that no later sweep would find it.
            if one.fate is Fate.AMENDED and one.record is not None and one.record.committed:
                publish(store, Path(self.project), one.record)
            yield one

    def _tell(self, store: Store, one: Swept) -> None:
        line = f"{_place(one.prefix)}: {_what(one)}"
        if one.fate is Fate.PROBLEM:
            self.log.error("%s", line)
        elif _is_ended(one):
            self.log.warning("%s; record: %s", line, _address(store, one))
        elif one.fate is not Fate.ALIVE:
            self.log.info("%s", line)


def _what(one: Swept) -> str:
    """Say what became of an attempt, in a line."""
    record = one.record
    if one.problem or record is None:
        return f"cannot be swept: {' '.join(one.problem.split())}"
    if not _is_ended(one):
        return f"its record had its end already ({record.state}); the mark is removed"
    if record.failure is None:
        return "had committed, and died before it could say so"
    return record.failure.message


def _is_ended(one: Swept) -> bool:
    """Whether this sweep ended it; the attempt, its operator or somebody else may be quicker."""
    record = one.record if one.fate is Fate.AMENDED else None
    return record is not None and bool(record.amendments) and record.amendments[-1].by == BY


def _facts(store: Store, one: Swept) -> dict[str, Any]:
    facts = {"fate": one.fate.value, "what": _what(one)}
    try:
        names = attempt_names(one.prefix)._asdict()
    except UsageError:  # a stray file among the marks
        return {"attempt": one.prefix, **facts}
    return {**names, **facts, "record": _address(store, one)}


def _place(prefix: str) -> str:
    try:
        names = attempt_names(prefix)
    except UsageError:
        return f"the mark {prefix}"
    step = label(names.step, names.member)
    return f"{names.pipeline} {names.partition}, run {names.run}, {step} attempt {names.attempt}"


def _address(store: Store, one: Swept) -> str:
    return store.address(f"{one.prefix}/{RECORD}")


def _told_problems(problems: Sequence[Swept]) -> str:
    listed = "; ".join(f"{_place(one.prefix)} {_what(one)}" for one in problems)
    number = "one attempt" if len(problems) == 1 else f"{len(problems)} attempts"
    return f"all was swept but {number}: {listed}"
