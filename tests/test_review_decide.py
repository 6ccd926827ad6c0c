"""Decisions about what is held, and notes: who may, what happens, and what is shown of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from urllib.parse import urlencode

import pytest

from nightmill.review.access import TokenAccess
from nightmill.spec.record import CheckState, Decision, Record, Review
from nightmill.store import notes
from nightmill.store.history import prefix_of
from nightmill.store.index import Index
from nightmill.store.keys import data_prefix, notes_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import read_pointer
from tests.review_client import Viewer, open_client, post, run_path
from tests.run_records import (
    DAY,
    PIPELINE,
    RUN,
    check,
    held,
    keep_code,
    later_night,
    leave,
    record_of,
)

PAGE = run_path(PIPELINE, DAY, RUN)
DECIDE = f"/decide/{PIPELINE}/{DAY}/{RUN}/score/1"
NOTES = f"/notes/{PIPELINE}/{DAY}/{RUN}"
TOKEN = "a-token-of-24-characters"
REVIEW = "review-score-1"


@pytest.fixture
def local(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


@pytest.fixture
def waiting(local):
    """Leave scores that wait for a person, with a check that warns."""
    drift = check("scores", CheckState.FAILED, check="drift", severity="warn", message="PSI 0.31")
    code = keep_code(local)
    return leave(local, held("score", code=code, checks=(check("scores"), drift)))


def read(store, record) -> Record:
    """Read a record again."""
    return Record.from_json(store.read(f"{prefix_of(record)}/record.json").data)


def current(store):
    """Name the attempt whose scores are current, if any."""
    pointer = read_pointer(store, PIPELINE, "score", DAY)
    return pointer.attempt_prefix if pointer else None


# -- what is shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [PAGE, f"{PAGE}/score/1"], ids=["run", "attempt"])
@pytest.mark.usefixtures("waiting")
def test_what_is_held_is_shown_with_what_a_person_needs_to_decide(local, page):
    """Rows, the check that warned, the comparison, and two buttons, on both pages."""
    text = re.sub(r"\s+", " ", open_client(local).get(page).text)
    assert "score</bdi> is held for review" in text
    assert '<td class="number">1,234</td>' in text
    assert "PSI 0.31" in text
    assert "1 check passed" in text
    compare = f"/compare{PAGE.removeprefix('/runs')}/score/1"
    assert f'<a href="{compare}">Compare with the last good run</a>' in text
    assert f'<form class="stack" method="post" action="{DECIDE}">' in text
    assert re.findall(r'name="verdict" value="(\w+)"', text) == ["approve", "reject"]
    assert 'name="name"' not in text


@pytest.mark.usefixtures("waiting")
def test_who_may_only_look_is_told_who_may_decide(local):
    """There is no form, but the commands for whoever has access to the store."""
    client = open_client(local, Viewer(PIPELINE))
    text = client.get(PAGE).text
    assert "You may look, but not decide." in text
    assert f"nightmill approve {RUN} --pipeline {PIPELINE}" in text
    assert '<form class="stack"' not in text
    for address in (DECIDE, NOTES):
        assert client.post(address, data={"verdict": "approve"}).status_code == 403
    assert current(local) is None


def test_what_needs_no_review_shows_none(local):
    """Neither a step without a review, nor one that failed before it could be held."""
    review = Review(required=("scores",))
    leave(local, record_of("load"))
    leave(local, record_of("score", state="failed", committed=False, review=review))
    assert open_client(local).get(f"/api{PAGE}").json()["decisions"] == []


def test_an_approval_that_was_cut_off_can_be_completed(local):
    """The page says that the commit is not finished, and one click finishes it."""
    decision = Decision(approved=True, by="Ada", at=datetime(2013, 3, 2, 9, tzinfo=UTC))
    review = Review(required=("scores",), decision=decision)
    record = leave(local, held("score", review=review))
    client = open_client(local)
    (one,) = client.get(f"/api{PAGE}").json()["decisions"]
    assert (one["verdict"], one["by"]) == ("unfinished", "Ada")
    assert "Approve again" in client.get(PAGE).text
    assert post(client, PAGE, DECIDE, verdict="approve").status_code == 303
    assert current(local) == prefix_of(record)
    assert read(local, record).committed


# -- deciding --------------------------------------------------------------------------------------


def test_an_approval_is_the_commit(local, waiting):
    """The outputs are current, the record says who, when and why, and the page shows it."""
    client = open_client(local)
    answer = post(client, PAGE, DECIDE, verdict="approve", comment="as expected\r\nafter the fair")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}#{REVIEW}")
    assert current(local) == prefix_of(waiting)
    record = read(local, waiting)
    assert record.committed
    assert (record.review.decision.approved, record.review.decision.by) == (True, "Ada")
    (one,) = client.get(f"/api{PAGE}").json()["decisions"]
    assert (one["anchor"], one["verdict"]) == (REVIEW, "approved")
    assert one["comment"] == "as expected\nafter the fair"
    text = client.get(PAGE).text
    assert f'id="{REVIEW}"' in text
    assert "Approved by <strong><bdi>Ada</bdi></strong>" in text
    assert 'name="verdict"' not in text


def test_what_is_approved_is_published_and_what_cannot_be_is_said(local):
    """Without the pipeline's file nobody knows where: the page names the command that does."""
    leave(local, held("score"))
    client = open_client(local)
    answer = post(client, PAGE, DECIDE, verdict="approve")
    text = client.get(answer.headers["location"]).text
    assert "Current; whether it is published is not known here" in text
    assert f"nightmill repair {PIPELINE}" in text


