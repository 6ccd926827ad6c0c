"""What a person decides about outputs held for review: once, for good, whole after any crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nightmill.causes import Cause
from nightmill.errors import FencedError, StoreError, UsageError
from nightmill.publish.approved import approve_and_publish
from nightmill.spec.held import review_line, standing
from nightmill.spec.record import AttemptState, Failure, Record, Review
from nightmill.spec.remarks import make_decision
from nightmill.spec.retention import Keep
from nightmill.spec.summary import Standing
from nightmill.store.amend import amend, read_record
from nightmill.store.approval import approve, reject, require_held
from nightmill.store.collect import Order, collect
from nightmill.store.decision import decide, prepare
from nightmill.store.doomed import doom
from nightmill.store.index import Index
from nightmill.store.keys import data_partition_prefix, output_key
from nightmill.store.open import open_store
from nightmill.store.pointer import Move, Token
from nightmill.store.versions import find_versions
from tests.faulty_store import Fault, FaultyStore
from tests.stored_versions import (
    DAY,
    PIPELINE,
    STEP,
    add_version,
    current,
    prefix_of,
    read_current_bytes,
    usual_files,
)

NOON = datetime(2013, 3, 2, 12, tzinfo=UTC)
HELD = {
    "state": AttemptState.SUCCEEDED,
    "failure": None,
    "review": Review(required=("scores",)),
}
YES = make_decision(approved=True, by="ann", at=NOON, comment="looks right")
NO = make_decision(approved=False, by="bob", at=NOON, comment="half of the flights are missing")


@pytest.fixture
def folder(tmp_path):
    """Open an empty store in a directory, where the backend makes no difference."""
    return open_store("store", base=tmp_path)


def hold(store, order: int = 1, attempt: int = 1, **facts: object) -> str:
    """Let an attempt leave its outputs for a review; return its prefix."""
    add_version(store, order, attempt, **({"commits": False} | HELD | facts))
    return prefix_of(order, attempt, member=str(facts.get("member", "")))


def files_below(store, prefix: str) -> dict[str, bytes]:
    """Read everything below a prefix."""
    return {entry.key: store.read(entry.key).data for entry in store.list(prefix)}


# -- the decision -------------------------------------------------------------------------------


def test_an_approval_is_the_commit(store):
    """It makes the outputs current with the attempt's own token, and says who, when and why."""
    add_version(store, 1)
    prefix = hold(store, 2)
    assert read_current_bytes(store) == usual_files(1)
    record = approve(store, prefix, YES)
    assert record == read_record(store, prefix)
    assert (record.committed, record.review.decision, record.is_held) == (True, YES, False)
    pointer = current(store)
    assert (pointer.token, pointer.attempt) == (Token(order=2, attempt=1), 1)
    (move,) = pointer.moves
    assert (move.kind, move.by, move.at, move.reason) == ("approval", "ann", NOON, "looks right")
    assert read_current_bytes(store) == usual_files(2)
    add_version(store, 3)  # an ordinary run goes on from there
    assert (current(store).run, current(store).moves) == ("run-3", ())


def test_a_rejection_changes_nothing_but_the_record(store):
    """What was current stays so; not a byte of the outputs is touched."""
    add_version(store, 1)
    prefix = hold(store, 2)
    before = files_below(store, "")
    record = reject(store, prefix, NO)
    assert (record.committed, record.review.decision) == (False, NO)
    assert (record.is_held, record.is_rejected) == (False, True)
    after = files_below(store, "")
    changed = {key for key in after if after[key] != before.get(key)}
    assert {key.split("/")[0] for key in changed} == {"runs", "index"}
    assert [key for key in changed if key.startswith("runs")] == [f"{prefix}/record.json"]
    assert before.keys() <= after.keys()


