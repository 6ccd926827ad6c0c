"""Decisions about outputs that are held for review: what a page shows of them, and the act.

A person's approval is the commit (see `store.approval`), so what is approved is published at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import AwareDatetime
from starlette.exceptions import HTTPException

from nightmill.errors import UsageError
from nightmill.publish.approved import approve_and_publish
from nightmill.publish.publish import repair
from nightmill.publish.target import State
from nightmill.review.commands import Command, decides
from nightmill.review.current import current_beside
from nightmill.review.links import RUNS
from nightmill.review.pages.attempt_facts import CheckFact, OutputFact, checks_of, outputs_of
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.notes import who
from nightmill.review.pages.now_current import NowCurrent
from nightmill.review.refused import review_anchor
from nightmill.review.views import ATTEMPT, Action
from nightmill.review.visit import Visit
from nightmill.review.words import moment
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import shown
from nightmill.spec.record import CheckState, Decision, Record
from nightmill.spec.remarks import TEXT_CHARACTERS, make_decision
from nightmill.store.amend import read_record
from nightmill.store.approval import reject
from nightmill.store.history import prefix_of
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD
from nightmill.store.pointer import Token

BEHIND = "behind"
"""Says in a query that what was approved could not be published."""

Verdict = Literal["held", "approved", "unfinished", "rejected"]


class DecisionView(Fact):
    """An attempt that needs a person's approval: what it made, and what was decided, if it was.

    `unfinished` is one whose approval was cut off before its commit. `outputs`, `checks` and
    `newer` are for whoever has to decide: it names who has committed since, if anybody has.
    `has_current` says whether readers have another version meanwhile; None if nobody knows.
    """

    anchor: str
    label: str
    attempt: int
    page: str
    compare_page: str
    required: tuple[str, ...]
    verdict: Verdict
    by: str = ""
    at: AwareDatetime | None = None
    comment: str = ""
    outputs: tuple[OutputFact, ...] = ()
    checks: tuple[CheckFact, ...] = ()
    checks_passed: int = 0
    newer: str = ""
    has_current: bool | None = None
    zone: str
    action: str
    may_act: bool
    asks_name: bool
    commands: tuple[Command, ...] = ()
    most_characters: int = TEXT_CHARACTERS

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do."""
        return self.verdict in ("held", "unfinished")


def decision_of(visit: Visit, record: Record) -> DecisionView | None:
    """Tell what is to be decided about an attempt, or was; None where nothing needs a review."""
    review = record.review
    if review is None or not (record.is_held or review.decision):
        return None
    links, prefix = visit.links, prefix_of(record)
    decision = review.decision.model_dump(exclude={"approved"}) if review.decision else {}
    return DecisionView(
        anchor=anchor_of(record),
        label=record.label,
        attempt=record.attempt,
        page=links.attempt(RUNS, prefix),
        compare_page=links.attempt("compare", prefix),
        required=review.required,
        verdict=_verdict(record),
        zone=visit.site.specs.zone_of(record),
        action=links.attempt("decide", prefix),
        may_act=visit.may_act(record.pipeline),
        asks_name=not visit.user.name,
        **decision,
        **(_to_decide(visit, record) if record.is_held else {}),
    )


def anchor_of(record: Record) -> str:
    """Name the place on the run's page where a decision is shown."""
    return review_anchor(record.label, record.attempt)


def _verdict(record: Record) -> Verdict:
    if record.is_rejected:
        return "rejected"
    if record.review and record.review.decision:
        return "unfinished" if record.is_held else "approved"
    return "held"


def _to_decide(visit: Visit, record: Record) -> dict[str, object]:
    """Tell what somebody has to look at before they decide."""
    return {
        "outputs": outputs_of(visit, record, NowCurrent()),
        "checks": checks_of([one for one in record.checks if one.state is not CheckState.PASSED]),
        "checks_passed": sum(one.state is CheckState.PASSED for one in record.checks),
        **_meanwhile(visit.site.store, record),
        "commands": tuple(decides(record)),
    }


def _meanwhile(store: Store, record: Record) -> dict[str, object]:
    """Tell what is current, and who has committed since: then there is nothing left to approve."""
    current = current_beside(store, prefix_of(record))
    if current is None:  # the act itself tells more
        return {}
    pointer, own = current.pointer, Token(order=record.order, attempt=record.attempt)
    newer = pointer.author if pointer and own < pointer.token else ""
    return {"newer": newer, "has_current": pointer is not None}


def _decide(visit: Visit, form: Mapping[str, str]) -> str:
    """Do what a form says; return the address of the run's page, where it is to be seen."""
    if visit.site.store.stat(f"{visit.prefix}/{RECORD}") is None:
        raise HTTPException(404, "There is no such attempt to decide about.")
    verdict = form.get("verdict", "")
    if verdict not in ("approve", "reject"):
        problem = f"{shown(verdict)} is no verdict" if verdict else "there is no verdict"
        raise UsageError(problem, advice="send `verdict` as approve or reject")
    is_approval = verdict == "approve"
    decision = make_decision(
        approved=is_approval, by=who(visit, form), comment=form.get("comment", "")
    )
    try:
        record, is_behind = _carry_out(visit, decision)
    except UsageError as error:
        raise _is_decided(visit) or error from error
    visit.site.index.expire()  # whoever decided looks at the lists next
    query = f"?{BEHIND}=1" if is_behind else ""
    return f"{visit.links.run(visit.prefix)}{query}#{anchor_of(record)}"


def _carry_out(visit: Visit, decision: Decision) -> tuple[Record, bool]:
    """Decide; return the record, and whether what was approved could not be published."""
    store, prefix = visit.site.store, visit.prefix
    if not decision.approved:
        return reject(store, prefix, decision), False
    (approved,) = approve_and_publish(store, [prefix], decision, spec=_spec(visit))
    return approved.record, bool(approved.warnings)


def is_behind(visit: Visit, records: Iterable[Record]) -> bool | None:
    """Say whether something that was approved is current and not published by now.

    None where nobody can tell here what is to be published. Raises StoreError.
    """
    approved = [one for one in records if one.committed and one.review and one.review.decision]
    if not approved:
        return False
    first = approved[0]
    spec = visit.site.specs.now().get(first.pipeline) or visit.site.specs.of(first)
    if spec is None:
        return None
    names = {(output, one.member) for one in approved for output in one.outputs}
    found = repair(visit.site.store, spec, partition=first.partition, dry_run=True)
    return any(
        one.state in (State.BEHIND, State.FAILED) and (one.output, one.member) in names
        for one in found
    )


def _is_decided(visit: Visit) -> UsageError | None:
    """Say who has decided before, at what time of the pipeline; None where nobody has."""
    record = read_record(visit.site.store, visit.prefix)
    found = record.review.decision if record and record.review else None
    if record is None or found is None:
        return None
    verb = "approved" if found.approved else "rejected"
    at = moment(found.at, visit.site.specs.zone_of(record))
    advice = "look at what was decided; a new run can replace the outputs"
    return UsageError(f"{found.by} has {verb} this before, {at}", where=record.label, advice=advice)


def _spec(visit: Visit) -> PipelineSpec | None:
    """Find what says where outputs are published: the project, else the pipeline as it ran."""
    specs, record = visit.site.specs, read_record(visit.site.store, visit.prefix)
    if record is None:  # the act itself tells what is wrong
        return None
    return specs.now().get(record.pipeline) or specs.of(record)


ROUTES = (Action(f"/decide/{ATTEMPT}", _decide),)
