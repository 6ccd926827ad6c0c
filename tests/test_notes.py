"""Notes on a run: only added, in their order, bounded, and one that is damaged hides no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nightmill.errors import StoreConflict, UsageError
from nightmill.store.keys import notes_prefix
from nightmill.store.notes import MOST, Note, add, make_note, notes
from nightmill.store.open import open_store
from tests.faulty_store import FaultyStore

NOON = datetime(2013, 3, 2, 12, tzinfo=UTC)
RUN = ("flights", "2013-03-01", "scheduled__2013-03-02T02:30:00+00:00.1")


@pytest.fixture
def folder(tmp_path):
    """Open an empty store in a directory, where the backend makes no difference."""
    return open_store("store", base=tmp_path)


def note(text: str, minute: int = 0) -> Note:
    """Make a note of ann's."""
    return make_note(by="ann", text=text, at=NOON + timedelta(minutes=minute))


def test_notes_are_read_oldest_first(store):
    """Whoever wrote first stands first, and each run has its own."""
    assert notes(store, *RUN).found == ()
    for text, minute in (("second", 1), ("third", 2), ("first", 0)):
        add(store, *RUN, note(text, minute))
    add(store, *RUN[:2], "another", note("elsewhere"))
    found = notes(store, *RUN)
    assert [(one.by, one.text) for one in found.found] == [
        ("ann", "first"),
        ("ann", "second"),
        ("ann", "third"),
    ]
    assert found.found[2].at == NOON + timedelta(minutes=2)
    assert found.damaged == ()


def test_two_notes_of_one_moment_are_both_kept(folder):
    """Nothing is overwritten, not even by the same words at the same time."""
    for _ in range(2):
        add(folder, *RUN, note("same"))
    assert [one.text for one in notes(folder, *RUN).found] == ["same", "same"]


def test_a_damaged_note_is_named(folder):
    """The others are read all the same."""
    add(folder, *RUN, note("good"))
    key = f"{notes_prefix(*RUN)}/0000000000000-bad.json"
    folder.write(key, b'{"by": "eve"')
    found = notes(folder, *RUN)
    assert [one.text for one in found.found] == ["good"]
    assert found.damaged == (folder.address(key),)


def test_a_run_has_so_many_notes_at_most(folder):
    """One too many is refused, so a page can show them all; of more than that it reads no more."""
    for number in range(MOST):
        folder.write(f"{notes_prefix(*RUN)}/{number:013}-0.json", note(str(number)).to_json())
    with pytest.raises(UsageError, match="200 notes already"):
        add(folder, *RUN, note("one more"))
    folder.write(f"{notes_prefix(*RUN)}/{MOST:013}-0.json", note("by hand").to_json())
    assert len(notes(folder, *RUN).found) == MOST


def test_a_lost_reply_adds_one_note(folder):
    """A write that took effect, and was answered by a conflict, is no error and no second note."""
    add(folder, *RUN, note("first"))

    class Unlucky(FaultyStore):
        def write_if(self, key: str, data: bytes, *, etag: str | None) -> str:
            self.store.write_if(key, data, etag=etag)
            raise StoreConflict("somebody was faster", address=key, operation="write")

    add(Unlucky(folder), *RUN, note("second", 1))
    assert [one.text for one in notes(folder, *RUN).found] == ["first", "second"]


def test_a_note_is_kept_as_text():
    """Blanks around it go, Windows' line breaks become plain ones, and the time is UTC."""
    at = datetime(2013, 3, 2, 7, tzinfo=timezone(timedelta(hours=-5)))
    made = make_note(by=" Ann ", text=" a\r\nb \n", at=at)
    assert (made.by, made.text, made.at.isoformat()) == ("Ann", "a\nb", "2013-03-02T12:00:00+00:00")
    assert abs(make_note(by="a", text="b").at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("by", "text", "problem"),
    [
        ("", "text", "nobody is named"),
        ("ann", "", "the note is empty"),
        ("ann", "\r\n", "the note is empty"),
        ("ann", "x" * 10_001, "10,001 characters, at most 10,000"),
        ("ann", "a\x07", r"control character U\+0007"),
    ],
)
def test_a_note_nobody_could_read_is_refused(by, text, problem):
    """It has a writer, words, and an end."""
    with pytest.raises(UsageError, match=problem):
        make_note(by=by, text=text)
