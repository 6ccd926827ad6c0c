"""An auth manager for tests whose users may see some DAGs and not others."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class RightsForEachDag(SimpleAuthManager):
    """Airflow's simple one, where the teams of a user are the DAGs of its role; none means all."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        """Say whether the user's role is enough, and is for this DAG."""
        is_theirs = not user.teams or (details is not None and details.id in user.teams)
        return is_theirs and super().is_authorized_dag(user=user, **asked)
