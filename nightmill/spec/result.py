"""The result of a step: what whoever launched it wants to know, taken from its record.

A pod leaves it as its termination message, and a launcher that finds no pod any more makes it anew
from the record in the store; both must say the same. Its last word is the one line, so that it
stands at the end wherever a termination message is shown.
"""

from __future__ import annotations

from typing import Any

from nightmill.errors import NightmillError
from nightmill.spec import words
from nightmill.spec.held import review_line
from nightmill.spec.record import Record


def result_of(record: Record, record_address: str) -> dict[str, Any]:
    """Return what whoever launched the step wants to know of it."""
    failure = record.failure
    message = failure.message if failure else str(record.state)
    if record.is_held or record.is_rejected:
        message = review_line(record)
    cell = failure.cell if failure else None
    return {
        "state": record.state.value,
        "cause": failure.cause.value if failure else None,
        "message": words.shortened(words.one_line(message), words.MESSAGE_CHARACTERS),
        "cell": cell,
        "committed": record.committed,
        "held": record.is_held,
        "record": record_address,
        "notebook": record.notebook,
        "outputs": {name: output.address for name, output in record.outputs.items()},
        "metrics": record.metrics,
        "line": words.tell(message, notebook=record.notebook or "", cell=cell),
    }


def result_of_error(error: NightmillError) -> dict[str, Any]:
    """Return what there is to say of a step that could not even keep a record."""
    line = words.describe(error.cause, " ".join(str(error).split()))
    return {"state": "failed", "cause": error.cause.value, "message": line, "line": line}
