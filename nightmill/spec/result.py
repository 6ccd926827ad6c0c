"""The result of a step: what whoever launched it wants to know, taken from its record.

A pod leaves it as its termination message, and a launcher that finds no pod any more makes it anew
from the record in the store; both must say the same.
"""

from __future__ import annotations

from typing import Any

from nightmill.spec.record import Record

_MESSAGE_CHARACTERS = 500


def result_of(record: Record, record_address: str) -> dict[str, Any]:
    """Return what whoever launched the step wants to know of it."""
    message = record.failure.message if record.failure else str(record.state)
    return {
        "state": record.state.value,
        "cause": record.failure.cause.value if record.failure else None,
        "message": message[:_MESSAGE_CHARACTERS],
        "committed": record.committed,
        "record": record_address,
        "notebook": record.notebook,
        "outputs": {name: output.address for name, output in record.outputs.items()},
        "metrics": record.metrics,
    }
