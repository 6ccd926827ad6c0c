"""What the operator and its trigger need of their two clients: pods as plain data, and patience.

An API server may be away for minutes: upgrades and failovers come at night too. The step goes on
meanwhile; only its watcher cannot see it. What the server refuses is not waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any

import tenacity
from aiohttp import ClientError
from kubernetes.client import ApiClient, ApiException  # type: ignore[import-untyped]
from kubernetes_asyncio.client import ApiException as AsyncApiException
from urllib3.exceptions import HTTPError

PATIENCE_S = 900.0

log = logging.getLogger(__name__)

_NO_CONNECTION = (HTTPError, ClientError, ConnectionError, TimeoutError)
_PASSING = {
    HTTPStatus.UNAUTHORIZED,  # a token that has expired; the client is made anew
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
}


def plain(pod: Any) -> dict[str, Any]:
    """Return a pod of either client as the API server writes it."""
    found: dict[str, Any] = _serializer().sanitize_for_serialization(pod)
    return found


@cache
def _serializer() -> ApiClient:
    return ApiClient()


def is_passing(error: BaseException) -> bool:
    """Tell what may be over in a minute from a refusal."""
    if isinstance(error, ApiException | AsyncApiException):
        status = error.status or 0  # 0: no answer at all
        return status in _PASSING or status == 0 or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, _NO_CONNECTION)


def patiently(refresh: Callable[[], None]) -> tenacity.Retrying:
    """Return what calls a function until the API server answers; `refresh` makes a new client."""

    def before_sleep(state: tenacity.RetryCallState) -> None:
        _tell(state)
        error = state.outcome.exception() if state.outcome else None
        if getattr(error, "status", None) == HTTPStatus.UNAUTHORIZED:
            refresh()

    return tenacity.Retrying(**_POLICY, before_sleep=before_sleep)


def patiently_async() -> tenacity.AsyncRetrying:
    """Return what awaits a coroutine function until the API server answers."""
    return tenacity.AsyncRetrying(**_POLICY, before_sleep=_tell)


def _tell(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "The API server does not answer (%s); trying for up to %d min; the step goes on",
            " ".join(str(error).split())[:200],
            PATIENCE_S // 60,
        )


_POLICY: dict[str, Any] = {
    "retry": tenacity.retry_if_exception(is_passing),
    "stop": tenacity.stop_after_delay(PATIENCE_S),
    "wait": tenacity.wait_exponential(min=1, max=15),
    "reraise": True,
}
