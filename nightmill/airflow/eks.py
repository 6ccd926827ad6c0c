"""The operator and its trigger on Amazon EKS: the same, with short-lived tokens of AWS.

Airflow's own classes make a kubeconfig with fresh credentials around `execute` and around the
trigger's `run`; a step that resumes needs one as well. On MWAA this is the way to any cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.amazon.aws.hooks.eks import EksHook
from airflow.providers.amazon.aws.operators.eks import EksPodOperator
from airflow.providers.amazon.aws.triggers.eks import EksPodTrigger

from nightmill.airflow.operator import StepPodOperator
from nightmill.airflow.trigger import StepPodTrigger


class StepEksPodTrigger(EksPodTrigger, StepPodTrigger):
    """Waits for the end of one pod on EKS."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write it for Airflow's database, as what it is."""
        _kind, fields = super().serialize()
        return f"{__name__}.{type(self).__qualname__}", fields


class StepEksPodOperator(StepPodOperator, EksPodOperator):
    """Runs a step in a pod on EKS."""

    template_fields: Sequence[str] = tuple(
        dict.fromkeys((*StepPodOperator.template_fields, *EksPodOperator.template_fields))
    )

    def make_trigger(self, **fields: Any) -> StepPodTrigger:
        """Make the trigger, which makes credentials of its own."""
        return StepEksPodTrigger(
            eks_cluster_name=self.cluster_name,
            aws_conn_id=self.aws_conn_id,
            region=self.region,
            **fields,
        )

    def resume(self, context: Any, event: Mapping[str, Any]) -> None:
        """Go on with fresh credentials: those of `execute` are gone."""
        hook = EksHook(aws_conn_id=self.aws_conn_id, region_name=self.region)
        with hook.generate_config_file_with_credentials(
            eks_cluster_name=self.cluster_name, pod_namespace=self.namespace
        ) as (self.config_file, self._credentials_file_path):
            super().resume(context, event)
