"""The termination message: the step's result in 4096 bytes, where Kubernetes looks for it.

Airflow reads it from the pod's status, so a result needs no sidecar and no store. The record holds
everything; this holds what fits, the largest and least needed parts left out first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "NIGHTMILL_TERMINATION_LOG"
LIMIT_BYTES = 4096
_KUBERNETES_FILE = "/dev/termination-log"
_LEFT_OUT_FIRST = ("metrics", "outputs", "line")


def write_termination_message(result: Mapping[str, Any]) -> None:
    """Write the result where the launcher asked for it, or where Kubernetes reads it."""
    place = Path(os.environ.get(VARIABLE) or _KUBERNETES_FILE)
    if VARIABLE in os.environ or place.exists():
        place.write_bytes(_fitting(result))


def _fitting(result: Mapping[str, Any]) -> bytes:
    kept = dict(result)
    for name in (*_LEFT_OUT_FIRST, None):
        # As it would be read aloud; JSON's own escape for half a character, which UTF-8 has not.
        data = json.dumps(kept, ensure_ascii=False).encode(errors="backslashreplace")
        if len(data) <= LIMIT_BYTES or name is None:
            break
        kept.pop(name, None)
    return data
