"""Names that Kubernetes accepts, made from any text.

Two promises: the result is always valid, and different texts give different results. What had to be
changed or cut therefore carries a hash of the whole text.
"""

from __future__ import annotations

import hashlib
import json
import re

from nightmill.spec.problems import Fault, Faults, shown

MAX_LABEL = 63
MAX_POD_NAME = 50  # a pod's hostname holds 63: Airflow and the doctor add a random suffix

_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?", re.ASCII)
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_DNS_NAME = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*", re.ASCII)
_HASH_CHARACTERS = 10
_HASHED = re.compile(rf".*-[0-9a-f]{{{_HASH_CHARACTERS}}}", re.ASCII)


def label_value(text: str) -> str:
    """Return a label value for a text: the text itself wherever Kubernetes takes it."""
    # A text that ends like our own results is hashed too, or it could be taken for one of them.
    if len(text) <= MAX_LABEL and _LABEL.fullmatch(text) and not _HASHED.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text, flags=re.ASCII)
    return _hashed(readable, text, MAX_LABEL)


def pod_name(*parts: str) -> str:
    """Return a name for the pods of a pipeline's step, of at most `MAX_POD_NAME` characters."""
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower(), flags=re.ASCII)
    return _hashed(readable, json.dumps(parts), MAX_POD_NAME)


def _hashed(readable: str, whole: str, length: int) -> str:
    mark = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    kept = readable[: length - len(mark) - 1].strip("._-")
    return f"{kept}-{mark}" if kept else f"x-{mark}"


def check_dns_label(text: str) -> str:
    """Check the name of a namespace."""
    if len(text) > MAX_LABEL or not _DNS_LABEL.fullmatch(text):
        raise _fault(
            text, "use at most 63 of a-z, 0-9 and `-`, with a letter or digit at both ends"
        )
    return text


def check_dns_name(text: str) -> str:
    """Check the name of a secret or service account."""
    if len(text) > 253 or not _DNS_NAME.fullmatch(text):  # noqa: PLR2004 - the limit of DNS
        raise _fault(text, "use a-z, 0-9, `-` and `.`, with a letter or digit at both ends")
    return text


def check_label_key(text: str) -> str:
    """Check the key of a label or taint, such as `example.com/pool`."""
    prefix, slash, name = text.rpartition("/")
    if slash:
        check_dns_name(prefix)
    if not name or len(name) > MAX_LABEL or not _LABEL.fullmatch(name):
        raise _fault(text, "write it like nightmill.io/pool")
    return text


def check_label_value(text: str) -> str:
    """Check the value of a label or taint."""
    if len(text) > MAX_LABEL or not _LABEL.fullmatch(text):
        raise _fault(text, "use at most 63 of a-z, A-Z, 0-9, `-`, `_` and `.`")
    return text


def _fault(text: str, advice: str) -> Faults:
    return Faults([Fault(f"{shown(text)} is not a name that Kubernetes takes", advice)])
