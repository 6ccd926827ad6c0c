"""What S3 answers to a write: its etag, whole, or else what is to be done.

A connection that breaks amid the headers of an answer looks like its end: what follows is missing,
or what it broke in is too short, and neither boto3 nor what is below it minds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nightmill.errors import StoreConflict, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def whole_etag(answer: Mapping[str, Any]) -> str:
    """Return the etag of an answer; empty where it was cut off."""
    etag = str(answer.get("ETag", ""))
    is_cut = etag.startswith('"') and not etag.endswith('"', 1)
    return "" if is_cut else etag


def stored_etag(client: S3Client, place: Mapping[str, Any], size: int, address: str) -> str:
    """Look at an object that was written; return its etag if it has this size."""
    head = client.head_object(**place)
    found, etag = head.get("ContentLength", size), whole_etag(head)
    if found == size and etag:
        return etag
    raise StoreError(
        f"{size} bytes were sent and {found} are there" if etag else "the answers were cut off",
        address=address,
        operation="write",
        advice="see that nothing else writes there, then repeat",
    )


def cut_off(address: str) -> StoreConflict:
    """Say that nobody knows whether a conditional write was the one that won, as `write_if` may."""
    return StoreConflict(
        "the answer was cut off",
        address=address,
        operation="write_if",
        advice="read what is there, and repeat",
    )
