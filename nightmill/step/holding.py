"""Whether an attempt waits for a person's approval instead of committing by itself.

A replay never does: it commits to a store of its own that nobody else reads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from nightmill.spec.outputs import OutputSpec, reviewed

UNREVIEWED = "NIGHTMILL_UNREVIEWED"
"""The variable by which a replay tells its step that nobody is going to be asked."""


def held_by(outputs: Mapping[str, OutputSpec]) -> tuple[str, ...]:
    """Name the outputs for which the attempt is held; empty where it may commit."""
    return () if os.environ.get(UNREVIEWED) else reviewed(outputs)
