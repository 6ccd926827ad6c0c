"""People asked in Airflow itself, by its human-in-the-loop operator: 3.1 and later.

What they see is made from the records when the task starts. Where it is decided by then, nobody is
asked; who answers after somebody else has decided finds that decision done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

from nightmill.airflow.review import Case, ReviewFields
from nightmill.airflow.review_text import body, subject
from nightmill.spec.record import Decision
from nightmill.spec.remarks import NAME_CHARACTERS, TEXT_CHARACTERS, make_decision, tidied

COMMENT = "comment"
_NOBODY = "somebody in Airflow"
_NO_COMMENT = "rejected in Airflow without a comment"


class StepReviewOperator(ReviewFields, ApprovalOperator):
    """Asks whether what a step made may become current, and does as it is told."""

    template_fields: Sequence[str] = ReviewFields.template_fields

    def __init__(self, *, pipeline: str, step: str, **operator: Any) -> None:
        comment = Param(
            "",
            title="Comment",
            description="Kept in the record, for whoever asks later; a rejection should say why.",
            type=["string", "null"],
            maxLength=TEXT_CHARACTERS,
        )
        operator.pop("params", None)  # Airflow hands down the DAG's own, which are for a run
        super().__init__(
            pipeline=pipeline,
            step=step,
            subject=f"{pipeline}: may the outputs of {step} become current?",
            params={COMMENT: comment},
            **operator,
        )

    def execute(self, context: Any) -> Any:
        """Ask, unless it is decided."""
        case = self.find_case(context)
        decision = case.decision
        if not case.is_decided:
            self.subject, self.body = subject(case), body(case, self.review_url)
            return super().execute(context)
        if case.held and decision is not None and decision.approved:  # its commit was cut off
            case = self.decide(context, decision)
        return self._follow(context, case, {})

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Do what was answered, or what was decided elsewhere meanwhile."""
        if "error" in event:
            return super().execute_complete(context, event)
        return self._follow(context, self.decide(context, _decision(event)), event)

    def _follow(self, context: Any, case: Case, event: Mapping[str, Any]) -> Any:
        """Let Airflow go on as the records say, whatever was answered."""
        self.conclude(context, case)
        decision = case.decision
        if decision is None:  # it ran as code that asks for no review, and has committed
            return None
        told = {
            "params_input": {},
            "responded_at": decision.at,
            "responded_by_user": {"id": "", "name": decision.by},
            **event,
            "chosen_options": [self.APPROVE if case.is_approved else self.REJECT],
        }
        return super().execute_complete(context, told)


def _decision(event: Mapping[str, Any]) -> Decision:
    """Take an answer over; nothing of it may make it be lost."""
    user = event.get("responded_by_user") or {}
    name = " ".join(str(user.get("name") or user.get("id") or _NOBODY).split())
    by = "".join(one for one in name if one.isprintable())[:NAME_CHARACTERS].strip()
    approved = event["chosen_options"] == [StepReviewOperator.APPROVE]
    comment = tidied(str((event.get("params_input") or {}).get(COMMENT) or ""))
    return make_decision(
        approved=approved,
        by=by or _NOBODY,
        comment=comment or ("" if approved else _NO_COMMENT),
        at=event.get("responded_at"),
    )
