"""What Airflow loads from this package by itself, through the entry point `airflow.plugins`.

The scheduler reads DAGs from its database and needs the timetable's class to understand them. Only
the API server mounts the review pages: everything of theirs is imported at the first request. Where
Airflow is older than 3.1, or the extra `review` is not installed, there are none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.util import find_spec
from threading import Lock
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from nightmill.airflow.timetable import BoundedCronTimetable
from nightmill.errors import NightmillError

PREFIX = "/nightmill"
"""Where the pages are, below Airflow's own base."""

_NEEDED = ("jinja2", "nh3", "markdown_it", "mdit_py_plugins", "latex2mathml", "nbformat", "duckdb")
_VIEWS = (
    {
        "name": "Nightmill",
        "destination": "nav",
        "url_route": "nightmill",
        "href": "nightmill/",
        "icon": "nightmill/static/icon.svg",
    },
    {
        "name": "Review",
        "destination": "dag_run",
        "url_route": "nightmill-run",
        "href": "nightmill/airflow/{DAG_ID}/{RUN_ID}",
    },
    {
        "name": "Notebook",
        "destination": "task_instance",
        "url_route": "nightmill-notebook",
        "href": "nightmill/airflow/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
    },
)  # without a leading slash: Airflow may have a base path of its own

_Message = MutableMapping[str, Any]
_App = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]],
    Awaitable[None],
]


class ReviewPages:
    """The review pages as an application, which is made when it is first asked for anything."""

    def __init__(self) -> None:
        self._made: _App | None = None
        self._lock = Lock()

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        try:
            app = await asyncio.to_thread(self._make) if self._made is None else self._made
        except NightmillError:
            logging.getLogger(__name__).exception("The review pages cannot be set up")
            app = _excuse
        await app(scope, receive, send)

    def _make(self) -> _App:
        from nightmill.airflow.pages import make_pages  # noqa: PLC0415 - costs what the top says

        with self._lock:
            if self._made is None:
                self._made = make_pages()
            return self._made


async def _excuse(
    scope: _Message,
    receive: Callable[[], Awaitable[_Message]],
    send: Callable[[_Message], Awaitable[None]],
) -> None:
    """Answer where the pages cannot be made; what is wrong is nothing for whoever may ask."""
    del scope, receive
    text = b"Nightmill's pages are not set up. The log of Airflow's API server says why.\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def can_review() -> bool:
    """Tell whether this Airflow can show the review pages in its own."""
    return hasattr(AirflowPlugin, "external_views") and all(map(find_spec, _NEEDED))


class NightmillPlugin(AirflowPlugin):
    """Nightmill's additions to Airflow."""

    name = "nightmill"
    timetables = [BoundedCronTimetable]  # noqa: RUF012 - as Airflow declares it
    fastapi_apps = (
        [{"app": ReviewPages(), "url_prefix": PREFIX, "name": "Nightmill"}] if can_review() else []
    )
    external_views = [dict(view) for view in _VIEWS] if can_review() else []
