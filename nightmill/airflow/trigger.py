"""Watches a step's pod from the triggerer, so that no worker waits for it.

Adds to Airflow's trigger what the operator does as well: patience with an API server that is away,
a log that says what a pending pod waits for, and the result taken from the pod's status as soon as
it is there, or from its history where it went between two looks. It keeps nothing in memory that
matters; a restarted triggerer goes on where it was.

It never tells an end before the worker that deferred the step has left: Airflow 3.3 takes the end
of that first process for the end of the try, if it hears of it only when the second one runs, and
fails the try (apache/airflow#72716). A worker's end is noticed up to `min_heartbeat_interval` late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from airflow.configuration import conf
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.triggers.base import TriggerEvent
from kubernetes_asyncio.client import ApiException, CoreV1Api
from kubernetes_asyncio.watch import Watch

from nightmill.airflow import pod_history
from nightmill.airflow.cluster_api import patiently_async, plain
from nightmill.airflow.evidence import pod_evidence
from nightmill.airflow.pod_watch import Limits, look, result_of_gone
from nightmill.airflow.steprun_operator import late

MARGIN_S = 5.0  # for a worker to say that it defers, and for the scheduler to hear that it left


class StepPodTrigger(KubernetesPodTrigger):
    """Waits for the end of one pod.

    `trigger_kwargs` hold the fields of Limits as `limits`, `deadline`, the seconds since the epoch
    after which to wait no longer, or None, and `resource_version`, that of the pod when it was
    made. The event repeats them, and adds `name`, `result` and `evidence`, what the pod's status
    told last; without a `record` in it, the result is no more
    than what the cluster knows.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write it for Airflow's database."""
        _kind, fields = super().serialize()
        return f"{type(self).__module__}.{type(self).__qualname__}", fields

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Tell how things stand whenever that changes, and in the end the result."""
        told, last = "", self._pod_as_made()
        limits = Limits(**self.trigger_kwargs["limits"])
        while True:
            pod: Any = await self._read()
            view = look(pod, limits, datetime.now(UTC))
            if view.words != told:
                told = view.words
                self.log.info("%s: %s", self.pod_name, view.words)
            last = pod or await self._last_known(last)
            if view.is_over or self._is_late():
                self._fired_event = True  # from here on the pod is the operator's to delete
                guess = result_of_gone(last) if view.is_over else late()
                await asyncio.sleep(self._worker_stays_s())
                yield self._event(view.result or guess, pod_evidence(last))
                return
            await asyncio.sleep(self.poll_interval)

    def _event(self, result: Mapping[str, Any], evidence: Mapping[str, Any]) -> TriggerEvent:
        place = {"name": self.pod_name, "namespace": self.pod_namespace}
        told = {"result": dict(result), "evidence": dict(evidence)}
        payload = {**self.trigger_kwargs, **place, **told}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]

    def _is_late(self) -> bool:
        deadline = self.trigger_kwargs["deadline"]
        return deadline is not None and datetime.now(UTC).timestamp() > deadline

    def _worker_stays_s(self) -> float:
        """Say for how long the worker that deferred the step may still count as at work."""
        stays_s = conf.getint("workers", "min_heartbeat_interval") + MARGIN_S
        left_at = self.trigger_start_time + timedelta(seconds=stays_s)
        return max(0.0, (left_at - datetime.now(UTC)).total_seconds())

    async def _read(self) -> dict[str, Any] | None:
        try:
            pod: Any = await patiently_async()(self.hook.get_pod, self.pod_name, self.pod_namespace)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return plain(pod)

    def _pod_as_made(self) -> dict[str, Any]:
        place = {"name": self.pod_name, "namespace": self.pod_namespace}
        return {"metadata": {**place, "resourceVersion": self.trigger_kwargs["resource_version"]}}

    async def _last_known(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """Return a pod that is gone as it was when it went, as `Pods.last_known` does."""

        async def ask() -> dict[str, Any]:
            async with self.hook.get_conn() as connection, Watch(pod_history.RAW) as watch:
                lists = CoreV1Api(connection).list_namespaced_pod
                events = watch.stream(lists, **pod_history.question(pod))
                return await pod_history.newest_async(events, pod)

        try:
            return await patiently_async()(ask)
        except pod_history.UNTOLD as error:
            pod_history.tell_untold(error)
            return dict(pod)
