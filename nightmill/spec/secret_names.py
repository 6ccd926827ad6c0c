"""Tells values that must not stand in a file, a manifest or a record from those that may.

A manifest is kept by Airflow's database, the cluster's etcd and everybody's terminal, and a record
by everybody's store, so secrets go by reference only. Known by its name a secret is here, known by
its looks in `secret_shapes`.
"""

from __future__ import annotations

import re

from nightmill.spec.secret_shapes import holds_token

DECLARED = "NIGHTMILL_SECRETS"
"""The variable that names the secrets among the others, see `names_declared`."""

_NAMES = re.compile(
    r"SECRET|PASSW|PASSPHRASE|CREDENTIAL|(^|_)(TOKEN|PASS|DSN)(_|$)|_PWD(_|$)"
    r"|(API|ACCESS|ACCOUNT|SHARED|SIGNING|ENCRYPTION|PRIVATE|FERNET)_?KEY",
    re.IGNORECASE,
)
_NAMES_OF_PLACES = re.compile(
    r"_(FILE|PATH|DIR|NAME|ARN|URL|URI|ENDPOINT|TTL|TIMEOUT)$", re.IGNORECASE
)
_FILES = re.compile(r"_(FILE|PATH)$", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Say whether a variable of this name usually holds a secret."""
    if name == DECLARED or _NAMES_OF_PLACES.search(name):
        return False
    return bool(_NAMES.search(name))


def names_secret_file(name: str) -> bool:
    """Say whether a variable of this name usually says in which file a secret is."""
    return bool(_FILES.search(name)) and is_secret_name(_FILES.sub("", name))


def looks_secret(name: str, value: str) -> bool:
    """Say whether an environment variable's value is likely a secret; empty values are none."""
    return bool(value) and (is_secret_name(name) or holds_token(value))


def names_declared(text: str) -> tuple[str, ...]:
    """Read the value of $NIGHTMILL_SECRETS: names with commas between.

    A name ending in `*` means all that begin so, and an absolute path a folder of secret files.
    """
    return tuple(name for part in text.split(",") if (name := part.strip()))
