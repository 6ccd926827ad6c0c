"""The last that the API server knew of a pod that is gone, for its end may fall between two looks.

The watchers ask for a pod every few seconds. One that is evicted ends and is deleted within that
time, and who stopped it, its exit code and the step's own word would be gone with it. The API
server remembers the changes of the last minutes: a watch from the version last seen on tells them,
although the pod is no more. That takes the right to `watch` pods; where it is not given, or the
history does not reach back so far, what was last seen has to do.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError
from kubernetes.client import ApiException  # type: ignore[import-untyped]
from kubernetes_asyncio.client import ApiException as AsyncApiException
from urllib3.exceptions import HTTPError

Event = Mapping[str, Any]

RAW: Any = "object"  # the watch's events as the API server writes them
UNTOLD = (ApiException, AsyncApiException, HTTPError, ClientError, OSError, ValueError)

log = logging.getLogger(__name__)

_ENOUGH_S = 5  # what has happened already is told at once; the rest of this time is silence
_GONE = "DELETED"


def question(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a watch that tells what happened to a pod since it was read."""
    metadata = pod["metadata"]
    return {
        "namespace": metadata["namespace"],
        "field_selector": f"metadata.name={metadata['name']}",
        "resource_version": metadata["resourceVersion"],
        "timeout_seconds": _ENOUGH_S,
    }


def newest(events: Iterable[Event], pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod as the last of a watch's events shows it, as it was given if there is none."""
    known = dict(pod)
    for event in events:
        known = event["raw_object"]
        if event["type"] == _GONE:
            break
    return known


async def newest_async(events: AsyncIterable[Event], pod: Mapping[str, Any]) -> dict[str, Any]:
    """Do the same with the events of the triggerer's client."""
    known = dict(pod)
    async for event in events:
        known = event["raw_object"]
        if event["type"] == _GONE:
            break
    return known


def tell_untold(error: BaseException) -> None:
    """Say why the history of a pod that is gone could not be read."""
    if getattr(error, "status", None) == HTTPStatus.FORBIDDEN:
        log.warning("Airflow may not watch pods: how this one ended stays unknown (%s)", _ADVICE)
    else:
        log.warning("How the pod ended cannot be read: %s", " ".join(str(error).split())[:200])


_ADVICE = "image/rbac.yaml grants it"
