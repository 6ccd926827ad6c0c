"""Tells values that must not stand in a file or a manifest from those that may.

A manifest is kept by Airflow's database, the cluster's etcd and everybody's terminal, so secrets
go into pods by reference only.
"""

from __future__ import annotations

import re

_NAMES = re.compile(
    r"SECRET|PASSW|PASSPHRASE|CREDENTIAL|(^|_)(TOKEN|PWD|PASS|DSN)(_|$)"
    r"|(API|ACCESS|ACCOUNT|SHARED|SIGNING|ENCRYPTION|PRIVATE)_?KEY",
    re.IGNORECASE,
)
_NAMES_OF_PLACES = re.compile(
    r"_(FILE|PATH|DIR|NAME|ARN|URL|URI|ENDPOINT|TTL|TIMEOUT)$", re.IGNORECASE
)
_VALUES = re.compile(
    r"://[^/\s@]*:[^/\s@]+@"  # a URL with a password
    r"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"  # an AWS access key
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"  # a GitHub token
)


def looks_secret(name: str, value: str) -> bool:
    """Say whether an environment variable's value is likely a secret; empty values are none."""
    if not value:
        return False
    named = _NAMES.search(name) and not _NAMES_OF_PLACES.search(name)
    return bool(named or _VALUES.search(value))
