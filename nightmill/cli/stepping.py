"""An attempt as its launcher sees it: lines while it runs, a last word, an exit code.

Apart from the verb `step`, which starts the kernel before this and all below it is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal

from nightmill.cli.step_log import log_lines
from nightmill.errors import StoreError
from nightmill.spec.held import review_line
from nightmill.spec.record import Record
from nightmill.spec.result import result_of, result_of_error
from nightmill.step.attempt import Attempt
from nightmill.step.redaction import Redactor
from nightmill.step.supervisor import Listener
from nightmill.step.termination import write_termination_message


def run_attempt(one: Attempt, tell: Listener, *, die_with_stdin: bool) -> int:
    """Run the attempt and tell how it ended; return the exit code.

    Raises what `Attempt.execute` raises.
    """
    try:
        record = one.execute(die_with_stdin=die_with_stdin)
    except StoreError as error:  # no record could be kept; this tells
        error.exit_code = error.cause.exit_code
        write_termination_message(Redactor.of(os.environ).tree(result_of_error(error)))
        raise
    write_termination_message(result_of(record, one.record_address))
    tell(_last_event(record))
    return record.exit_code


def _last_event(record: Record) -> dict[str, Any]:
    return {
        "event": "step_ended",
        "state": record.state.value,
        "cause": record.failure.cause.value if record.failure else None,
        "message": record.failure.message if record.failure else None,
        "cell": record.failure.cell if record.failure else None,
        "duration_s": record.duration_s,
        "peak_bytes": record.memory.peak_bytes if record.memory else None,
        "notebook": record.notebook,
        "review": review_line(record),
        "outputs": {name: output.address for name, output in record.outputs.items()},
    }


def teller(log_format: Literal["text", "json"]) -> Listener:
    """Return a listener that writes whole lines at once, and goes on when nobody reads."""
    lines_of = _json_line if log_format == "json" else log_lines

    def tell(event: Mapping[str, Any]) -> None:
        if lines := lines_of(event):
            try:
                sys.stdout.write("\n".join(lines) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:  # the reader is gone; the record is what counts
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return tell


def _json_line(event: Mapping[str, Any]) -> list[str]:
    return [json.dumps(event)]
