"""Turns what botocore raises into StoreErrors: what was refused, where, and what to do.

One table for the codes that S3 answers with, one for the ways a request can fail to get there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from boto3.exceptions import Boto3Error
from botocore import exceptions as aws
from botocore.exceptions import BotoCoreError, ClientError

from nightmill.errors import StoreConflict, StoreError
from nightmill.store.s3_answers import CUT_OFF
from nightmill.store.s3_settings import S3Settings

_RIGHTS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}

_REGION = "set region=... in the store's URL, or AWS_REGION, to the bucket's region"
_BUSY = "the store was busy for several tries: wait and repeat, or raise retries=..."
_KEYS = "check the credentials of the AWS environment (role, AWS_PROFILE, AWS_ACCESS_KEY_ID)"

_NETWORK = "see that the address and port are right, the server is up, and no firewall is between"

_CODES: Final[dict[str, tuple[str, str]]] = {
    "NoSuchBucket": ("there is no such bucket", "create the bucket, or correct its name"),
    "NoSuchKey": ("there is no such object", "see that it was committed and not deleted"),
    "404": ("there is no such object", "see that the bucket exists and the object was committed"),
    "PermanentRedirect": ("the bucket is in another region", _REGION),
    "301": ("the bucket is in another region", _REGION),
    "AuthorizationHeaderMalformed": ("the request was signed for another region", _REGION),
    "IllegalLocationConstraintException": ("the bucket is in another region", _REGION),
    "InvalidAccessKeyId": ("the access key is unknown there", _KEYS),
    "SignatureDoesNotMatch": (
        "the signature does not match",
        f"{_KEYS}; if they are right, a proxy may alter requests",
    ),
    "ExpiredToken": (
        "the credentials have expired",
        "renew them, or use a role that renews itself",
    ),
    "InvalidToken": ("the session token is not valid", _KEYS),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set the clock (NTP)"),
    "KeyTooLongError": ("the key is too long", "shorten the names, or the store's prefix"),
    "SlowDown": ("the store asks to slow down", _BUSY),
    "ServiceUnavailable": ("the store is unavailable", _BUSY),
    "InternalError": ("the store failed inside", f"{_BUSY}; with sse=..., see that it has keys"),
    CUT_OFF: ("the store's answers were cut off for several tries", _NETWORK),
    "QuotaExceeded": ("the store's quota is used up", "make room, or raise the quota"),
}

# The first class that fits decides, so the special stand before the general.
_FAILURES: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (aws.NoCredentialsError, "there are no credentials", _KEYS),
    (aws.PartialCredentialsError, "the credentials are incomplete", _KEYS),
    (aws.CredentialRetrievalError, "the credentials could not be fetched", _KEYS),
    (aws.ProfileNotFound, "there is no such AWS profile", "correct profile=... or AWS_PROFILE"),
    (aws.NoRegionError, "no region is set", _REGION),
    (
        aws.SSLError,
        "the TLS connection failed",
        "see that the endpoint speaks https, and set AWS_CA_BUNDLE to its authority's certificate",
    ),
    (aws.ConnectionError, "the endpoint does not answer", _NETWORK),
    (aws.HTTPClientError, "the endpoint does not answer", _NETWORK),
    (
        aws.FlexibleChecksumError,
        "the bytes do not match the store's checksum",
        "repeat; if it stays so, the object is damaged: run its step again",
    ),
)


@contextmanager
def translated(settings: S3Settings, operation: str, address: str) -> Iterator[None]:
    """Raise StoreError, or StoreConflict, for whatever botocore raises inside."""
    try:
        yield
    except ClientError as error:
        raise _answered(error, settings, operation, address) from error
    except (BotoCoreError, Boto3Error) as error:
        raise _unanswered(error, settings, operation, address) from error


def status_of(error: ClientError) -> int:
    """Give the HTTP status of an answer."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _answered(error: ClientError, settings: S3Settings, operation: str, address: str) -> StoreError:
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "")
    if operation == "write_if" and status_of(error) in {404, 409, 412} and code != "NoSuchBucket":
        return StoreConflict(
            "the object is not what this writer last saw",
            address=address,
            operation=operation,
            advice="read it again before writing",
        )
    problem, advice = _CODES.get(code) or _refused(error, message)
    if hint := _checksum_hint(error, settings, message):
        advice = hint
    said = f"{code}: {message}".strip(": ")
    return StoreError(f"{problem} ({said})", address=address, operation=operation, advice=advice)


def _refused(error: ClientError, message: str) -> tuple[str, str]:
    if status_of(error) not in {401, 403}:
        return f"the store refused {error.operation_name}", "see what the store said, and its log"
    right = _RIGHTS.get(error.operation_name, error.operation_name)
    if "kms" in message.lower():
        right = "kms:Decrypt" if right == "s3:GetObject" else "kms:GenerateDataKey and kms:Decrypt"
    advice = f"grant {right} here to the identity that runs Nightmill"
    if right == "s3:GetObject":
        advice += ", and s3:ListBucket: without it a missing object looks forbidden, too"
    return f"the right {right} is missing", advice


def _checksum_hint(error: ClientError, settings: S3Settings, message: str) -> str:
    """Suspect the checksums, whatever the store says: some answer "unauthorized" to them."""
    is_upload = _RIGHTS.get(error.operation_name) == "s3:PutObject"
    if not is_upload or status_of(error) not in {400, 401, 403, 501}:
        return ""
    if settings.checksums == "when_supported":
        return (
            "this store may refuse the checksums that checksums=when_supported sends: try "
            "checksums=when_required. If that changes nothing, check credentials and rights"
        )
    if "checksum" in message.lower() or "content-md5" in message.lower():
        return "this bucket demands checksums: set checksums=when_supported"
    return ""


def _unanswered(
    error: BotoCoreError | Boto3Error, settings: S3Settings, operation: str, address: str
) -> StoreError:
    problem, advice = "the request failed", "see the message, and the store's log"
    for kind, known_problem, known_advice in _FAILURES:
        if isinstance(error, kind):
            problem, advice = known_problem, known_advice
            break
    endpoint = f" at {settings.endpoint}" if settings.endpoint else ""
    said = " ".join(str(error).split())
    return StoreError(
        f"{problem}{endpoint} ({said})", address=address, operation=operation, advice=advice
    )
