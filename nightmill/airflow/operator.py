"""The operator that runs a step in a pod: Airflow's own, and what a night needs beyond it.

Airflow's operator brings the access to the cluster and builds the pod from our manifest. Ours
differs in what happens around the pod:

    one pod a try       a pod of this very try is taken up again; one of an earlier try is deleted
                        first and its end written down; it could not commit (see store.pointer)
    nothing twice       what this run has committed already is returned without a pod
    nothing for nothing an input that is missing is waited for, or told, without a pod
    the log, in words   what a pending pod waits for; on failure the pod's events
    patience            an API server that is away for minutes does not fail a step that runs
    the last word       the step's own (its termination message), but for who stopped it; else what
                        the store says; else what the cluster knows. Record and Airflow agree
    more memory         what ran out of it moves on to the next pool, as long as there is one
    no pod stays        whatever the end was
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout

from nightmill.airflow import pod_status
from nightmill.airflow.cluster_api import plain
from nightmill.airflow.earlier_tries import GONE_S, POLL_S, clear_away
from nightmill.airflow.evidence import pod_evidence
from nightmill.airflow.inputs import missing_inputs
from nightmill.airflow.links import NotebookLink
from nightmill.airflow.pod_log import PodLog
from nightmill.airflow.pod_watch import look, result_of_gone
from nightmill.airflow.pods import Pods, attempt_labels, instance_labels
from nightmill.airflow.stages import Stage, make_stages
from nightmill.airflow.steprun_operator import StepRunFields, late
from nightmill.airflow.trigger import StepPodTrigger
from nightmill.causes import Cause
from nightmill.cluster.platform import Platform
from nightmill.cluster.pod import escaped
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.steprun import StepRun


class StepPodOperator(StepRunFields, KubernetesPodOperator):
    """Runs a step in a pod.

    `stages` are its pods: the first for the first try, the next after each that ran out of memory.
    """

    template_fields: Sequence[str] = (
        *StepRunFields.template_fields,
        *KubernetesPodOperator.template_fields,
    )
    operator_extra_links = (NotebookLink(),)
    ui_color = "#e0ecf4"

    def __init__(self, *, stages: Sequence[Stage], **operator: Any) -> None:
        super().__init__(pod_template_dict=dict(stages[0].manifest), **operator)
        self.stages = tuple(stages)
        self._stage = self.stages[0]

    # -- Airflow calls these ----------------------------------------------------------------------

    def execute_sync(self, context: Any) -> None:
        """Run the pod and follow it to its end."""
        run, done = self._begin(context)
        evidence: Mapping[str, Any] = {}
        if done is None:
            try:
                done, evidence = self._follow(self._start(context, run), run)
            except AirflowTaskTimeout:
                done = late()
            except BaseException:
                self.on_kill()
                raise
        self._conclude(context, run, done, evidence)

    def execute_async(self, context: Any) -> None:
        """Start the pod and leave the waiting to the triggerer."""
        run, done = self._begin(context)
        if done is None:
            self._start(context, run)
            self.convert_config_file_to_dict()  # type: ignore[no-untyped-call]
            self.defer(trigger=self._trigger(context, self.pod), method_name="resume")
        else:
            self._conclude(context, run, done, {})

    def resume(self, context: Any, event: Mapping[str, Any]) -> None:
        """Go on when the triggerer has seen the end of the pod."""
        run = self.make_step_run(context)
        self.pod = self._pods(run).read(event["name"])
        if self.pod is not None and pod_status.has_started(plain(self.pod)):
            log = PodLog(partial(self._pods(run).open_log, event["name"], follow=False))
            log.start()
            self.tell(log.finish())
        self._conclude(context, run, event["result"], event["evidence"])

    def build_pod_request_obj(self, context: Any = None, **options: Any) -> Any:
        """Build the pod; without a context it has no arguments."""
        if context is not None:
            run = self._made or self.make_step_run(context)
            # Set after Jinja has been at work.
            self.arguments = [escaped(argument) for argument in run.to_argv()]
            self.labels = {**instance_labels(run), **attempt_labels(run)}
        return super().build_pod_request_obj(context, **options)

    def more_memory(self, context: Any) -> str | None:
        """Say on which pool another try would have more memory; None after the last."""
        run = self._made or self.make_step_run(context)
        times = self.outcome(run).times_short_of_memory()
        if times is None:  # the next try cannot count either, and so stays on the first pool
            return ""
        following = self.stages[times + 1 : times + 2]
        return following[0].words if following else None

    # -- before -----------------------------------------------------------------------------------

    def _begin(self, context: Any) -> tuple[StepRun, Mapping[str, Any] | None]:
        """Make the StepRun, and find its result where that is known without a pod.

        An earlier try may have committed it, or be held for review; or an input is missing.
        """
        run = self.make_step_run(context)
        clear_away(self._pods(run), self._stage.limits, self.outcome, self.tell)
        done = self.done_before(run)
        if done is not None:
            return run, done
        done = missing_inputs(context, run, Path(self.project))
        if done is None:
            self._choose_stage(context, run)
        return run, done

    def _choose_stage(self, context: Any, run: StepRun) -> None:
        times = self.outcome(run).times_short_of_memory() if run.attempt > 1 else 0
        self._stage = self.stages[min(times or 0, len(self.stages) - 1)]
        if times:
            self.pod_template_dict = self.render_template(dict(self._stage.manifest), context)
            self.log.info("Out of memory %d times so far; now %s", times, self._stage.words)

    def _start(self, context: Any, run: StepRun) -> str:
        """Create the pod of this try, or take it up; returns its name."""
        request = self.build_pod_request_obj(context)
        self.pod, is_new = self._pods(run).find_or_create(request)
        name: str = self.pod.metadata.name
        self.log.info("%s the pod %s", "Created" if is_new else "Taking up", name)
        context["ti"].xcom_push("pod_name", name)
        context["ti"].xcom_push("pod_namespace", self.pod.metadata.namespace)
        return name

    # -- while it runs ----------------------------------------------------------------------------

    def _follow(self, name: str, run: StepRun) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Watch the pod, tell its log on the way, and return its result and its evidence."""
        pods = self._pods(run)
        log = PodLog(partial(pods.open_log, name, follow=True))
        told = ""
        last: Mapping[str, Any] = plain(self.pod)
        while True:
            found = pods.read(name)
            pod = plain(found) if found else None
            view = look(pod, self._stage.limits, datetime.now(UTC))
            if view.words != told:
                told = view.words
                self.log.info("%s: %s", name, told)
            if pod and pod_status.has_started(pod):
                log.start()
            last = pod or pods.last_known(last)
            if view.is_over:
                self.tell(log.finish())
                return view.result or result_of_gone(last), pod_evidence(last)
            self.tell(log.lines(POLL_S))
            if self._killed:
                raise AirflowException("stopped from outside; the pod ends within its grace period")

    def _trigger(self, context: Any, pod: Any) -> StepPodTrigger:
        most = self.execution_timeout
        deadline = (context["ti"].start_date + most).timestamp() if most else None
        return self.make_trigger(
            trigger_kwargs={
                "limits": asdict(self._stage.limits),
                "deadline": deadline,
                "resource_version": pod.metadata.resource_version,
            },
            pod_name=pod.metadata.name,
            pod_namespace=self.namespace,
            trigger_start_time=datetime.now(UTC),
            base_container_name=self.base_container_name,
            kubernetes_conn_id=self.kubernetes_conn_id,
            cluster_context=self.cluster_context,
            config_dict=self._config_dict,
            in_cluster=self.in_cluster,
            poll_interval=self.poll_interval,
        )

    def make_trigger(self, **fields: Any) -> StepPodTrigger:
        """Make the trigger that waits for the pod."""
        return StepPodTrigger(**fields)

    # -- after ------------------------------------------------------------------------------------

    def _conclude(
        self, context: Any, run: StepRun, result: Mapping[str, Any], evidence: Mapping[str, Any]
    ) -> None:
        """Delete the pod, find the truth, write it down where need be, report."""
        name = ""
        if self.pod is not None:
            name, self.pod = self.pod.metadata.name, None
            self._remove(self._pods(run), name, result)
        if result.get("state") != "succeeded":
            result = self.outcome(run).close(result, name, evidence)
        elif "record" not in result:  # the step itself could not speak
            result = self.outcome(run).ended() or result
        self.finish(context, result)

    def _remove(self, pods: Pods, name: str, result: Mapping[str, Any]) -> None:
        if result.get("state") != "succeeded":
            for event in pods.events(name):
                self.log.info("Event of the pod: %s: %s", event.reason, event.message)
        problem = pods.delete(name, is_lost=result.get("cause") == Cause.NODE_LOST)
        if problem:
            self.log.warning("The pod %s cannot be deleted: %s", name, problem)
        elif result.get("cause") == Cause.DEADLINE:  # it may run, and has its own last word first
            deadline = time.monotonic() + GONE_S
            while pods.read(name) is not None and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def _pods(self, run: StepRun) -> Pods:
        return Pods(lambda: self.client, self._refresh, str(self.namespace), run)

    def _refresh(self) -> None:
        with suppress(AttributeError):  # what was never made cannot be forgotten
            self._refresh_cached_properties()  # type: ignore[no-untyped-call]


def pod_operator_kind(
    platform: Platform, pipeline: Pipeline, step: str
) -> tuple[type[StepPodOperator], dict[str, Any]]:
    """Choose the operator's class for a platform, and what it needs beside StepRunFields."""
    own: dict[str, Any] = {
        "stages": make_stages(platform, pipeline, step),
        "review_url": platform.review_url,
        "namespace": platform.namespace,
    }
    access = platform.access
    if platform.launcher == "eks":
        # Only here: the amazon provider need not be there, and takes its time.
        from nightmill.airflow.eks import StepEksPodOperator  # noqa: PLC0415 - see above

        own |= {"cluster_name": access.eks_cluster, "region": access.region}
        own |= {"aws_conn_id": access.aws_connection, "kubernetes_conn_id": None}
        return StepEksPodOperator, own
    own["kubernetes_conn_id"] = access.connection  # None: no connection is looked up
    if access.in_cluster:
        own["in_cluster"] = True
    elif access.kubeconfig or access.context:
        file = str(Path(access.kubeconfig).expanduser()) if access.kubeconfig else None
        own |= {"config_file": file, "cluster_context": access.context}
    return StepPodOperator, own
