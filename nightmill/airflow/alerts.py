"""Alerts: any Airflow notifier that pipeline.yaml names by its dotted path, told at its time.

The notifier's module is looked for when DAGs are parsed, and imported only when there is something
to tell: a chat client has no part in parsing. A notifier that fails says so in the log and changes
nothing else.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from airflow.sdk import BaseNotifier

from nightmill.errors import SpecError
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import shown
from nightmill.spec.scheduling import AlertSpec

try:
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
except ImportError:  # before Airflow 3.1
    _HAS_DEADLINES = False
else:
    _HAS_DEADLINES = True


@dataclass(frozen=True)
class Alert:
    """A callback of Airflow: makes the notifier and hands it the context."""

    notifier: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, context: Mapping[str, Any]) -> None:
        """Tell, in a task or in the DAG processor."""
        self.make()(context)

    def make(self) -> Any:
        """Import and construct the notifier."""
        module, _, name = self.notifier.rpartition(".")
        return getattr(import_module(module), name)(**self.arguments)


def callbacks(alerts: Sequence[AlertSpec]) -> Any:
    """Make the list of callbacks of one event; None where nobody wants to know."""
    return [Alert(one.notifier, one.arguments) for one in alerts] or None


def deadlines(spec: PipelineSpec) -> dict[str, Any]:
    """Make the DAG's argument that tells when a run is late; empty before Airflow 3.1.

    Late is `expect_by` after the scheduled time, or after the run was queued where it has none.
    """
    if spec.expect_by is None or not _HAS_DEADLINES:
        return {}
    moments = DeadlineReference
    reference = moments.DAGRUN_LOGICAL_DATE if spec.schedule else moments.DAGRUN_QUEUED_AT
    return {
        "deadline": [
            DeadlineAlert(
                reference=reference,
                interval=spec.expect_by,
                callback=AsyncCallback(
                    tell_late, {"notifier": one.notifier, "arguments": dict(one.arguments)}
                ),
            )
            for one in spec.alerts.late
        ]
    }


async def tell_late(notifier: str, arguments: Mapping[str, Any], context: Any = None) -> None:
    """Tell that a run is late; runs in the triggerer, where waiting must not stop others."""
    one = Alert(notifier, arguments).make()
    has_async = isinstance(one, BaseNotifier) and (
        type(one).async_notify is not BaseNotifier.async_notify
    )
    if has_async:
        await one.async_notify(context or {})
    else:
        await asyncio.to_thread(one, context or {})


def alert_errors(pipeline: Pipeline) -> list[SpecError]:
    """Find notifiers whose module is not there, before the night on which they are needed."""
    return [
        pipeline.error(
            f"there is no module {shown(module)}",
            ("alerts", event, index, "notifier"),
            advice="install the Airflow provider that brings it, or correct the path",
        )
        for event, alerts in pipeline.spec.alerts
        for index, one in enumerate(alerts)
        if not _is_there(module := one.notifier.rpartition(".")[0])
    ]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing, or is no package
        return False
