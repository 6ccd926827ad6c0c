"""Notes on a run: shown on its page as plain text, added by a form there."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AwareDatetime
from starlette.exceptions import HTTPException

from nightmill.review.pages.fact import Fact
from nightmill.review.pages.live import lines_of_run
from nightmill.review.views import RUN, Action
from nightmill.review.visit import Visit
from nightmill.spec.record import Record
from nightmill.spec.remarks import NAME_CHARACTERS, TEXT_CHARACTERS, checked_name
from nightmill.store import notes
from nightmill.store.history import records_below

AS_GIVEN = " (as given)"
"""Marks a name that somebody typed: nobody has checked that it is theirs."""


class NoteFact(Fact):
    """What somebody wrote, and when; `number` counts from 1."""

    number: int
    by: str
    at: AwareDatetime
    text: str


class NotesView(Fact):
    """The notes on a run, the oldest first, and whether whoever looks may add one."""

    found: tuple[NoteFact, ...]
    damaged: tuple[str, ...]
    action: str
    may_act: bool
    asks_name: bool
    most_characters: int = TEXT_CHARACTERS


def notes_of_run(visit: Visit, record: Record) -> NotesView:
    """Read the notes on the run that the address names, by a record of it."""
    read = notes.notes(visit.site.store, record.pipeline, record.partition, record.run)
    return NotesView(
        found=tuple(
            NoteFact(number=number, **note.model_dump())
            for number, note in enumerate(read.found, 1)
        ),
        damaged=read.damaged,
        action=visit.links.attempt("notes", visit.prefix),
        may_act=visit.may_act(visit.name("pipeline")),
        asks_name=not visit.user.name,
    )


def who(visit: Visit, form: Mapping[str, str]) -> str:
    """Name whoever acts: as they are signed in, else as they say; raises UsageError for nobody."""
    if visit.user.name:
        return visit.user.name
    return checked_name(form.get("name", ""))[: NAME_CHARACTERS - len(AS_GIVEN)] + AS_GIVEN


def _add(visit: Visit, form: Mapping[str, str]) -> str:
    """Keep a note; return where it is to be seen."""
    store, names = visit.site.store, _names(visit)
    note = notes.make_note(by=who(visit, form), text=form.get("text", ""))
    notes.add(store, *names, note)
    count = len(notes.notes(store, *names).found)
    return f"{visit.links.run(visit.prefix)}#note-{count}"


def _names(visit: Visit) -> tuple[str, str, str]:
    """Name the run in full: an address holds only the beginning of a long name.

    Raises HTTPException where there is no run: else somebody could write ahead of its name.
    """
    for line in lines_of_run(visit):
        return line.pipeline, line.partition, line.run
    for record in records_below(visit.site.store, visit.prefix).records:  # no index yet
        return record.pipeline, record.partition, record.run
    raise HTTPException(404, "There is no run of this name to write about.")


ROUTES = (Action(f"/notes/{RUN}", _add),)
