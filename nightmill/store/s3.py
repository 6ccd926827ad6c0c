"""The store in Amazon S3 and its likes, by boto3; `open_store` imports this only when needed.

No ACL is ever sent, so the identity needs no right to set one. Encryption settings go with every
PUT and every multipart upload. One client serves all threads and lives as long as the store, so
that credentials which expire are renewed by the SDK.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from nightmill.store.files import HashingReader, checked_download, os_errors
from nightmill.store.interface import LISTED_AT_ONCE, Blob, Entry, Moved, Remnant, Stat, StoredFile
from nightmill.store.keys import RESERVED, check_key, folder
from nightmill.store.preflight import probe
from nightmill.store.s3_answers import repeat_cut_off, stored_etag
from nightmill.store.s3_copy import copy, library_options, noted_sha256
from nightmill.store.s3_errors import translated
from nightmill.store.s3_settings import S3Settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_s3 import S3Client

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_HASTY_READ_TIMEOUT_S = 5  # with one retry, a mute endpoint is known after 11 s
_HASTY_RETRIES = 1

_MIB = 1 << 20
_PART_BYTES = 8 * _MIB
_MAX_PARTS = 9_000  # S3 allows 10,000
_THREADS = 8  # at most 8 parts in flight and 10 in memory: 80 MiB

_CUT_OFF = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)


class S3Store:
    """A store below a prefix of a bucket; `hasty` waits for an answer for seconds, not minutes."""

    def __init__(self, settings: S3Settings, *, hasty: bool = False) -> None:
        self._settings = settings
        self._retries = min(settings.retries, _HASTY_RETRIES) if hasty else settings.retries
        self._hasty = hasty
        with self._translated("open", ""):
            self._session = boto3.Session(profile_name=settings.profile or None)
            self._client = _client(self._session, settings, hasty=hasty)

    @property
    def url(self) -> str:
        """The URL with its settings; it holds no credentials."""
        return self._settings.url

    def read(self, key: str) -> Blob | None:
        """Read a small object whole; None where there is none. A missing right is an error."""
        with self._translated("read", key):
            for tries_left in range(self._retries, -1, -1):
                try:
                    answer = self._client.get_object(**self._place(key))
                except self._client.exceptions.NoSuchKey:
                    break
                try:
                    return Blob(answer["Body"].read(), answer["ETag"])
                except _CUT_OFF:  # in the middle of the bytes, where the SDK repeats nothing
                    if not tries_left:
                        raise
        return None

    def write(self, key: str, data: bytes) -> str:
        """Replace an object whole; return its etag."""
        with self._translated("write", key):
            return self._put(key, data)

    def write_if(self, key: str, data: bytes | BinaryIO, *, etag: str | None) -> str:
        """Write only if the object still has this etag (None: only if there is no object).

        A write whose answer was lost or cut off is repeated, and then refused even if it was the
        one that won: so whoever gets StoreConflict reads what is there.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with self._translated("write_if", key):
            return self._put(key, data, condition)

    def put_file(self, key: str, path: Path, *, moved: Moved | None = None) -> StoredFile:
        """Upload a file, in parallel parts where it is large; the hash is of the bytes sent.

        One request stores a small file whole or not at all, and its answer holds the etag. What is
        there of many parts is looked at.
        """
        with os_errors("read", path), path.open("rb") as file, self._translated("write", key):
            data = file.read(_PART_BYTES)
            if len(data) < _PART_BYTES:
                size, sha256 = len(data), hashlib.sha256(data).hexdigest()
                etag = self._put(key, data)
                if moved is not None:
                    moved(size)
            else:
                del data
                file.seek(0)
                size, sha256 = self._put_parts(key, file, moved)
                etag = stored_etag(self._client, self._place(key), size, self.address(key))
            return StoredFile(key, size, sha256, etag)

    def get_file(
        self, key: str, path: Path, *, sha256: str | None = None, moved: Moved | None = None
    ) -> None:
        """Download an object, in parallel parts where it is large; atomic at the path."""
        download = checked_download(path, address=self.address(key), sha256=sha256)
        with download as unfinished, self._translated("read", key):
            self._client.download_file(
                self._settings.bucket,
                self._full(key),
                str(unfinished),
                Callback=moved,
                Config=_transfer(_PART_BYTES),
            )

    def stat(self, key: str) -> Stat | None:
        """Ask for an object's etag, and for the hash that a copy of ours has noted."""
        with self._translated("read", key):
            try:
                head = self._client.head_object(**self._place(key))
            except self._client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND:
                    return None
                raise
        return Stat(head["ETag"], noted_sha256(head["Metadata"]))

    def copy_if(self, key: str, source: StoredFile, *, etag: str | None) -> None:
        """Let S3 copy a stored file, if both it and what is at the key are unchanged."""
        full = replace(source, key=self._full(source.key))
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with self._translated("write_if", key):
            client = self._client
            if self._hasty:  # a copy takes its time
                client = _client(self._session, self._settings, hasty=False)
            extra = self._settings.upload_options(key)
            copy(client, full, self._place(key), condition, extra=extra)

    def list(
        self, prefix: str, *, start_after: str = "", at_once: int = LISTED_AT_ONCE
    ) -> Iterator[Entry]:
        """List all objects below a prefix, so many at a request, in the order S3 has them."""
        beginning = self._root() + folder(prefix)
        resume: dict[str, Any] = {"StartAfter": self._root() + start_after} if start_after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._settings.bucket,
            Prefix=beginning,
            PaginationConfig={"PageSize": at_once},
            **resume,
        )
        with self._translated("list", prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._root())
                    yield Entry(key, item["Size"], item["LastModified"])

    def children(self, prefix: str) -> Sequence[str]:
        """Name what comes next below a prefix, sorted."""
        beginning = self._root() + folder(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._settings.bucket, Prefix=beginning, Delimiter="/"
        )
        names: set[str] = set()
        with self._translated("list", prefix):
            for page in pages:
                found = [item["Key"] for item in page.get("Contents", [])]
                found += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
                names |= {key.removeprefix(beginning).rstrip("/") for key in found}
        # A prefix made in a web console is an object that ends in the slash: it names no child.
        return sorted(names - {""})

    def address(self, key: str) -> str:
        """Give the ``s3://bucket/key`` of an object."""
        return f"s3://{self._settings.bucket}/{self._full(key)}"

    def library_options(self) -> Mapping[str, str]:
        """Give endpoint, region, encryption and the credentials that this store uses now."""
        with self._translated("open", ""):
            return library_options(self._client, self._settings, self._session)

    def local_path(self, key: str) -> Path | None:
        """Give None: nothing in S3 lies on this machine."""
        check_key(key)
        return None

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with self._translated("delete", key):
            self._client.delete_object(**self._place(key))

    def remnants(self) -> Iterator[Remnant]:
        """List multipart uploads that were not completed, of unknown size, and lost probes."""
        uploads = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._settings.bucket, Prefix=self._root()
        )
        with self._translated("list", ""):
            for page in uploads:
                for item in page.get("Uploads", []):
                    key = item["Key"].removeprefix(self._root())
                    yield Remnant(key, item["Initiated"], upload=item["UploadId"])
        for entry in self.list(RESERVED):
            yield Remnant(entry.key, entry.modified, entry.size)

    def discard(self, remnant: Remnant) -> None:
        """Abort a multipart upload, and so free its parts; delete a probe."""
        if not remnant.upload:
            self.delete(remnant.key)
            return
        with self._translated("abort", remnant.key), suppress(self._client.exceptions.NoSuchUpload):
            self._client.abort_multipart_upload(
                Bucket=self._settings.bucket,
                Key=self._root() + remnant.key,
                UploadId=remnant.upload,
            )

    def preflight(self) -> None:
        """Try every right that is needed on a small probe, with little patience."""
        probe(S3Store(self._settings, hasty=True))

    def _root(self) -> str:
        return f"{self._settings.prefix}/" if self._settings.prefix else ""

    def _full(self, key: str) -> str:
        return self._root() + check_key(key)

    def _place(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._settings.bucket, "Key": self._full(key)}

    def _put(
        self, key: str, data: bytes | BinaryIO, condition: dict[str, Any] | None = None
    ) -> str:
        arguments = self._place(key) | self._settings.upload_options(key) | (condition or {})
        return self._client.put_object(Body=data, **arguments)["ETag"]

    def _put_parts(self, key: str, file: BinaryIO, moved: Moved | None) -> tuple[int, str]:
        source = HashingReader(file)
        part = max(_PART_BYTES, math.ceil(os.fstat(file.fileno()).st_size / _MAX_PARTS))
        self._client.upload_fileobj(
            cast("IO[bytes]", source),  # boto3 asks only for read()
            self._settings.bucket,
            self._full(key),
            ExtraArgs=self._settings.upload_options(key),
            Callback=moved,
            Config=_transfer(part),
        )
        return source.size, source.sha256

    def _translated(self, operation: str, key: str) -> AbstractContextManager[None]:
        address = f"{self._settings.address}/{key}".rstrip("/")
        return translated(self._settings, operation, address)


def _client(session: boto3.Session, settings: S3Settings, *, hasty: bool) -> S3Client:
    retries = min(settings.retries, _HASTY_RETRIES) if hasty else settings.retries
    endpoint = settings.endpoint or None
    foreign = (
        endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    )
    options: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _HASTY_READ_TIMEOUT_S if hasty else _READ_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": retries + 1},
        "max_pool_connections": 4 * _THREADS,
        "request_checksum_calculation": settings.checksums,
        "response_checksum_validation": settings.checksums,
        "s3": {"addressing_style": settings.addressing or ("path" if foreign else "auto")},
        "user_agent_extra": "nightmill",
    }
    config = Config(**options)
    region = settings.region or None
    client = session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    repeat_cut_off(client)
    return client


def _transfer(part_bytes: int) -> TransferConfig:
    return TransferConfig(
        multipart_threshold=part_bytes,
        multipart_chunksize=part_bytes,
        max_concurrency=_THREADS,
        preferred_transfer_client="classic",  # the same code on every machine, with awscrt or not
    )
