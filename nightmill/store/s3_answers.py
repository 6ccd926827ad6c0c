"""Answers of S3 that were cut off: each is made an error of the server's, which the SDK repeats.

A connection that breaks amid the headers of an answer looks like their end: what follows is
missing, or what it broke in is too short, and neither boto3 nor what is below it minds. Then a list
has nothing in it, an object has no bytes, and a write has no etag. What every whole answer to an
operation holds is known, so what lacks it was cut off. botocore itself treats XML that breaks off
in the same way; both happen before an answer is parsed, since half a date cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from nightmill.errors import StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CUT_OFF: Final = "AnswerCutOff"


def repeat_cut_off(client: S3Client) -> None:
    """Let a client repeat what had half an answer, as it repeats what had none."""
    client.meta.events.register("before-parse.s3", _refuse_cut_off)


def stored_etag(client: S3Client, place: Mapping[str, Any], size: int, address: str) -> str:
    """Look at an object that was written in parts; return its etag if it has this size."""
    head = client.head_object(**place)
    found = head.get("ContentLength", size)
    if found == size:
        return head["ETag"]
    raise StoreError(
        f"{size} bytes were sent and {found} are there",
        address=address,
        operation="write",
        advice="see that nothing else writes there, then repeat",
    )


def _refuse_cut_off(operation_model: Any, response_dict: dict[str, Any], **_event: object) -> None:
    missing = _missing(operation_model, response_dict)
    if not missing:
        return
    if hasattr(response_dict["body"], "close"):  # bytes that were still to come
        response_dict["body"].close()
    message = f"the answer to {operation_model.name} came without {' and '.join(missing)}"
    error = f"<Error><Code>{CUT_OFF}</Code><Message>{message}</Message></Error>"
    response_dict |= {"status_code": HTTPStatus.BAD_GATEWAY.value, "body": error.encode()}


def _missing(operation: Any, answer: Mapping[str, Any]) -> list[str]:
    """Name what a good answer lacks, or a refusal: without its body "no such key" has no code."""
    status = answer["status_code"]
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return [what for what in _WHOLE.get(operation.name, ()) if not _IS_THERE[what](answer)]
    is_refusal = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if is_refusal and operation.http["method"] != "HEAD" and not _has_whole_body(answer):
        return ["its body"]
    return []


def _has_whole_body(answer: Mapping[str, Any]) -> bool:
    length: str = answer["headers"].get("Content-Length", "")
    return len(answer["body"]) >= int(length) if length.isdecimal() else bool(answer["body"])


def _has_etag(answer: Mapping[str, Any]) -> bool:
    etag: str = answer["headers"].get("ETag", "")
    return bool(etag) and etag.count('"') != 1


def _has_length(answer: Mapping[str, Any]) -> bool:
    length: str = answer["headers"].get("Content-Length", "")
    way: str = answer["headers"].get("Transfer-Encoding", "")
    return length.isdecimal() or way.lower() == "chunked"


# Whatever is told of an object stands before its length (in AWS) or before the date (elsewhere).
_IS_THERE: Final[Mapping[str, Callable[[Mapping[str, Any]], bool]]] = {
    "ETag": _has_etag,
    "Content-Length": _has_length,
    "Date": lambda answer: "Date" in answer["headers"],
    "a body": lambda answer: bool(answer["body"]),
}

_WHOLE: Final[Mapping[str, tuple[str, ...]]] = {
    "GetObject": ("ETag", "Content-Length", "Date"),
    "HeadObject": ("ETag", "Content-Length", "Date"),
    "PutObject": ("ETag",),
    "UploadPart": ("ETag",),
    "CopyObject": ("a body",),
    "UploadPartCopy": ("a body",),
    "CreateMultipartUpload": ("a body",),
    "CompleteMultipartUpload": ("a body",),
    "ListObjectsV2": ("a body",),
    "ListMultipartUploads": ("a body",),
}
