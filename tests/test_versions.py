"""Versions stay addressable; rollback and promote are commits that readers and zombies heed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nightmill.airflow.outcome import Outcome
from nightmill.causes import Cause
from nightmill.errors import FencedError, StoreConflict, StoreError, UsageError
from nightmill.spec.record import AttemptState, CellRecord, CellState, CheckState, Failure, Record
from nightmill.spec.steprun import StepRun
from nightmill.store.decision import decide, prepare
from nightmill.store.keys import data_partition_prefix, output_key
from nightmill.store.open import open_store
from nightmill.store.pointer import Move, Token, commit, read_current
from nightmill.store.versions import find_versions
from tests.stored_versions import (
    DAY,
    PIPELINE,
    STEP,
    add_version,
    count_of,
    current,
    make_pointer,
    prefix_of,
    read_current_bytes,
    usual_files,
)


@pytest.fixture
def folder(tmp_path):
    """Open an empty store in a directory, where the backend makes no difference."""
    return open_store("store", base=tmp_path)


def versions(store, *, member=0, output="scores"):
    """Find the versions of one member."""
    return find_versions(store, PIPELINE, output, DAY)[member]


def go_back(store, wanted, *, kind="rollback", member=0):
    """Decide for a version."""
    found = versions(store, member=member)
    move = Move(kind=kind, by="ann", reason="scores are shifted")
    pointer = prepare(store, found.choose(wanted), found.current, move)
    decide(store, pointer, seen=found.current)
    return pointer


# -- what there is ------------------------------------------------------------------------------


def test_every_version_is_found_the_newest_first(store):
    """All attempts that stored the output are versions; the pointer says which one is current."""
    add_version(store, 1, rows=7)
    add_version(store, 2, commits=False)
    add_version(store, 3)
    add_version(store, 3, 2)
    found = versions(store).found
    assert [one.name for one in found] == ["run-3:2", "run-3:1", "run-2:1", "run-1:1"]
    assert [one.is_current for one in found] == [True, False, False, False]
    assert [one.was_committed for one in found] == [True, True, False, True]
    assert [one.rows for one in found] == [None, None, None, 7]
    for one in found:
        key = output_key(one.prefix, "scores", "scores.parquet")
        assert one.stored.address == store.address(key)
        assert store.read(key).data == f"scores of run {one.name[4]} attempt {one.name[6]}".encode()


def test_the_same_bytes_have_the_same_digest(folder):
    """A digest is of bytes and their names: equal where these are, other where one differs."""
    files = usual_files(1)
    renamed = {**files, "plots": {"z.png": files["plots"]["a.png"], "b/c.png": b""}}
    for order, content in enumerate((files, files, renamed, usual_files(2)), start=1):
        add_version(folder, order, files=content)
    for output, distinct in (("scores", [0, 0, 0, 1]), ("plots", [0, 0, 1, 2])):
        digests = [one.digest for one in reversed(versions(folder, output=output).found)]
        assert [sorted(set(digests), key=digests.index).index(one) for one in digests] == distinct
        assert all(re.fullmatch(r"[0-9a-f]{12}", one) for one in digests)


def test_what_is_no_version(folder):
    """Another output, a damaged record and an attempt without outputs are no versions."""
    add_version(folder, 1)
    add_version(folder, 2, files={"other": {"o": b""}})
    folder.write(f"{prefix_of(3)}/record.json", b"{damaged")
    assert [one.name for one in versions(folder).found] == ["run-1:1"]
    with pytest.raises(UsageError, match="did you mean `scores`") as raised:
        versions(folder, output="score")
    assert DAY in str(raised.value)
    with pytest.raises(UsageError, match="no run of flights"):
        find_versions(folder, PIPELINE, "scores", "2013-03-09")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("previous", "run-12:1"),
        ("run-1", "run-1:2"),
        ("run-1:1", "run-1:1"),
        ("run-12", "run-12:1"),
        ("run-2", "run-2:1"),
        ("run-3", "run-3:1"),
        ("run-13", "run-13:1"),
        ("manual", "manual__2013-03-01T00:00:00+00:00.5:1"),
    ],
)
def test_a_version_is_named_by_run_or_attempt(folder, wanted, expected):
    """`previous`, a run, RUN:ATTEMPT or an unambiguous beginning; names of runs may hold colons."""
    for order, attempt in ((1, 1), (1, 2), (2, 1), (3, 1), (12, 1), (13, 1)):
        add_version(folder, order, attempt, commits=order != 3)
    airflow = add_version(folder, 5, commits=False).model_copy(
        update={"run": "manual__2013-03-01T00:00:00+00:00.5"}
    )
    folder.delete(f"{prefix_of(5)}/record.json")
    place = prefix_of(5).replace("run-5", "manual__2013-03-01T00~3A00~3A00~2B00~3A00.5")
    folder.write(f"{place}/record.json", airflow.to_json())
    assert versions(folder).choose(wanted).name == expected


@pytest.mark.parametrize("wanted", ["run", "run-4", "", "run-1:9", "run-10", "current"])
def test_a_name_that_tells_no_version(folder, wanted):
    """What names none, or several runs, is refused and chooses nothing."""
    for order in (1, 2, 11):
        add_version(folder, order)
    with pytest.raises(UsageError, match="names no version of scores, or several"):
        versions(folder).choose(wanted)


def test_previous_goes_on_back(folder):
    """Going to the previous version again and again ends at the oldest that was ever current."""
    for order in (1, 2, 3, 4):
        add_version(folder, order, commits=order != 2)
    for expected in ("run-3", "run-1"):
        assert go_back(folder, "previous").run == expected
    with pytest.raises(UsageError, match="no older version of scores was ever current"):
        go_back(folder, "previous")


def test_there_is_no_previous_of_nothing(folder):
    """Where nothing is current a version has to be named."""
    add_version(folder, 1, commits=False)
    with pytest.raises(UsageError, match="nothing is current of scores"):
        versions(folder).choose("previous")


# -- rollback -----------------------------------------------------------------------------------


def test_a_rollback_takes_the_whole_step_back(store):
    """Readers see both outputs of the older version, and the pointer says who, when and why."""
    add_version(store, 1)
    before = current(store)
    add_version(store, 2)
    made = go_back(store, "previous")
    assert current(store) == made
    assert read_current_bytes(store) == usual_files(1)
    assert (made.run, made.attempt, made.attempt_prefix) == ("run-1", 1, prefix_of(1))
    assert made.outputs == before.outputs
    (move,) = made.moves
    assert (move.kind, move.by, move.reason) == ("rollback", "ann", "scores are shifted")
    assert move.replaced == prefix_of(2)
    assert made.committed_at == move.at > before.committed_at
    assert made.author == "the rollback to run run-1 (attempt 1) by ann"
    assert [one.is_current for one in versions(store).found] == [False, True]


def test_every_decision_is_remembered_until_a_run_commits(folder):
    """The pointer tells the decisions since the last attempt committed, the newest twenty."""
    add_version(folder, 1)
    add_version(folder, 2)
    for _ in range(11):
        go_back(folder, "run-1")
        made = go_back(folder, "run-2")
    assert len(made.moves) == 20
    assert [move.replaced for move in made.moves[-2:]] == [prefix_of(2), prefix_of(1)]
    add_version(folder, 30)
    assert current(folder).moves == ()


@pytest.mark.parametrize(
    ("token", "is_fenced"),
    [
        *(((1, 1), True), ((1, 2), True), ((2, 1), True), ((2, 2), True), ((2, 99), True)),
        *(((3, 1), False), ((9, 1), False)),
    ],
)
def test_a_rollback_fences_what_it_overrules(folder, token, is_fenced):
    """No attempt of the run that was taken back, or of an older one, commits; a newer run does."""
    add_version(folder, 1)
    add_version(folder, 2)
    made = go_back(folder, "run-1")
    pointer = make_pointer(*token, outputs={})
    if is_fenced:
        with pytest.raises(FencedError, match=r"the rollback to run run-1 \(attempt 1\) by ann"):
            commit(folder, pointer)
        assert current(folder) == made
    else:
        assert commit(folder, pointer) == pointer
        assert current(folder) == pointer


def test_a_zombie_that_looked_before_the_rollback_is_fenced(store):
    """An attempt that saw the pointer as it was before cannot replace what was decided since."""
    add_version(store, 1)
    add_version(store, 2)
    zombie = make_pointer(2, 2, outputs={})
    seen = read_current(store, zombie.key)
    made = go_back(store, "run-1")
    with pytest.raises(FencedError):
        commit(store, zombie, seen=seen)
    assert current(store) == made


def test_no_attempt_takes_a_decision_for_its_own_commit(folder):
    """Whoever asks whether an attempt has committed is not told yes by a decision for it."""
    add_version(folder, 1)
    add_version(folder, 2)
    made = go_back(folder, "run-1")
    asked = {"pipeline": PIPELINE, "step": STEP, "partition": DAY, "as_of": DAY}
    for order in (1, 2, made.token.order):
        run = StepRun(**asked, run="run-1", order=order, attempt=1, store=folder.url)
        assert Outcome(run, Path()).committed() is None
        assert made.token != Token(order=order, attempt=run.attempt)


def test_a_pointer_without_decisions_looks_as_ever(folder):
    """An ordinary commit writes no field that an older Nightmill would not know, and reads so."""
    add_version(folder, 1)
    plain = json.loads(folder.read(current(folder).key).data)
    assert set(plain) == {
        *("schema", "pipeline", "step", "partition", "member", "run", "token", "commit_id"),
        *("committed_at", "attempt_prefix", "outputs", "inputs"),
    }
    assert current(folder).moves == ()


def read_version(store, source, prefix):
    """Say that an attempt has read a version of the scores, as its record does."""
    return {
        "pipeline": PIPELINE,
        "output": "scores",
        "partition": DAY,
        "run": source.run,
        "attempt": 1,
        "address": store.address(f"{prefix}/outputs/scores"),
        "files": source.outputs["scores"].files,
    }


def test_inputs_are_noted_as_the_attempt_noted_them(store):
    """A rollback keeps what the version was made from: the prefix and output of each input."""
    found = read_version(store, add_version(store, 1), prefix_of(1))
    add_version(store, 2, inputs={"before": found, "extra": None})
    add_version(store, 3)
    made = go_back(store, "run-2")
    assert made.inputs == {"before": f"{prefix_of(1)}#scores", "extra": "none"}


def test_an_input_of_any_member_is_noted(folder):
    """The note leads to the attempt that was read, also where a member is called `outputs`."""
    prefix = prefix_of(1, member="outputs")
    found = read_version(folder, add_version(folder, 1, member="outputs"), prefix)
    add_version(folder, 2, inputs={"before": found})
    add_version(folder, 3)
    assert go_back(folder, "run-2").inputs == {"before": f"{prefix}#scores"}


def damage_gone(store, key):
    store.delete(key)


def damage_cut(store, key):
    store.delete(key)
    store.write(key, b"short")


def damage_changed(store, key):
    data = store.read(key).data
    store.delete(key)
    store.write(key, bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize(
    ("damage", "says"),
    [(damage_gone, "is gone"), (damage_cut, "has 5 bytes, not"), (damage_changed, "other bytes")],
)
@pytest.mark.parametrize("kind", ["rollback", "promotion"])
def test_a_damaged_version_is_refused(store, kind, damage, says):
    """A file of any output that is gone, cut or altered keeps the version from being current."""
    add_version(store, 1, commits=kind == "rollback")
    add_version(store, 2)
    before = store.read(current(store).key)
    key = output_key(prefix_of(1), "plots", "b/c.png")
    damage(store, key)
    with pytest.raises(StoreError, match=f"1 of 3 files are gone or damaged: .*{says}") as raised:
        go_back(store, "run-1", kind=kind)
    assert store.address(key) in str(raised.value)
    assert raised.value.operation == kind
    assert store.read(before and current(store).key) == before


def test_a_large_file_is_not_read(folder, monkeypatch):
    """A file too large to be read in a moment counts by its size, and must be there."""
    big = {"scores": {"scores.parquet": bytes((16 << 20) + 1)}}
    add_version(folder, 1, files=big)
    add_version(folder, 2)
    read = type(folder).read
    keys = []
    monkeypatch.setattr(type(folder), "read", lambda self, key: keys.append(key) or read(self, key))
    go_back(folder, "run-1")
    assert not any("/outputs/" in key for key in keys)
    go_back(folder, "run-2")
    assert sum("/outputs/" in key for key in keys) == 3
    folder.delete(output_key(prefix_of(1), "scores", "scores.parquet"))
    with pytest.raises(StoreError, match="is gone"):
        go_back(folder, "run-1")


def test_a_rollback_to_what_was_never_current_is_refused(folder):
    """What never was current cannot be gone back to, and the message says why it was not."""
    add_version(folder, 1, commits=False)
    add_version(folder, 2)
    with pytest.raises(UsageError, match="was never current: fenced: newer") as raised:
        go_back(folder, "run-1")
    assert "nightmill promote" in str(raised.value)


def test_a_decision_is_about_what_was_seen(store):
    """A rollback does not replace a version that became current while somebody was deciding."""
    add_version(store, 1)
    add_version(store, 2)
    found = versions(store)
    pointer = prepare(
        store, found.choose("previous"), found.current, Move(kind="rollback", by="ann")
    )
    add_version(store, 3)
    with pytest.raises(FencedError, match=r"run run-3 \(attempt 1\) changed what is current"):
        decide(store, pointer, seen=found.current)
    assert current(store).run == "run-3"


@pytest.mark.parametrize("error", [StoreConflict, StoreError])
def test_a_decision_whose_reply_is_lost_stands(folder, monkeypatch, error):
    """A write that took effect counts, whatever the answer was."""
    add_version(folder, 1)
    add_version(folder, 2)
    write_if = type(folder).write_if

    def lose_the_reply(self, key, data, *, etag):
        write_if(self, key, data, etag=etag)
        raise error("no reply", address=key, operation="write_if")

    monkeypatch.setattr(type(folder), "write_if", lose_the_reply)
    made = go_back(folder, "run-1")
    assert current(folder) == made


def test_a_decision_the_store_refuses_is_an_error(folder, monkeypatch):
    """A store that fails before the write takes effect leaves everything as it was."""
    add_version(folder, 1)
    add_version(folder, 2)

    def refuse(*_arguments, **_options):
        raise StoreError("full", address="a", operation="write_if")

    monkeypatch.setattr(type(folder), "write_if", refuse)
    with pytest.raises(StoreError, match="full"):
        go_back(folder, "run-1")
    assert current(folder).run == "run-2"


# -- promote ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", [Cause.FENCED, Cause.STORE, Cause.TERMINATED, Cause.NODE_LOST])
def test_what_lost_its_commit_can_be_promoted(store, cause):
    """An attempt that did its work is made current, and its record learns that it has committed."""
    failure = Failure(cause=cause, message="lost")
    before = add_version(store, 1, commits=False, failure=failure)
    add_version(store, 2)
    made = go_back(store, "run-1", kind="promotion")
    assert read_current_bytes(store) == usual_files(1)
    assert made.author == "the promotion of run run-1 (attempt 1) by ann"
    kept = Record.from_json(store.read(f"{prefix_of(1)}/record.json").data)
    assert (kept.state, kept.committed, kept.failure) == ("succeeded", True, None)
    assert (kept.ended_at, kept.outputs) == (before.ended_at, before.outputs)
    (amendment,) = kept.amendments
    assert (amendment.by, amendment.was, amendment.cause) == (
        "nightmill promote, ann",
        cause,
        None,
    )
    add_version(store, 9)
    assert go_back(store, "run-1").run == "run-1", "it was current once, so a rollback takes it"


def test_what_is_first_is_promoted_as_well(store):
    """Where nothing was ever current the pointer is made, and no later try of that run wins."""
    add_version(store, 1, commits=False, state=AttemptState.SUCCEEDED, failure=None)
    made = go_back(store, "run-1", kind="promotion")
    assert current(store) == made
    assert made.moves[0].replaced == ""
    with pytest.raises(FencedError):
        commit(store, make_pointer(1, 2, outputs={}))
    newer = commit(store, make_pointer(2, outputs={}))
    assert current(store) == newer


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"commits": True}, "has been current before"),
        ({"state": AttemptState.RUNNING, "failure": None}, "has no end in its record"),
        (
            {"checks": (count_of(0, state=CheckState.FAILED, message="no rows"),)},
            "did not pass its checks: no rows",
        ),
        (
            {"checks": (count_of(0, state=CheckState.ERROR, message="unknown"),)},
            "did not pass its checks: unknown",
        ),
        (
            {"failure": Failure(cause=Cause.CHECK_FAILED, message="check_failed: empty")},
            "did not succeed: check_failed: empty",
        ),
        (
            {"cells": (CellRecord(number=2, title="", state=CellState.NOT_RUN),)},
            "cells that did not complete",
        ),
    ],
)
def test_what_is_not_known_to_be_right_is_not_promoted(folder, facts, says):
    """Only a version that ran to its end and passed every check may be promoted."""
    add_version(folder, 1, **{"commits": False} | facts)
    add_version(folder, 2)
    with pytest.raises(UsageError, match=says) as raised:
        go_back(folder, "run-1", kind="promotion")
    assert raised.value.advice
    assert current(folder).run == "run-2"


def test_a_warning_does_not_stand_in_the_way(folder):
    """A check of severity warn that failed is no reason to refuse a version."""
    warned = count_of(0, state=CheckState.FAILED, severity="warn")
    add_version(folder, 1, commits=False, checks=(warned,))
    add_version(folder, 2)
    assert go_back(folder, "run-1", kind="promotion").run == "run-1"


# -- members and the command line ---------------------------------------------------------------


def run_verb(cli, store, verb, *options, output="flights.scores"):
    """Run one of the verbs on a store."""
    return cli(verb, output, f"--store={store.url}", *options)


def test_members_go_back_together_or_one_by_one(cli, store):
    """All members of a step are rolled back, or only the one that is named."""
    for member in ("east", "west"):
        add_version(store, 1, member=member)
        add_version(store, 2, member=member)
    ended = run_verb(cli, store, "rollback", f"--partition={DAY}", "--to=previous", "--member=west")
    assert ended.code == 0, ended.err
    assert [current(store, member=name).run for name in ("east", "west")] == ["run-2", "run-1"]
    ended = run_verb(cli, store, "rollback", f"--partition={DAY}", "--to=run-1")
    assert ended.code == 0, ended.err
    assert "scores[west] 2013-03-01: run-1:1 is current already." in ended.out
    assert "scores[east] 2013-03-01: run-1:1 is current, in place of run-2:1" in ended.out
    assert [current(store, member=name).run for name in ("east", "west")] == ["run-1", "run-1"]
    listed = run_verb(cli, store, "versions", "--member=east").out
    assert "west" not in listed
    assert run_verb(cli, store, "versions", "--member=north").code == 2


def test_no_member_goes_back_if_one_cannot(cli, folder):
    """A damaged version of one member keeps all the others as they are."""
    for member in ("east", "west"):
        add_version(folder, 1, member=member)
        add_version(folder, 2, member=member)
    folder.delete(output_key(prefix_of(1, member="west"), "scores", "scores.parquet"))
    ended = run_verb(cli, folder, "rollback", f"--partition={DAY}", "--to=run-1")
    assert (ended.code, "is gone" in ended.err) == (1, True)
    assert [current(folder, member=name).run for name in ("east", "west")] == ["run-2", "run-2"]


def test_versions_on_the_command_line(cli, store):
    """A row a version: its name, when, size, digest, state and the address to open."""
    add_version(store, 1, rows=1200)
    add_version(store, 2, commits=False)
    add_version(store, 3)
    ended = run_verb(cli, store, "versions")
    head, columns, *rows = ended.out.splitlines()
    assert head == f"flights.scores {DAY} of the step score"
    assert columns.split() == [
        "version",
        "rows",
        "ended",
        "(UTC)",
        "size",
        "digest",
        "state",
        "address",
    ]
    assert [row.split()[0] for row in rows] == ["run-3:1", "run-2:1", "run-1:1"]
    assert [re.search(r"(never current: fenced|was current|current) ", row)[1] for row in rows] == [
        "current",
        "never current: fenced",
        "was current",
    ]
    assert "1,200" in rows[2]
    assert "2013-03-02 02:31:00" in rows[2]
    for number, row in enumerate(rows):
        opened = row.split()[-1]
        text = f"scores of run {3 - number} attempt 1".encode()
        if opened.startswith("s3://"):
            key = opened.removeprefix(store.address("x").removesuffix("x"))
            assert store.read(key).data == text
        else:
            assert Path(opened).read_bytes() == text


def test_a_rollback_on_the_command_line(cli, folder):
    """It says what is current now and where, and the list shows who decided and why."""
    add_version(folder, 1)
    add_version(folder, 2)
    options = (f"--partition={DAY}", "--to=previous", "--reason=scores\nare \x1b[31mshifted")
    ended = run_verb(cli, folder, "rollback", *options)
    assert ended.code == 0, ended.err
    assert "scores 2013-03-01: run-1:1 is current, in place of run-2:1" in ended.out
    assert re.search(r"^  plots: .*run-1/score/1/outputs/plots$", ended.out, re.MULTILINE)
    assert "not run again" in ended.out
    listed = run_verb(cli, folder, "versions").out
    assert re.search(r"scores: rollback by .+ on .+ at [\d: -]+ UTC, in place of run-2:1", listed)
    assert "\x1b" not in listed
    again = run_verb(cli, folder, "rollback", f"--partition={DAY}", "--to=run-1")
    assert again.code == 0
    assert again.out.splitlines()[0] == f"scores {DAY}: run-1:1 is current already."
    assert len(current(folder).moves) == 1


@pytest.fixture
def in_project(project, monkeypatch):
    """Change into a project whose pipeline makes these outputs, and publishes the file."""
    outputs = "{scores: scores.parquet, plots: {path: plots/, publish: false}}"
    project.pipeline(PIPELINE, f"score: {{notebook: score.ipynb, outputs: {outputs}}}", score=["1"])
    monkeypatch.chdir(project.root)


@pytest.mark.usefixtures("in_project")
def test_a_rollback_is_published(cli, store, tmp_path, monkeypatch):
    """The plain address follows at once in the project; elsewhere it is said how to do that.

    Repeating the command in the project does it as well.
    """
    key = f"{data_partition_prefix(PIPELINE, 'scores', DAY)}/scores.parquet"
    for order in (1, 2):
        add_version(store, order)
    ended = run_verb(cli, store, "rollback", f"--partition={DAY}", "--to=run-1")
    assert (ended.code, "repair" in ended.out) == (0, False), ended.err
    assert store.read(key).data == usual_files(1)["scores"]["scores.parquet"]
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        ended = run_verb(cli, store, "rollback", f"--partition={DAY}", "--to=run-2")
    assert f"nightmill repair flights --partition {DAY}" in ended.out
    assert store.read(key).data == usual_files(1)["scores"]["scores.parquet"]
    again = run_verb(cli, store, "rollback", f"--partition={DAY}", "--to=run-2")
    assert (again.code, "is current already" in again.out) == (0, True)
    assert store.read(key).data == usual_files(2)["scores"]["scores.parquet"]


@pytest.mark.usefixtures("in_project")
def test_a_rollback_that_cannot_be_published(cli, folder):
    """It stands, and says so; the exit code tells that readers of the plain address see the old."""
    for order in (1, 2):
        add_version(folder, order)
    folder.write(data_partition_prefix(PIPELINE, "scores", DAY), b"a file where a folder belongs")
    ended = run_verb(cli, folder, "rollback", f"--partition={DAY}", "--to=run-1")
    assert ended.code == 1
    assert "warning: scores is committed, but not published" in ended.out
    assert current(folder).run == "run-1"


def test_promote_on_the_command_line(cli, folder):
    """What a rollback refuses because it never was current, promote takes."""
    add_version(folder, 1, commits=False)
    add_version(folder, 2)
    options = (f"--partition={DAY}", "--to=run-1")
    refused = run_verb(cli, folder, "rollback", *options)
    assert (refused.code, "nightmill promote" in refused.err) == (2, True)
    ended = run_verb(cli, folder, "promote", *options)
    assert (ended.code, current(folder).run) == (0, "run-1"), ended.err


def test_without_a_user_name_the_number_tells(cli, folder, monkeypatch):
    """In a container whose user has no name, the decision still says who took it."""
    add_version(folder, 1)
    add_version(folder, 2)

    def nameless():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert run_verb(cli, folder, "rollback", f"--partition={DAY}", "--to=run-1").code == 0
    assert current(folder).moves[0].by.startswith("user ")


def test_the_newest_partition_with_a_version_is_listed(cli, folder):
    """Without --partition the newest one that has the output is shown."""
    add_version(folder, 1)
    folder.write("runs/flights/2013-03-02/r/score/1/record.json", b"{")
    assert DAY in run_verb(cli, folder, "versions").out.splitlines()[0]
    ended = run_verb(cli, folder, "versions", output="flights.nothing")
    assert (ended.code, "--partition" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("scores", "no PIPELINE.OUTPUT"),
        ("flights.", "no PIPELINE.OUTPUT"),
        ("flight.scores", "did you mean `flights`"),
        ("flights.score", "did you mean `scores`"),
    ],
)
def test_an_output_that_is_none(cli, folder, output, says):
    """A misspelt output is wrong usage with a suggestion."""
    add_version(folder, 1)
    ended = run_verb(cli, folder, "versions", f"--partition={DAY}", output=output)
    assert (ended.code, says in ended.err) == (2, True), ended.err