def test_the_plain_address_has_what_was_approved(local, waiting):
    """A file that is published stands at its plain address right after the approval."""
    del waiting
    client = open_client(local)
    assert post(client, PAGE, DECIDE, verdict="approve").status_code == 303
    (entry,) = local.list(f"data/{PIPELINE}/scores")
    assert local.read(entry.key).data == b"scores of runs/" + PAGE[6:].encode() + b"/score/1"


def test_a_rejection_says_why(local, waiting):
    """Without a comment nothing is done; with one, what was made is never to be current."""
    client = open_client(local)
    answer = post(client, PAGE, DECIDE, verdict="reject", comment=" ")
    assert answer.status_code == 409
    assert "<h1>A rejection needs a comment</h1>" in answer.text
    assert read(local, waiting).review.decision is None
    assert post(client, PAGE, DECIDE, verdict="reject", comment="<b>too few").status_code == 303
    facts = client.get(f"/api{PAGE}").json()
    assert (facts["state"], facts["decisions"][0]["verdict"]) == ("rejected", "rejected")
    assert "&lt;b&gt;too few" in client.get(PAGE).text
    assert current(local) is None


def test_whoever_is_second_learns_who_was_first(local, waiting):
    """A form that was open for a while changes nothing any more, and says what stands."""
    client, other = open_client(local), open_client(local)
    proof = re.search(r'name="proof" value="(\w+)"', other.get(PAGE).text)[1]
    post(client, PAGE, DECIDE, verdict="reject", comment="no")
    late = other.post(DECIDE, data={"verdict": "approve", "proof": proof})
    assert late.status_code == 409
    assert re.search(r"<h1>Ada has rejected this before, .* E[SD]T</h1>", late.text)
    assert "This was not done (score)." in late.text
    assert not read(local, waiting).committed


def test_what_a_newer_run_has_replaced_cannot_be_approved(local, waiting):
    """The page offers it no more; whoever asks all the same learns that nothing is lost."""
    newer = leave(local, later_night(record_of("score")))
    client = open_client(local)
    text = client.get(PAGE).text
    assert "<bdi>run later-1 (attempt 1)</bdi> has committed since" in text
    assert re.findall(r'name="verdict" value="(\w+)"', text) == ["reject"]
    answer = post(client, PAGE, DECIDE, verdict="approve")
    assert answer.status_code == 409
    assert "Run later-1 (attempt 1) is newer and has committed" in answer.text
    assert "nothing is lost" in answer.text
    assert current(local) == prefix_of(newer)
    assert read(local, waiting).review.decision is None


@pytest.mark.parametrize("verdict", ["", "maybe", "Approve", "approve\n"])
@pytest.mark.usefixtures("waiting")
def test_only_two_verdicts_are_known(local, verdict):
    """Anything else decides nothing."""
    answer = post(open_client(local), PAGE, DECIDE, verdict=verdict)
    assert answer.status_code == 409
    assert current(local) is None


