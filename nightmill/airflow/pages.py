"""The review pages inside Airflow: its own sign-in, and its permissions for each DAG.

What is mounted in Airflow has no sign-in by itself. A pipeline's pages are for whoever may see the
task instances of its DAG, and decisions for whoever may edit them. Airflow keeps what is asked here
to itself, more or less: everything of that kind is in this module.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from airflow.models.dag import DagModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request

from nightmill.cluster.platform import load_platform
from nightmill.review.access import User
from nightmill.review.app import make_app
from nightmill.review.links import Links
from nightmill.review.site import Site
from nightmill.spec.project import find_root
from nightmill.store.open import open_store

DAGS_VARIABLE = "NIGHTMILL_DAGS"
"""Names the folder of platform.yaml where that is not Airflow's own folder of DAGs."""


@dataclass(frozen=True)
class AirflowUser(User):
    """Somebody whom Airflow knows; what they may do is asked once a request."""

    known: Any = None
    decided: dict[tuple[str, str], bool] = field(default_factory=dict, compare=False, repr=False)

    def may(self, method: Literal["GET", "PUT"], pipeline: str) -> bool:
        """Ask Airflow whether they may use a method on the task instances of a pipeline's DAG."""
        if (method, pipeline) not in self.decided:
            self.decided[method, pipeline] = get_auth_manager().is_authorized_dag(
                method=method,
                access_entity=DagAccessEntity.TASK_INSTANCE,
                details=DagDetails(id=pipeline, **_team(pipeline)),
                user=self.known,
            )
        return self.decided[method, pipeline]


class AirflowAccess:
    """Lets in whom Airflow has signed in, as its auth manager decides."""

    async def user(self, request: Request) -> User | None:
        """Return who has signed in: by Airflow's cookie, or by its token in a header."""
        given = await bearer_scheme(request)
        try:
            known = await get_user(request, None, given)
        except HTTPException:
            return None
        return AirflowUser(known.get_name(), has_session=given is None or _is_open(), known=known)

    def may_read(self, user: User, pipeline: str) -> bool:
        """Say whether they may see the task instances of the pipeline's DAG."""
        return isinstance(user, AirflowUser) and user.may("GET", pipeline)

    def may_act(self, user: User, pipeline: str) -> bool:
        """Say whether they may edit the task instances of the pipeline's DAG."""
        return isinstance(user, AirflowUser) and user.may("PUT", pipeline)

    def sign_in(self, links: Links, page: str) -> str | None:
        """Return the address of Airflow's own form."""
        return str(get_auth_manager().get_url_login(next_url=links.base + page))


def make_pages() -> Starlette:
    """Make the pages over the store and the project that the DAGs here are made of.

    Raises SpecError where platform.yaml is wrong, UsageError where there is no project.
    """
    dags = Path(os.environ.get(DAGS_VARIABLE) or conf.get("core", "dags_folder")).expanduser()
    platform, root = load_platform(dags), find_root(dags)
    store = open_store(platform.store, base=root, hasty=True)
    return make_app(Site.open(store, AirflowAccess(), root=root, secret=_secret()))


def _secret() -> bytes:
    """Make a secret that all processes of the API server share, and Airflow has no use for."""
    key = conf.get("api", "secret_key").encode()
    return hmac.new(key, b"nightmill review pages", hashlib.sha256).digest()


def _is_open() -> bool:
    """Tell whether everybody is an administrator: then the header signs in no program."""
    return conf.getboolean("core", "simple_auth_manager_all_admins", fallback=False)


def _team(pipeline: str) -> Mapping[str, Any]:
    """Name the team that owns the DAG, where Airflow has teams."""
    if not conf.getboolean("core", "multi_team", fallback=False):
        return {}
    return {"team_name": DagModel.get_team_name(pipeline)}
