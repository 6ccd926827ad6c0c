"""What the operator asks of the API server, each call with patience and a time limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from kubernetes.client import ApiException  # type: ignore[import-untyped]
from kubernetes.watch import Watch  # type: ignore[import-untyped]

from nightmill.airflow import pod_history
from nightmill.airflow.cluster_api import patiently
from nightmill.airflow.pod_log import MAX_BYTES
from nightmill.cluster.names import label_value
from nightmill.cluster.pod import CONTAINER
from nightmill.spec.steprun import StepRun

TIMEOUT_S = (5, 30)  # to connect, to answer
LOG_TIMEOUT_S = (5, 60)  # silence, after which a log is opened anew

_LABEL = "nightmill.io/"


@dataclass(frozen=True)
class Pods:
    """The pods of one step of one run; `client` gives a CoreV1Api, `refresh` forgets it."""

    client: Callable[[], Any]
    refresh: Callable[[], None]
    namespace: str
    run: StepRun

    def of_this_try(self, found: Any) -> bool:
        """Say whether a pod was made by this very try."""
        labels: Mapping[str, str] = found.metadata.labels or {}
        return attempt_labels(self.run).items() <= labels.items()

    def find(self) -> list[Any]:
        """Find the pods of all tries."""
        found: list[Any] = patiently(self.refresh)(self._find)
        return found

    def find_or_create(self, request: Any) -> tuple[Any, bool]:
        """Return this try's pod, and whether it is new: an answer may have been lost on its way.

        Raises AirflowException with the API server's words if it refuses.
        """
        try:
            made: tuple[Any, bool] = patiently(self.refresh)(self._find_or_create, request)
        except ApiException as error:
            raise _refusal(error) from error
        return made

    def read(self, name: str) -> Any:
        """Read a pod, None if there is none of this name."""
        try:
            return self._ask("read_namespaced_pod", name)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def last_known(self, pod: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a pod that is gone as it was when it went, as far as the API server remembers."""

        def ask() -> dict[str, Any]:
            asked = pod_history.question(pod)
            lists = self.client().list_namespaced_pod
            watch = Watch(return_type=pod_history.RAW)
            with closing(watch.stream(lists, **asked, _request_timeout=TIMEOUT_S)) as events:
                return pod_history.newest(events, pod)

        try:
            found: dict[str, Any] = patiently(self.refresh)(ask)
        except pod_history.UNTOLD as error:
            pod_history.tell_untold(error)
            return pod
        return found

    def delete(self, name: str, *, is_lost: bool = False) -> str:
        """Delete a pod, one whose node is lost at once; returns why it cannot be done, if so."""
        options = {"grace_period_seconds": 0} if is_lost else {}
        try:
            self._ask("delete_namespaced_pod", name, **options)
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                return str(error.reason)
        return ""

    def events(self, name: str) -> list[Any]:
        """Read what the cluster noted about a pod; empty where we may not ask."""
        try:
            listed = self._ask(
                "list_namespaced_event", field_selector=f"involvedObject.name={name}"
            )
        except ApiException:
            return []
        found: list[Any] = listed.items
        return found

    def open_log(self, name: str, since_s: int | None, *, follow: bool) -> Any:
        """Open the log of a pod from so many seconds ago on, each line with its time."""
        since = {"since_seconds": since_s} if since_s is not None else {}
        return self.client().read_namespaced_pod_log(
            name,
            self.namespace,
            container=CONTAINER,
            follow=follow,
            timestamps=True,
            limit_bytes=2 * MAX_BYTES,
            _preload_content=False,
            _request_timeout=LOG_TIMEOUT_S,
            **since,
        )

    def _find(self) -> list[Any]:
        labels = instance_labels(self.run).items()
        selector = ",".join(f"{name}={value}" for name, value in labels)
        found: list[Any] = (
            self.client()
            .list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=TIMEOUT_S
            )
            .items
        )
        return found

    def _find_or_create(self, request: Any) -> tuple[Any, bool]:
        for pod in self._find():
            if self.of_this_try(pod):
                return pod, False
        create = self.client().create_namespaced_pod
        return create(self.namespace, request, _request_timeout=TIMEOUT_S), True

    def _ask(self, verb: str, *names: str, **options: Any) -> Any:
        def call() -> Any:
            method = getattr(self.client(), verb)
            return method(*names, self.namespace, _request_timeout=TIMEOUT_S, **options)

        return patiently(self.refresh)(call)


def instance_labels(run: StepRun) -> dict[str, str]:
    """Label the pods of one step of one run in one store: at most one of them shall be at work.

    The run is Airflow's, so that they are the same before and after the run was cleared.
    """
    texts = {
        "pipeline": run.pipeline,
        "step": run.step,
        "member": run.member,
        "run": run.run.removesuffix(f".{run.order}"),
        "store": run.store,
    }
    return {_LABEL + name: label_value(text) for name, text in texts.items()}


def attempt_labels(run: StepRun) -> dict[str, str]:
    """Label the pod of one try; a run that was cleared has another order."""
    texts = {"attempt": str(run.attempt), "order": str(run.order), "partition": run.partition}
    return {_LABEL + name: label_value(text) for name, text in texts.items()}


def _refusal(error: ApiException) -> AirflowException:
    """Make the error: rights and quotas may be mended by the next try, an invalid pod may not."""
    is_invalid = error.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    words = " ".join(str(error.body or error.reason).split())[:1000]
    kind = AirflowFailException if is_invalid else AirflowException
    return kind(f"the cluster refused the pod ({error.status}): {words}; ask `nightmill doctor`")
