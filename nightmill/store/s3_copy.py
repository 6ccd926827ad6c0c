"""Copies inside S3, on conditions, and what libraries need to open its addresses by themselves.

A copy up to 5 GB could be one request, but one that outlasts any sensible timeout; so what is large
is copied in parts, and the condition is put to the request that completes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, cast

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from nightmill.store.interface import StoredFile
from nightmill.store.s3_errors import status_of
from nightmill.store.s3_settings import S3Settings

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_s3 import S3Client

_MIB = 1 << 20
_LARGE_BYTES = 256 * _MIB
_PART_BYTES = 128 * _MIB
_MAX_PARTS = 9_000
_THREADS = 8

_NOTE = "nightmill-sha256"


def noted_sha256(metadata: Mapping[str, str]) -> str | None:
    """Give the hash that a copy noted in an object's metadata."""
    return metadata.get(_NOTE)


def copy(
    client: S3Client,
    source: StoredFile,
    place: Mapping[str, Any],
    condition: Mapping[str, Any],
    *,
    extra: Mapping[str, Any],
) -> None:
    """Copy an object (its full key) to a place of the same bucket, if the condition holds there.

    The source must still have its etag; or its bytes, since a store that was copied to another
    place has other etags. `extra` goes with what is written.
    """
    try:
        _copy(client, source, place, condition, extra)
    except ClientError as error:
        is_refused = status_of(error) == HTTPStatus.PRECONDITION_FAILED
        etag = _other_etag(client, source, place["Bucket"]) if is_refused else None
        if etag is None:
            raise
        _copy(client, replace(source, etag=etag), place, condition, extra)


def _copy(
    client: S3Client,
    source: StoredFile,
    place: Mapping[str, Any],
    condition: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> None:
    new: dict[str, Any] = {**place, **extra, "Metadata": {_NOTE: source.sha256}}
    origin: dict[str, Any] = {
        "CopySource": {"Bucket": place["Bucket"], "Key": source.key},
        "CopySourceIfMatch": source.etag,
    }
    if source.size <= _LARGE_BYTES:
        # Tags are replaced, by none: to copy them would need one more right.
        replaced: dict[str, Any] = {"MetadataDirective": "REPLACE", "TaggingDirective": "REPLACE"}
        client.copy_object(**origin, **new, **replaced, **condition)
        return
    upload: dict[str, Any] = {
        **place,
        "UploadId": client.create_multipart_upload(**new)["UploadId"],
    }
    try:
        parts = _copy_parts(client, origin | upload, source.size)
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)
    except BaseException:
        # What went wrong first is told; gc aborts it too.
        with suppress(ClientError, BotoCoreError):
            client.abort_multipart_upload(**upload)
        raise


def _other_etag(client: S3Client, source: StoredFile, bucket: str) -> str | None:
    """Return the etag that the stored bytes have now; None if that is the old, or they are gone.

    They are fetched, and stay neither in memory nor on a disk.
    """
    with suppress(ClientError):
        head = client.head_object(Bucket=bucket, Key=source.key)
        if head["ETag"] != source.etag and head["ContentLength"] == source.size:
            found = _Hash()
            config = TransferConfig(max_concurrency=_THREADS, preferred_transfer_client="classic")
            client.download_fileobj(bucket, source.key, cast("IO[Any]", found), Config=config)
            return head["ETag"] if found.sha256 == source.sha256 else None
    return None


class _Hash:
    """Takes bytes in their order, and keeps only their hash."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return len(data)


def _copy_parts(client: S3Client, arguments: Mapping[str, Any], size: int) -> Any:
    step = max(_PART_BYTES, -(-size // _MAX_PARTS))

    def copy_part(begin: int) -> dict[str, Any]:
        number, end = begin // step + 1, min(begin + step, size) - 1
        part: dict[str, Any] = {"PartNumber": number, "CopySourceRange": f"bytes={begin}-{end}"}
        result = client.upload_part_copy(**arguments, **part)["CopyPartResult"]
        return {"PartNumber": number, "ETag": result["ETag"]}

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(copy_part, range(0, size, step)))


def library_options(client: S3Client, settings: S3Settings, session: Session) -> dict[str, str]:
    """Give the options of object_store that say what this client was told, and its credentials.

    The session finds these wherever AWS's tools look, and renews them.
    """
    meta, found = client.meta, session.get_credentials()
    keys = found.get_frozen_credentials() if found else None
    is_foreign = not meta.endpoint_url.rstrip("/").endswith((".amazonaws.com", ".amazonaws.com.cn"))
    by_path = (settings.addressing or ("path" if is_foreign else "auto")) == "path"
    given = {
        "aws_region": meta.region_name,
        "aws_endpoint": meta.endpoint_url if is_foreign else "",
        "aws_allow_http": "true" if meta.endpoint_url.startswith("http://") else "",
        "aws_virtual_hosted_style_request": "false" if by_path else "",
        "aws_server_side_encryption": settings.sse,
        "aws_sse_kms_key_id": settings.kms_key_id,
        "aws_conditional_put": "etag",
        "connect_timeout": "5s",
        "timeout": "60s",
        "aws_access_key_id": keys.access_key if keys else "",
        "aws_secret_access_key": keys.secret_key if keys else "",
        "aws_session_token": (keys.token or "") if keys else "",
    }
    return {name: value for name, value in given.items() if value}