@pytest.mark.parametrize("first", [approve, reject])
@pytest.mark.parametrize("second", [approve, reject])
def test_a_decision_stands(folder, first, second):
    """Nobody decides twice; the error says who has decided, what, and when."""
    said = {approve: YES, reject: NO}
    prefix = hold(folder)
    record = first(folder, prefix, said[first])
    told = {approve: "was approved by ann", reject: "was rejected by bob"}[first]
    with pytest.raises(UsageError, match=f"{told} at 2013-03-02 12:00:00 UTC") as raised:
        second(folder, prefix, said[second])
    assert "run-1, score" in raised.value.where
    assert ("rollback" in raised.value.advice) == (first is approve)
    assert read_record(folder, prefix) == record


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"review": None, "committed": True}, "needs no review"),
        ({"review": None, "state": AttemptState.RUNNING}, "has not ended"),
        ({"state": AttemptState.FAILED, "failure": Failure(cause="store", message="gone")}, "gone"),
    ],
)
@pytest.mark.parametrize("act", [approve, reject])
def test_only_what_is_held_can_be_decided(folder, act, facts, problem):
    """An attempt that runs, failed or has committed is refused, and stays as it is."""
    prefix = hold(folder, **facts)
    before = files_below(folder, "")
    with pytest.raises(UsageError, match=problem):
        act(folder, prefix, YES)
    assert files_below(folder, "") == before


def test_an_attempt_that_is_not_there(folder):
    """A wrong address is told with the key, a damaged record as damage."""
    with pytest.raises(UsageError, match="no such attempt"):
        approve(folder, prefix_of(7), YES)
    folder.write(f"{prefix_of(8)}/record.json", b"{damaged")
    with pytest.raises(StoreError, match="no record of this version"):
        reject(folder, prefix_of(8), NO)


def test_a_newer_commit_fences_an_approval(store):
    """Nobody goes back by approving late; the decision is not written, and can be a rejection."""
    prefix = hold(store, 1)
    add_version(store, 2)
    for act in (approve, lambda *given: require_held(*given[:2])):
        with pytest.raises(FencedError, match=r"run run-2 \(attempt 1\) is newer"):
            act(store, prefix, YES)
    assert read_record(store, prefix).review.decision is None
    assert current(store).run == "run-2"
    assert reject(store, prefix, NO).is_rejected


def test_a_commit_in_the_last_moment_fences_it_as_well(folder):
    """One that comes between decision and commit leaves the attempt undecided again."""
    prefix = hold(folder, 1)

    class Overtaken(FaultyStore):
        def write_if(self, key: str, data: bytes, *, etag: str | None) -> str:
            written = folder.write_if(key, data, etag=etag)
            if key.startswith("runs") and current(folder) is None:
                add_version(folder, 2)
            return written

    with pytest.raises(FencedError, match="run-2"):
        approve(Overtaken(folder), prefix, YES)
    record = read_record(folder, prefix)
    assert (record.is_held, record.review.decision) == (True, None)
    assert read_current_bytes(folder) == usual_files(2)


def test_a_newer_attempt_of_the_run_may_be_approved_after_an_older(folder):
    """Approvals follow the order of attempts as commits do: forward, never back."""
    first, second = hold(folder, 1, 1), hold(folder, 1, 2)
    approve(folder, first, YES)
    approve(folder, second, YES)
    assert current(folder).token == Token(order=1, attempt=2)
    third, fourth = hold(folder, 2, 1), hold(folder, 2, 2)
    approve(folder, fourth, YES)
    with pytest.raises(FencedError):
        approve(folder, third, YES)


def test_damaged_outputs_are_not_approved(folder):
    """What is not there as it was made does not become current; the decision is not written."""
    prefix = hold(folder)
    key = output_key(prefix, "scores", "scores.parquet")
    folder.write(key, b"other bytes, other size")
    with pytest.raises(StoreError, match="1 of 3 files are gone or damaged"):
        approve(folder, prefix, YES)
    assert read_record(folder, prefix).review.decision is None


def test_what_is_marked_for_deletion_is_not_approved(folder):
    """A gc with other rules in mind may have marked it: then nothing is decided."""
    prefix = hold(folder)
    doom(folder, prefix, "by hand", by="test")
    with pytest.raises(FencedError, match="marked for deletion"):
        approve(folder, prefix, YES)
    assert (read_record(folder, prefix).review.decision, current(folder)) == (None, None)


