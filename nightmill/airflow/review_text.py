"""What people read before they decide in Airflow: Markdown made from the records.

Names, metrics and messages were written by notebooks: each is one line, cut, and without effect.
"""

from __future__ import annotations

from collections.abc import Iterator

from nightmill.airflow.links import notebook_link
from nightmill.airflow.review import Case
from nightmill.spec import words
from nightmill.spec.record import CheckState, Record

_MEMBERS = 20
_LINES = 30  # of metrics, of checks, of warnings
_CHARACTERS = 200
_MARKS = set("\\`*_{}[]<>()#+-.!|~&:")


def subject(case: Case) -> str:
    """Name what is to be decided, on one line."""
    first = next(iter(case.records.values()))
    outputs = ", ".join(first.review.required) if first.review else first.step
    return f"{first.pipeline} {words.one_line(first.partition)}: may {outputs} become current?"


def body(case: Case, review_url: str) -> str:
    """Tell what was made, how it was checked, and where to look."""
    lines = [
        "Approving makes the outputs current and lets the steps behind go on; rejecting skips them."
    ]
    for record in list(case.records.values())[:_MEMBERS]:
        lines += ["", *_of_attempt(record, review_url)]
    if len(case.records) > _MEMBERS:
        lines += ["", f"... and {len(case.records) - _MEMBERS} more members."]
    return "\n".join(lines)


def _of_attempt(record: Record, review_url: str) -> Iterator[str]:
    yield f"### {_plain(record.label)}, {_plain(record.partition)}"
    yield ""
    took = f", {words.span(record.duration_s)}" if record.duration_s else ""
    yield f"Run {_plain(record.run)}, attempt {record.attempt}{took}."
    link = notebook_link(record.notebook or "", review_url)
    if review_url and link:
        yield f"[Executed notebook](<{link}>)"
    elif link:
        yield f"Executed notebook: {_plain(link)}"
    yield from _outputs(record)
    yield from _checks(record)
    yield from _listed("Metrics", [f"{name} = {value}" for name, value in record.metrics.items()])
    yield from _listed("Warnings", list(record.warnings))


def _outputs(record: Record) -> Iterator[str]:
    yield from ("", "| output | rows | size |", "|---|---|---|")
    for name, output in record.outputs.items():
        rows = record.rows_of(name)
        counted = "" if rows is None else f"{rows:,}"
        yield f"| {_plain(name)} | {counted} | {words.amount(output.size)} |"


def _checks(record: Record) -> Iterator[str]:
    others = [one for one in record.checks if one.state is not CheckState.PASSED]
    if record.checks:
        passed = len(record.checks) - len(others)
        yield from ("", f"Checks: {passed} of {len(record.checks)} passed.")
    yield from _listed("", [f"{one.state}: {one.message}" for one in others])


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield from ("", *([f"{title}:"] if title else []), "")
        yield from (f"- {_plain(line)}" for line in lines[:_LINES])
    if len(lines) > _LINES:
        yield f"- ... and {len(lines) - _LINES} more"


def _plain(text: str) -> str:
    """Show text as it is, on one line, whatever marks of Markdown it has."""
    line = words.shortened(words.one_line(text), _CHARACTERS)
    return "".join(f"\\{one}" if one in _MARKS else one for one in line)
