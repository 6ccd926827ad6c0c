"""What people write about runs, decisions and notes: bounded, and nothing that is not text.

They come from a form, a command line or Airflow, and are shown to others for as long as the store
is kept. So a name is one visible line, and a text has line breaks and tabs at most.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from nightmill.errors import UsageError
from nightmill.spec.problems import shown
from nightmill.spec.record import Decision

NAME_CHARACTERS = 200
TEXT_CHARACTERS = 10_000

_REFUSED = ("Cc", "Cs")  # Unicode's control characters, and halves of characters
_REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def checked_name(name: str) -> str:
    """Return the name of a person, without blanks around it; raises UsageError for none."""
    name = name.strip()
    if not name or not name.isprintable():
        raise UsageError(
            f"{shown(name)} is no name" if name else "nobody is named",
            advice="say who decides or writes, on one line",
        )
    return _bounded(name, NAME_CHARACTERS, "the name")


def checked_text(text: str, *, what: str) -> str:
    """Return a text with plain line breaks, without blanks around it; it may be empty.

    Raises UsageError for one that is too long, or has control characters.
    """
    text = text.replace("\r\n", "\n").strip()
    wrong = next(filter(_is_refused, text), "")
    if wrong:
        problem = f"{what} has the control character U+{ord(wrong):04X}"
        raise UsageError(problem, advice="write plain text")
    return _bounded(text, TEXT_CHARACTERS, what)


def tidied(text: str, most: int = TEXT_CHARACTERS) -> str:
    """Return what can be kept of a text that its writer cannot be asked about again."""
    kept = "".join(" " if _is_refused(one) else one for one in text.replace("\r\n", "\n"))
    return kept.strip()[:most]


def make_decision(
    *, approved: bool, by: str, comment: str = "", at: datetime | None = None
) -> Decision:
    """Make somebody's decision, now by default; a rejection has to say why. Raises UsageError."""
    comment = checked_text(comment, what="the comment")
    if not (approved or comment):
        raise UsageError("a rejection needs a comment", advice="say what is wrong with the outputs")
    moment = datetime.now(UTC) if at is None else at.astimezone(UTC)
    return Decision(approved=approved, by=checked_name(by), at=moment, comment=comment)


def _is_refused(character: str) -> bool:
    is_control = unicodedata.category(character) in _REFUSED and character not in "\n\t"
    return is_control or character in _REORDERING


def _bounded(text: str, most: int, what: str) -> str:
    if len(text) > most:
        problem = f"{what} has {len(text):,} characters, at most {most:,} are kept"
        raise UsageError(problem, advice="shorten it")
    return text
