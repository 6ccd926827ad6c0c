"""A notifier that pipelines of tests name by its dotted path, and what it was told."""

from __future__ import annotations

from airflow.sdk import BaseNotifier

TOLD: list[str] = []


class Note(BaseNotifier):
    """Notes the error of a failed task, as a chat client would show it."""

    def notify(self, context):
        """Tell."""
        TOLD.append(str(context["exception"]))
