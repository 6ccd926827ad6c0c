"""What an ``s3://`` URL says: bucket, prefix, and settings in its query. Imports no boto3.

Credentials never stand in a URL: they come from the AWS environment, as for every AWS tool.

    endpoint    another S3 than Amazon's, http(s)://host:port
    region      as in AWS_REGION                          profile     as in AWS_PROFILE
    sse         AES256, aws:kms or aws:kms:dsse           kms_key_id  the key for aws:kms
    addressing  path, virtual or auto (path with an endpoint of your own)
    checksums   when_required (the default) or when_supported
    retries     how often a failed request is repeated, 0 to 10

boto3 by itself would send a checksum with every upload, and many stores that are not Amazon's
refuse that, often with a message about keys; hence `checksums=when_required`. Nightmill keeps a
SHA-256 of its own for every output either way.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from nightmill.errors import StoreError

_CHOICES = {
    "sse": ("AES256", "aws:kms", "aws:kms:dsse"),
    "addressing": ("path", "virtual", "auto"),
    "checksums": ("when_required", "when_supported"),
    "retries": tuple(str(number) for number in range(11)),
}

_CONTENT_TYPES = {
    ".json": "application/json",
    ".ipynb": "application/x-ipynb+json",
    ".parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class S3Settings:
    """Where a store in S3 is and how to speak to it; an empty text means "as AWS has it"."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    profile: str = ""
    sse: str = ""
    kms_key_id: str = ""
    addressing: str = ""
    checksums: str = "when_required"
    retries: int = 3  # an endpoint that is not there: 4 connects of 5 s, pauses of 7 s at most

    @classmethod
    def parse(cls, url: str) -> S3Settings:
        """Read an ``s3://`` URL; StoreError says which part is wrong."""
        parts = urlsplit(url)
        address = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if "@" in parts.netloc:
            raise _wrong(address, "a store's URL holds no credentials", _CREDENTIALS)
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
            problem = f"{parts.netloc!r} is no bucket name"
            raise _wrong(
                address, problem, "write s3://bucket/prefix; buckets have 3 to 63 of a-z0-9.-"
            )
        if parts.fragment:
            raise _wrong(address, "a store's URL has no #", "rename the prefix")
        given: dict[str, Any] = _query(address, parts.query)
        if "retries" in given:
            given["retries"] = int(given["retries"])
        return cls(bucket=parts.netloc, prefix=parts.path.strip("/"), **given)

    @property
    def address(self) -> str:
        """Bucket and prefix as people write them."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def url(self) -> str:
        """The address with all settings that are not the defaults: `parse` reads it back."""
        chosen = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name in _OPTIONS and getattr(self, field.name) != field.default
        }
        return f"{self.address}?{urlencode(chosen, safe=':/')}" if chosen else self.address

    def upload_options(self, key: str) -> dict[str, str]:
        """Give what goes with every upload: encryption, and what the object is."""
        given = {
            "ServerSideEncryption": self.sse,
            "SSEKMSKeyId": self.kms_key_id,
            "ContentType": _CONTENT_TYPES.get(PurePosixPath(key).suffix, ""),
        }
        return {name: value for name, value in given.items() if value}


_OPTIONS = tuple(field.name for field in fields(S3Settings))[2:]
_CREDENTIALS = (
    "give them by the AWS environment (a role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY), and change a secret that was written into a URL"
)


def _query(address: str, query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        # Values are shown of known settings only: what is unknown may be a secret.
        if name not in _OPTIONS:
            raise _wrong(address, f"unknown setting {name!r}", _suggestion(name))
        if name in given:
            raise _wrong(address, f"setting {name!r} is given twice", "keep one of them")
        choices = _CHOICES.get(name)
        if choices and value not in choices:
            problem = f"setting {name!r} cannot be {value!r}"
            raise _wrong(address, problem, f"use one of: {', '.join(choices)}")
        given[name] = value
    _check_together(address, given)
    return given


def _check_together(address: str, given: dict[str, str]) -> None:
    endpoint = given.get("endpoint")
    if endpoint is not None and "@" in endpoint:
        raise _wrong(address, "an endpoint holds no credentials", _CREDENTIALS)
    if endpoint is not None and not re.fullmatch(r"https?://[^/?#\s]+/?", endpoint):
        problem = f"setting 'endpoint' cannot be {endpoint!r}"
        raise _wrong(address, problem, "write http://host:port or https://host")
    if "kms_key_id" in given and not given.get("sse", "").startswith("aws:kms"):
        raise _wrong(address, "setting 'kms_key_id' needs 'sse'", "add sse=aws:kms")


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), _OPTIONS, n=1)
    known = f"settings are: {', '.join(_OPTIONS)}"
    return f"did you mean {close[0]!r}? {known}" if close else f"{known}; {_CREDENTIALS}"


def _wrong(address: str, problem: str, advice: str) -> StoreError:
    return StoreError(problem, address=address, operation="open", advice=advice)