@pytest.mark.usefixtures("waiting")
def test_a_form_without_the_pages_proof_does_nothing(local):
    """Another site cannot decide through the browser of somebody who is signed in here."""
    client = open_client(local)
    client.get(PAGE)
    assert client.post(DECIDE, data={"verdict": "approve"}).status_code == 403
    assert current(local) is None


@pytest.mark.usefixtures("waiting")
def test_an_attempt_that_is_not_there_cannot_be_decided_about(local):
    """The refusal says so, and leads to no page that is not there either."""
    client = open_client(local)
    answer = post(client, PAGE, DECIDE.replace("score/1", "score/2"), verdict="approve")
    assert answer.status_code == 404
    assert "There is no such attempt" in answer.text
    assert "Back to the run" not in answer.text


@pytest.mark.usefixtures("waiting")
def test_meanwhile_readers_have_the_version_before_or_nothing(local):
    """The page says which of both, as the pointer does."""
    text = open_client(local).get(PAGE).text
    assert "until then nothing is current of it." in text
    leave(local, record_of("score", run="before", order=1))
    text = open_client(local).get(PAGE).text
    assert "until then its readers have the version before." in text


@pytest.mark.usefixtures("waiting")
def test_what_was_approved_is_behind_only_until_it_is_published(local):
    """The address after an approval may be kept or shared: it asks the store again each time."""
    client, behind = open_client(local), f"{PAGE}?behind=1"
    assert "not published" not in client.get(behind).text  # nothing was approved
    post(client, PAGE, DECIDE, verdict="approve")
    (published,) = local.list(data_prefix(PIPELINE, "scores"))
    assert "not published" not in client.get(behind).text
    local.delete(published.key)
    assert "Current, but not published" in client.get(behind).text
    assert "not published" not in client.get(PAGE).text


# -- what was refused ------------------------------------------------------------------------------


def told(answer):
    """Return of an error page its title, the way back, and what was written."""
    title = re.search(r"<h1>(.*?)</h1>", answer.text)[1]
    back = re.search(r'href="([^"]*)">Back to the run', answer.text)
    written = re.search(r"readonly>\n(.*?)</textarea>", answer.text, re.DOTALL)
    return title, back and back[1], written and written[1]