# -- at once, and cut off -------------------------------------------------------------------------

PEOPLE, RACES = 4, 25


def test_of_many_who_decide_at_once_one_wins(store):
    """In each race one person's decision stands, and what is current is what it says."""
    prefixes = [hold(store, order, member=f"m{order}") for order in range(1, RACES + 1)]

    def act(case: tuple[str, int]) -> str:
        prefix, person = case
        is_yes = person % 2 == 0
        decision = make_decision(approved=is_yes, by=f"p{person}", comment="because", at=NOON)
        try:
            record = (approve if is_yes else reject)(store, prefix, decision)
        except UsageError as error:
            return error.problem
        assert record.review.decision == decision
        return f"p{person}"

    cases = [(prefix, person) for prefix in prefixes for person in range(PEOPLE)]
    with ThreadPoolExecutor(PEOPLE) as pool:
        winners = list(pool.map(act, cases))
    for number, prefix in enumerate(prefixes):
        ends = winners[number * PEOPLE : (number + 1) * PEOPLE]
        (winner,) = {end for end in ends if len(end) == len("p0")}
        assert sum(f" by {winner} at 2013-03-02" in end for end in ends) == PEOPLE - 1
        record = read_record(store, prefix)
        decision = record.review.decision
        assert decision.by == winner
        assert record.committed == decision.approved
        pointer = current(store, member=record.member)
        assert (pointer is not None) == decision.approved
        assert pointer is None or pointer.moves[0].by == winner


def trace(folder) -> list[str]:
    """List the calls to the store that an undisturbed approval makes."""
    watched = FaultyStore(folder)
    approve(watched, hold(folder, 1), YES)
    return watched.calls


def test_an_approval_that_is_cut_off_is_completed_by_repeating_it(tmp_path):
    """After an error at any call it is undecided or approved; repeated, it is committed once."""
    calls = trace(open_store("trace", base=tmp_path))
    assert len(calls) > 8
    ends = set()
    for number, call in enumerate(calls):
        for when in ("before", "after"):
            folder = open_store(f"{number}-{when}", base=tmp_path)
            prefix = hold(folder, 1)
            try:
                approve(FaultyStore(folder, Fault(call, when, "down")), prefix, YES)
            except StoreError:
                found = read_record(folder, prefix)
                assert found.review.decision in (None, YES)
                ends.add((found.review.decision, found.committed, current(folder) is None))
                with suppress(UsageError) if found.committed else nullcontext():
                    approve(folder, prefix, YES)
            record = read_record(folder, prefix)
            assert (record.committed, record.review.decision) == (True, YES)
            assert read_current_bytes(folder) == usual_files(1)
            assert len(current(folder).moves) == 1
    assert ends == {
        (None, False, True),
        (YES, False, True),
        (YES, False, False),
        (YES, True, False),
    }


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_lost_reply_is_no_conflict(folder, number):
    """A write that took effect, and was answered by a conflict, counts as what it is."""
    writes = [one for one in trace(folder) if one.startswith("write_if ")]
    keys = [one.removeprefix("write_if ").split("/")[0] for one in writes]
    assert keys == ["runs", "current", "runs"]
    call, prefix = writes[number], hold(folder, 9)
    record = approve(FaultyStore(folder, Fault(call, "after", "conflict")), prefix, YES)
    assert (record.committed, record.review.decision) == (True, YES)
    assert current(folder).run == "run-9"


def test_somebody_elses_approval_is_completed_and_told(folder):
    """Who comes after a crash finishes the commit, and learns that it was decided already."""
    prefix = hold(folder)
    record = read_record(folder, prefix)
    review = Review(required=("scores",), decision=YES)
    cut_off = record.model_copy(update={"review": review})
    folder.write(f"{prefix}/record.json", cut_off.to_json())
    assert (cut_off.is_held, Standing.of(cut_off)) == (True, Standing.HELD)
    assert "its commit is not finished: `nightmill approve run-1 --step" in review_line(cut_off)
    with pytest.raises(UsageError, match="was approved by ann") as raised:
        reject(folder, prefix, NO)
    assert "nightmill approve run-1 --step score" in raised.value.advice
    other = make_decision(approved=True, by="eve", at=NOON)
    with pytest.raises(UsageError, match="was approved by ann"):
        approve(folder, prefix, other)
    assert read_record(folder, prefix) == cut_off.model_copy(update={"committed": True})
    assert current(folder).moves[0].by == "ann"


