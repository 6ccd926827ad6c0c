"""How a review stands, in words: the same in the log, the terminal, Airflow and a result."""

from __future__ import annotations

from datetime import UTC
from shlex import quote

from nightmill.spec.record import Decision, Record

HELD = "held for review"
REJECTED = "rejected"


def standing(record: Record) -> str:
    """Name in a few words where an attempt stands: its state, or what its review makes of it."""
    if record.is_held:
        return HELD
    return REJECTED if record.is_rejected else record.state.value


def review_line(record: Record) -> str:
    """Say on one line how the review stands, and what is to do; empty where none is needed."""
    review = record.review
    if review is None:
        return ""
    if review.decision is None:
        approve, reject = command("approve", record), command("reject", record)
        return f"{HELD}: `{approve}` makes it current, `{reject}` does not"
    told = _told(review.decision)
    if record.is_held:
        return f"{told}; its commit is not finished: `{command('approve', record)}` completes it"
    return told


def decided(decision: Decision) -> str:
    """Say who decided what, and when."""
    what = "approved" if decision.approved else "rejected"
    return f"{what} by {decision.by} at {decision.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def command(verb: str, record: Record) -> str:
    """Return what is typed to decide about this very attempt's step."""
    member = f" --member {quote(record.member)}" if record.member else ""
    return f"nightmill {verb} {quote(record.run)} --step {quote(record.step)}{member}"


def _told(decision: Decision) -> str:
    comment = " ".join(decision.comment.split())
    return f"{decided(decision)}: {comment}" if comment else decided(decision)
