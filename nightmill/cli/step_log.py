"""The log of a step as text: one complete line for whatever is worth a line, nothing else.

Most events are not: memory is sampled and notebooks print all the time, and both are elsewhere.
Warnings and the failure begin as whoever shows the log expects of such lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightmill.cli.terminal import address, cell_text, duration, size, transfer_text
from nightmill.spec import words


def log_lines(event: Mapping[str, Any]) -> list[str]:
    """Return the lines that an event is worth."""
    match event["event"]:
        case "cell_started":
            lines = [cell_text(event)]
        case "upload" | "download":
            lines = [transfer_text(event)]
        case "warning":
            lines = [f"{words.WARNING}{words.one_line(event['text'])}"]
        case "tail":
            lines = [f"  | {line}" for line in event["lines"]]
        case "step_ended":
            lines = _end(event)
        case _:
            lines = []
    return [words.printable(line) for line in lines]


def _end(event: Mapping[str, Any]) -> list[str]:
    figures = f"{duration(event['duration_s'])}, {size(event['peak_bytes']) or 'no kernel'}"
    notebook = address(event["notebook"] or "")
    if not event["cause"]:
        line = words.tell(f"{event['state']} ({figures})", notebook=notebook)
        return [line, *filter(None, [event["review"]])]
    line = words.tell(event["message"], notebook=notebook, cell=event["cell"])
    return [f"{event['state']} ({figures})", f"{words.ERROR}{line}"]