def test_amending_completes_the_record_of_what_is_current(folder):
    """A crash between pointer and record is mended from outside, without a word of amendment."""
    prefix = hold(folder)
    whole = approve(folder, prefix, YES)
    cut_off = whole.model_copy(update={"committed": False})
    folder.write(f"{prefix}/record.json", cut_off.to_json())
    failure = Failure(cause=Cause.TERMINATED, message="gone")
    assert amend(folder, prefix, failure, by="test") == whole
    assert read_record(folder, prefix) == whole


# -- what others make of it -----------------------------------------------------------------------


@pytest.mark.parametrize("decision", [None, NO])
def test_amending_leaves_a_held_attempt_alone(folder, decision):
    """Held is an end: whatever killed the process later, nothing of it is taken back."""
    prefix = hold(folder)
    before = reject(folder, prefix, NO) if decision else read_record(folder, prefix)
    for cause in (Cause.TERMINATED, Cause.OUT_OF_MEMORY, Cause.NODE_LOST):
        assert amend(folder, prefix, Failure(cause=cause, message="m"), by="test") == before


def version_of(store, order: int):
    """Find the version that a run stored, and what is current."""
    found = find_versions(store, PIPELINE, "scores", DAY)[0]
    return found.choose(f"run-{order}"), found.current


@pytest.mark.parametrize("kind", ["promotion", "rollback"])
def test_nothing_goes_around_a_review(folder, kind):
    """What is held, rejected or failed before its review is not made current in another way."""
    hold(folder, 1)
    reject(folder, hold(folder, 2), NO)
    failed = Failure(cause=Cause.STORE, message="store: away")
    hold(folder, 3, state=AttemptState.FAILED, failure=failed)
    move = Move(kind=kind, by="eve")
    said = []
    for order in (1, 2, 3):
        with pytest.raises(UsageError) as raised:
            prepare(folder, *version_of(folder, order), move)
        said.append(str(raised.value))
    assert "held for review" in said[0]
    assert "rejected" in said[1]
    if kind == "promotion":
        assert "nightmill approve run-1 --step score" in said[0]
        assert "half of the flights are missing" in said[1]
        assert "did not get as far as its review" in said[2]


def test_what_was_approved_can_be_rolled_back_to(folder):
    """An approval is a commit like any other: taken back, and taken again."""
    approve(folder, hold(folder, 1), YES)
    approve(folder, hold(folder, 2), YES)
    for order in (1, 2):
        version, seen = version_of(folder, order)
        decide(folder, prepare(folder, version, seen, Move(kind="rollback", by="ann")), seen=seen)
        assert current(folder).attempt_prefix == prefix_of(order)
    assert [one.kind for one in current(folder).moves] == ["approval", "rollback", "rollback"]


def test_a_gc_waits_for_the_decision(folder):
    """Held outputs outlive every rule; once rejected they go like what failed."""
    ended = {"ended_at": datetime.now(UTC)}
    held, rejected = hold(folder, 1, **ended), hold(folder, 2, **ended)
    reject(folder, rejected, NO)

    def run_gc(days: float) -> dict[str, str]:
        now = datetime.now(UTC) + timedelta(days=days)
        rules = {PIPELINE: Keep(runs="90d", versions=1, failed="30d")}
        order = Order(rules=rules, by="test", acts=True, now=now)
        return {one.key: one.fate.value for one in collect(folder, order)}

    assert run_gc(29) == {}
    assert list(run_gc(1000)) == [rejected]
    run_gc(1002)
    assert read_record(folder, rejected) is None
    assert approve(folder, held, YES).committed


