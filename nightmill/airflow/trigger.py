"""Watches a step's pod from the triggerer, so that no worker waits for it.

Adds to Airflow's trigger what the operator does as well: patience with an API server that is away,
a log that says what a pending pod waits for, and the result taken from the pod's status as soon as
it is there. It keeps nothing in memory that matters; a restarted triggerer goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.triggers.base import TriggerEvent
from kubernetes_asyncio.client import ApiException

from nightmill.airflow.cluster_api import patiently_async, plain
from nightmill.airflow.evidence import pod_evidence
from nightmill.airflow.pod_watch import Limits, View, last_guess, look
from nightmill.airflow.steprun_operator import late


class StepPodTrigger(KubernetesPodTrigger):
    """Waits for the end of one pod.

    `trigger_kwargs` hold the fields of Limits as `limits`, and `deadline`, the seconds since the
    epoch after which to wait no longer, or None. The event repeats them, and adds `name`, `result`
    and `evidence`, what the pod's status told last; without a `record` in it, the result is no more
    than what the cluster knows.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write it for Airflow's database."""
        _kind, fields = super().serialize()
        return f"{type(self).__module__}.{type(self).__qualname__}", fields

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Tell how things stand whenever that changes, and in the end the result."""
        told, last = "", None
        limits = Limits(**self.trigger_kwargs["limits"])
        while True:
            pod: Any = await self._read()
            view = look(pod, limits, datetime.now(UTC))
            if view.words != told:
                told = view.words
                self.log.info("%s: %s", self.pod_name, view.words)
            if view.is_over or self._is_late():
                self._fired_event = True  # from here on the pod is the operator's to delete
                result = view.result or _guess(view, last)
                yield self._event(result, pod_evidence(pod or last))
                return
            last = pod
            await asyncio.sleep(self.poll_interval)

    def _event(self, result: Mapping[str, Any], evidence: Mapping[str, Any]) -> TriggerEvent:
        place = {"name": self.pod_name, "namespace": self.pod_namespace}
        told = {"result": dict(result), "evidence": dict(evidence)}
        payload = {**self.trigger_kwargs, **place, **told}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]

    def _is_late(self) -> bool:
        deadline = self.trigger_kwargs["deadline"]
        return deadline is not None and datetime.now(UTC).timestamp() > deadline

    async def _read(self) -> dict[str, Any] | None:
        try:
            pod: Any = await patiently_async()(self.hook.get_pod, self.pod_name, self.pod_namespace)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return plain(pod)


def _guess(view: View, last: Mapping[str, Any] | None) -> dict[str, Any]:
    if view.is_over:
        return last_guess(last)
    return late()