REFUSED = {
    "no reason": (DECIDE, {"verdict": "reject", "comment": "  "}, "A rejection needs a comment"),
    "no verdict": (DECIDE, {"comment": "a <b>"}, "There is no verdict"),
    "too long": (DECIDE, {"verdict": "reject", "comment": "x" * 10_001}, "The comment has 10,001"),
    "empty": (NOTES, {"text": " "}, "The note is empty"),
    "control": (NOTES, {"text": "a\x07b"}, "The note has the control character U+0007"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("waiting")
def test_a_refused_form_says_what_is_the_matter_and_leads_back(local, case):
    """The title says it, a link leads to the place of the form, and no word is lost."""
    address, fields, expected = REFUSED[case]
    answer = post(open_client(local), PAGE, address, **fields)
    title, back, written = told(answer)
    assert answer.status_code == 409
    assert title.startswith(expected)
    assert back == f"{PAGE}#{REVIEW if address == DECIDE else 'notes'}"
    assert written == escape(fields.get("text") or fields["comment"])


@pytest.mark.parametrize(("address", "field"), [(DECIDE, "comment"), (NOTES, "text")])
@pytest.mark.usefixtures("waiting")
def test_a_form_that_is_too_old_is_told_apart_from_a_missing_right(local, address, field):
    """Nobody is told that they may not, and what they wrote is there to be copied."""
    client = open_client(local)
    client.get(PAGE)
    fields = {"proof": "of-yesterday", "verdict": "reject", field: "too few <rows>"}
    title, back, written = told(client.post(address, data=fields))
    assert title == "This page is too old"
    assert back.startswith(f"{PAGE}#")
    assert written == "too few &lt;rows&gt;"
    title, back, written = told(open_client(local, Viewer(PIPELINE)).post(address, data=fields))
    assert (title, written) == ("Not for you", "too few &lt;rows&gt;")


@pytest.mark.usefixtures("waiting")
def test_whoever_has_to_sign_in_again_comes_back_to_the_run(local):
    """Not to the address of the form, which is no page; what they wrote is shown."""
    client = open_client(local, TokenAccess(TOKEN))
    answer = client.post(NOTES, data={"text": "look at <this>"})
    assert answer.status_code == 401
    assert f'href="/sign-in?{urlencode({"next": PAGE})}">Sign in</a>' in answer.text
    assert told(answer)[2] == "look at &lt;this&gt;"


@pytest.mark.usefixtures("waiting")
def test_what_another_site_wrote_is_not_shown(local):
    """It would stand there as if whoever is signed in had written it."""
    client = open_client(local)
    header = {"sec-fetch-site": "cross-site"}
    answer = client.post(NOTES, data={"text": "call this number"}, headers=header)
    assert answer.status_code == 403
    assert "call this number" not in answer.text


@pytest.mark.usefixtures("waiting")
def test_a_form_that_is_far_too_long_still_leads_back(local):
    """It is not read, so it is not shown either."""
    title, back, written = told(post(open_client(local), PAGE, NOTES, text="x" * 200_000))
    assert (title, back, written) == ("This did not work", f"{PAGE}#notes", None)


@pytest.mark.usefixtures("waiting")
def test_the_address_of_a_form_that_is_loaded_again_leads_to_its_page(local):
    """As it stands in the browser after a refusal."""
    answer = open_client(local).get(DECIDE)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert told(answer)[1] == f"{PAGE}#{REVIEW}"


def test_the_way_back_of_a_member_leads_to_its_review(local):
    """The anchor is the one that the run's page has."""
    leave(local, held("score", member="a b"))
    client = open_client(local)
    address = f"/decide/{PIPELINE}/{DAY}/{RUN}/score/a~20b/1"
    _title, back, _written = told(post(client, PAGE, address, verdict="reject"))
    assert f'id="{back.partition("#")[2]}"' in client.get(PAGE).text


# -- by whom ---------------------------------------------------------------------------------------


def as_program(client, address, **fields):
    """Ask as a program does that has a token."""
    header = {"authorization": f"Bearer {TOKEN}"}
    return client.post(f"/api{address}", json=fields, headers=header)


@pytest.mark.usefixtures("waiting")
def test_a_program_decides_by_json_and_has_to_say_for_whom(local):
    """A token has no name: the one that is given is marked as not checked."""
    client = open_client(local, TokenAccess(TOKEN))
    nameless = as_program(client, DECIDE, verdict="approve")
    assert nameless.status_code == 409
    assert nameless.json()["error"]["advice"] == "say who decides or writes, on one line"
    answer = as_program(client, DECIDE, verdict="approve", name=" Bo ")
    assert answer.json() == {"done": True, "address": f"{PAGE}#{REVIEW}"}
    header = {"authorization": f"Bearer {TOKEN}"}
    (one,) = client.get(f"/api{PAGE}", headers=header).json()["decisions"]
    assert one["by"] == "Bo (as given)"


@pytest.mark.usefixtures("waiting")
def test_who_has_no_name_is_asked_for_one(local):
    """Both forms of the page have a field for it, with a label."""
    client = open_client(local, TokenAccess(TOKEN))
    text = client.get(PAGE, headers={"authorization": f"Bearer {TOKEN}"}).text
    fields = re.findall(r'<label for="([^"]+)">Your name</label>', text)
    assert len(fields) == 2
    assert all(f'id="{field}" name="name" required' in text for field in fields)


@pytest.mark.usefixtures("waiting")
def test_a_name_that_is_given_does_not_replace_the_one_signed_in(local):
    """Nobody decides in the name of another."""
    client = open_client(local)
    post(client, PAGE, DECIDE, verdict="approve", name="Eve")
    (one,) = client.get(f"/api{PAGE}").json()["decisions"]
    assert one["by"] == "Ada"


# -- the index and the members ---------------------------------------------------------------------


def test_lists_know_of_a_decision_at_once(local, waiting):
    """The index has the attempt as committed when the form is answered."""
    client = open_client(local)

    def standing() -> list[str]:
        return [one["state"] for one in client.get("/api/runs").json()["rows"]]

    assert standing() == ["held"]
    post(client, PAGE, DECIDE, verdict="approve")
    assert standing() == ["succeeded"]
    (line,) = Index(local).attempts(PIPELINE)
    assert (line.prefix, line.standing) == (prefix_of(waiting), "succeeded")


def test_each_member_is_decided_about_on_its_own(local):
    """A decision about one leaves the other held; open ones come first."""
    for member in ("a", "b"):
        leave(local, held("score", member=member))
    client = open_client(local)
    address = f"/decide/{PIPELINE}/{DAY}/{RUN}/score/a/1"
    answer = post(client, PAGE, address, verdict="reject", comment="no")
    assert answer.headers["location"] == f"{PAGE}#review-score~5Ba~5D-1"
    told = [(one["label"], one["verdict"]) for one in client.get(f"/api{PAGE}").json()["decisions"]]
    assert told == [("score[b]", "held"), ("score[a]", "rejected")]


# -- notes -----------------------------------------------------------------------------------------


@pytest.fixture
def noted(local):
    """Leave a run that people write about."""
    leave(local, record_of("load"))
    return open_client(local)


def test_a_note_is_kept_with_name_and_time_and_shown_as_text(noted):
    """Line breaks stay, markup and links are text, and the answer leads to the note."""
    text = "See https://example.org/x\r\n<img src=x onerror=alert(1)>"
    for number in (1, 2):
        answer = post(noted, PAGE, NOTES, text=f"{text} {number}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}#note-{number}")
    first, second = noted.get(f"/api{PAGE}").json()["notes"]["found"]
    assert (first["by"], second["number"]) == ("Ada", 2)
    assert first["text"] == "See https://example.org/x\n<img src=x onerror=alert(1)> 1"
    shown = noted.get(PAGE).text
    assert "&lt;img src=x onerror=alert(1)&gt; 1" in shown
    assert 'href="https://example.org' not in shown
    assert '<li id="note-1">' in shown


@pytest.mark.parametrize("character", ["x", "\u591c", "\u0928", "\U0001f319"])
def test_a_note_may_have_as_many_characters_in_every_script(character, noted, local):
    """A form sends up to 12 bytes for one; one more than a note has is given back, and not lost."""
    answer = post(noted, PAGE, NOTES, text=character * 10_000)
    assert answer.status_code == 303
    assert notes.notes(local, PIPELINE, DAY, RUN).found[0].text == character * 10_000
    answer = post(noted, PAGE, NOTES, text=character * 10_001)
    assert (answer.status_code, told(answer)[2]) == (409, character * 10_001)


def test_a_form_that_is_much_too_long(noted):
    """It is not read, and whoever wrote it is told how long it may be and where their text is."""
    answer = post(noted, PAGE, NOTES, text="x" * 200_000)
    assert answer.status_code == 413
    assert "at most 10,000 characters" in answer.text
    assert "a step back in your browser" in answer.text


@pytest.mark.parametrize("text", ["", "   ", "a\x00b", "x" * 10_001])
def test_a_note_that_nobody_could_read_is_refused(noted, local, text):
    """Empty, with control characters, or too long."""
    answer = post(noted, PAGE, NOTES, text=text)
    assert answer.status_code == 409
    assert notes.notes(local, PIPELINE, DAY, RUN).found == ()


@pytest.mark.parametrize(
    "run", ["nope/x/none", f"{PIPELINE}/{DAY}/none", f"{PIPELINE}/2001-01-01/{RUN}"]
)
def test_there_is_no_note_on_a_run_that_never_was(noted, local, run):
    """Else a note could wait for a run that gets its name later."""
    before = [entry.key for entry in local.list("")]
    for fields in ({"text": "ghost"}, {"text": ""}):
        answer = post(noted, PAGE, f"/notes/{run}", **fields)
        assert answer.status_code == 404
        assert "There is no run of this name" in answer.text
    assert [entry.key for entry in local.list("")] == before


@pytest.mark.usefixtures("noted")
def test_a_run_that_no_index_knows_can_be_written_about(local):
    """A store that is older than its index, or one that lost it."""
    for entry in list(local.list("index")):
        local.delete(entry.key)
    client = open_client(local)
    assert post(client, PAGE, NOTES, text="hello").status_code == 303
    assert len(notes.notes(local, PIPELINE, DAY, RUN).found) == 1


def test_a_note_that_cannot_be_read_is_named(noted, local):
    """The others are shown."""
    place = f"{notes_prefix(PIPELINE, DAY, RUN)}/0000000000001-x.json"
    local.write(place, b"{")
    post(noted, PAGE, NOTES, text="hello")
    text = noted.get(PAGE).text
    assert local.address(place) in text
    assert "hello" in text