def test_the_index_tells_how_it_stands(folder):
    """The pages learn of a decision by the index, as of every other end."""
    held, approved, rejected = (hold(folder, order) for order in (1, 2, 3))
    approve(folder, approved, YES)
    reject(folder, rejected, NO)
    lines = {one.prefix: one.standing for one in Index(folder).attempts(PIPELINE)}
    assert (lines[approved], lines[rejected]) == (Standing.SUCCEEDED, Standing.REJECTED)
    assert held not in lines  # made by hand: nobody has noted it


def test_an_approval_is_published(folder, load_spec):
    """It goes to the plain address as after every commit; without a project that is said."""
    spec = load_spec(
        f"pipeline: {PIPELINE}\nsteps:\n  {STEP}: {{notebook: n.ipynb, outputs: "
        "{scores: {path: scores.parquet, review: required}, plots: plots/}}\n"
    )
    (done,) = approve_and_publish(folder, [hold(folder, 1)], YES, spec=spec)
    key = f"{data_partition_prefix(PIPELINE, 'scores', DAY)}/scores.parquet"
    published = usual_files(1)["scores"]["scores.parquet"]
    assert (done.record.committed, done.warnings) == (True, ())
    assert folder.read(key).data == published
    (done,) = approve_and_publish(folder, [hold(folder, 2)], YES, spec=None)
    assert done.record.committed
    assert f"nightmill repair {PIPELINE} --partition {DAY}" in done.warnings[0]
    assert folder.read(key).data == published


# -- who decides, and why ------------------------------------------------------------------------


def test_a_decision_is_kept_as_text():
    """Blanks around it go, Windows' line breaks become plain ones, and the time is UTC."""
    at = datetime(2013, 3, 2, 7, tzinfo=timezone(timedelta(hours=-5)))
    made = make_decision(approved=False, by="  Ann Lee ", comment=" a\r\nb\tc \n", at=at)
    assert (made.by, made.comment, made.at) == ("Ann Lee", "a\nb\tc", NOON)
    assert made.at.utcoffset() == timedelta()
    assert make_decision(approved=True, by="x" * 200, comment="é\u200d" * 5000).comment


@pytest.mark.parametrize(
    ("by", "comment", "problem"),
    [
        ("", "why", "nobody is named"),
        (" \t", "why", "nobody is named"),
        ("a\nb", "why", "no name"),
        ("\u202eann", "why", "no name"),
        ("a\udc00", "why", "no name"),
        ("x" * 201, "why", "the name has 201 characters"),
        ("ann", "", "needs a comment"),
        ("ann", " \n", "needs a comment"),
        ("ann", "a\x1b[31mb", r"control character U\+001B"),
        ("ann", "a\x00", r"control character U\+0000"),
        ("ann", "a\udcffb", r"control character U\+DCFF"),
        ("ann", "a\u202eb", r"control character U\+202E"),
        ("ann", "x" * 10_001, "the comment has 10,001 characters"),
    ],
)
def test_a_decision_nobody_could_read_is_refused(by, comment, problem):
    """A name is one visible line; a comment is text of bounded length, and a rejection has one."""
    with pytest.raises(UsageError, match=problem):
        make_decision(approved=False, by=by, comment=comment)


def test_how_a_review_stands_in_words(folder):
    """Each standing has its words, with the commands to type for this very step and member."""
    prefix = hold(folder, member="north")
    record = read_record(folder, prefix)
    assert standing(record) == "held for review"
    for verb in ("approve", "reject"):
        assert f"`nightmill {verb} run-1 --step score --member north`" in review_line(record)
    approved = approve(folder, prefix, YES)
    told = "approved by ann at 2013-03-02 12:00:00 UTC: looks right"
    assert (standing(approved), review_line(approved)) == ("succeeded", told)
    rejected = reject(folder, hold(folder, 2), NO)
    assert standing(rejected) == "rejected"
    assert "rejected by bob" in review_line(rejected)
    plain: Record = add_version(folder, 3)
    assert (standing(plain), review_line(plain)) == ("succeeded", "")
