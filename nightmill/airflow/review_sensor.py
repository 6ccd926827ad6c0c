"""Waiting for what is decided elsewhere: for an Airflow that cannot ask people itself.

It holds no worker while it waits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import SkipMixin
from airflow.sdk import BaseSensorOperator

from nightmill.airflow.review import ReviewFields

LOOK_EVERY = timedelta(minutes=1)
PATIENCE = timedelta(days=365)  # a person may take long, and a review that gave up helps nobody


class StepReviewSensor(ReviewFields, BaseSensorOperator, SkipMixin):
    """Waits until somebody has decided on the review pages, or by `nightmill approve`."""

    inherits_from_skipmixin = True

    def __init__(self, **operator: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=LOOK_EVERY, timeout=PATIENCE, **operator)

    def poke(self, context: Any) -> bool:
        """Look whether it is decided; a rejection skips what stands behind."""
        case = self.find_case(context)
        if case.is_rejected:
            self.conclude(context, case)
            self.skip(ti=context["ti"], tasks=self.get_direct_relatives(upstream=False))
        elif case.is_approved:
            self.conclude(context, case)
        return case.is_rejected or case.is_approved
