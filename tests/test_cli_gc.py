"""`nightmill gc`: what it says, what it does, and from where it takes its rules."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from nightmill.store.doomed import doomed
from nightmill.store.open import open_store
from tests.stored_versions import add_version, prefix_of

LONG_AGO = {"ended_at": datetime.now(UTC) - timedelta(days=100)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a project whose pipeline keeps one version."""
    monkeypatch.delenv("NIGHTMILL_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    write_pipeline(tmp_path, "keep: {versions: 1}\n")
    return tmp_path


def write_pipeline(folder, keep: str, name: str = "flights") -> None:
    """Write a pipeline.yaml with rules of keeping."""
    file = folder / "notebooks" / name / "pipeline.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"pipeline: {name}\n{keep}steps:\n  score: {{notebook: score.ipynb}}\n")


@pytest.fixture
def store(folder):
    """Fill the project's store with three versions, all 100 days old, and a failed attempt."""
    opened = open_store(".nightmill/store", base=folder)
    for number in (1, 2, 3):
        add_version(opened, number, **LONG_AGO)
    add_version(opened, 4, commits=False, **LONG_AGO)
    make_old(folder)
    return opened


def make_old(folder, days: float = 100) -> None:
    """Let all files of the store look as if they had been written so many days ago."""
    then = time.time() - days * 86400
    for path in (folder / ".nightmill" / "store").rglob("*"):
        os.utime(path, (then, then))


def test_it_only_says_what_would_be_done(cli, store):
    """Without --delete nothing changes: what, how many, how much, and why are told."""
    ended = cli("gc")
    rows = [line.split()[:4] for line in ended.out.splitlines()[1:3]]
    assert ended.code == 0
    assert rows == [["attempt", "flights", "1", "4"], ["attempt", "flights", "2", "8"]]
    assert "never committed, older than 30d" in ended.out
    assert "replaced, older than 90d, not of the newest 1" in ended.out
    assert "to be marked" in ended.out
    assert "Nothing was changed" in ended.out
    assert doomed(store) == {}


def test_it_marks_then_deletes_and_says_when(cli, store, folder):
    """The first --delete marks, the next one after the grace deletes, and a third finds nothing."""
    first = cli("gc", "--delete")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert f"after {tomorrow:%Y-%m-%d}" in first.out
    assert len(doomed(store)) == 3
    assert "marked, waiting" in cli("gc", "--delete").out
    make_old(folder, 2)
    second = cli("gc", "--delete")
    assert (second.code, "Deleted: 12 files" in second.out) == (0, True)
    assert {entry.key.split("/")[3] for entry in store.list("runs")} == {"run-3"}
    third = cli("gc", "--delete")
    assert third.out == "Nothing may go of .nightmill/store.\n"


def test_where_nothing_may_go_it_counts_what_stays_and_why(cli, folder):
    """Whoever expected something to go reads whether it is too young, or kept by another rule."""
    opened = open_store(".nightmill/store", base=folder)
    for number, age in ((1, timedelta(days=100)), (2, timedelta()), (3, timedelta(hours=23))):
        add_version(opened, number, ended_at=datetime.now(UTC) - age)
    assert cli("reindex").code == 0
    said = cli("gc", "flights", "--older-than", "1s", "--keep-versions=3").out
    assert said == (
        "Nothing may go of .nightmill/store. Kept: 2 attempts younger than a day; 1 attempt "
        "current, held for review, read by what stays, or kept by the rules.\n"
    )


@pytest.mark.usefixtures("store")
def test_each_names_every_attempt_by_an_address_to_copy(cli):
    """With --each a line tells the fate, the thing and where it is."""
    said = cli("gc", "--each").out
    for number in (1, 2, 4):
        assert f"attempt  .nightmill/store/{prefix_of(number)}  " in said


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--keep-versions", "2"], 2),
        (["--older-than", "101d"], 0),
        (["--older-than", "99d"], 3),
        (["--older-than", "99d", "--keep-versions", "3"], 1),
    ],
)
def test_options_replace_the_rules_of_the_file(cli, options, count):
    """What is typed wins over `keep:`, for ages and for numbers."""
    said = cli("gc", "--each", *options).out
    assert said.count("to be marked  attempt") == count


@pytest.mark.usefixtures("store")
def test_the_rules_of_the_file_count(cli, folder):
    """A pipeline.yaml that keeps more, keeps more."""
    write_pipeline(folder, "keep: {runs: 200d, failed: 200d}\n")
    assert cli("gc").out == "Nothing may go of .nightmill/store.\n"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("keep", [None, "keep: {runs: forever}\n"])
def test_without_a_valid_file_a_pipeline_keeps_all_unless_it_is_named(cli, folder, keep):
    """No default that nobody wrote deletes anything; --older-than with the name is a rule, too."""
    if keep is None:
        (folder / "notebooks" / "flights" / "pipeline.yaml").unlink()
    else:
        write_pipeline(folder, keep)
    for arguments in (["gc"], ["gc", "flights"], ["gc", "--older-than", "1d"]):
        said = cli(*arguments).out
        assert "flights keeps everything: no valid pipeline.yaml" in said
        assert "Nothing may go" in said
    said = cli("gc", "flights", "--older-than", "99d", "--keep-versions", "1").out
    assert "to be marked" in said
    assert "keeps everything" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["flihgts"], "did you mean `flights`?"),
        (["--older-than", "soon"], "is no time span"),
        (["--grace", "0d"], "is no sensible time span"),
    ],
)
def test_what_cannot_be_meant_is_refused(cli, store, arguments, says):
    """A wrong name or span is exit code 2 with advice, and nothing is touched."""
    ended = cli("gc", "--delete", *arguments)
    assert ended.code == 2
    assert says in ended.err
    assert doomed(store) == {}


def test_a_problem_is_exit_code_1_and_told(cli, store):
    """What could not be judged is in the table, the rest is done all the same."""
    store.write("current/flights/score/2013-03-01.json", b"{")
    ended = cli("gc", "--delete")
    assert ended.code == 1
    assert "is no pointer of this version" in ended.out


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("keep: {runs: 90}\n", "is no time span"),
        ("keep: {versions: 0}\n", "greater than or equal to 1"),
        ("keep: {version: 2}\n", "versions"),
    ],
)
def test_rules_that_are_no_rules_are_found_by_check(cli, folder, keep, says):
    """A wrong key or value below `keep:` is told with its line."""
    write_pipeline(folder, keep)
    ended = cli("check")
    assert ended.code != 0
    assert says in ended.out + ended.err
    assert "pipeline.yaml:2" in ended.out + ended.err


def test_scratch_lists_and_then_removes_what_attempts_left(cli, tmp_path, monkeypatch):
    """Folders older than a week are listed with their size; --delete removes them."""
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(tmp_path))
    assert "No attempt or replay left a folder" in cli("gc", "--scratch").out
    left = tmp_path / "nightmill-abc"
    left.mkdir()
    (left / "notebook.ipynb").write_bytes(b"x" * 2048)
    then = time.time() - 8 * 86400
    for path in (left / "notebook.ipynb", left):
        os.utime(path, (then, then))
    said = cli("gc", "--scratch").out
    assert ("nightmill-abc" in said, "2.0 KiB" in said, "to be deleted" in said) == (True,) * 3
    assert left.exists()
    assert "No attempt" in cli("gc", "--scratch", "--older-than", "9d").out
    assert "deleted" in cli("gc", "--scratch", "--delete").out
    assert not left.exists()


def test_scratch_clears_old_replays_of_the_project(cli, folder, monkeypatch):
    """A replay in which nothing changed for a week goes; one that somebody works in stays."""
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(folder / "scratch"))
    old, used = (folder / ".nightmill" / "replays" / name for name in ("old", "used"))
    then = time.time() - 8 * 86400
    for replay in (old, used):
        (replay / "score" / "store").mkdir(parents=True)
        (replay / "score" / "copy.ipynb").write_text("{}")
        for path in (*replay.rglob("*"), replay):
            os.utime(path, (then, then))
    (used / "score" / "copy.ipynb").write_text("{} ")
    said = cli("gc", "--scratch", "--delete").out
    assert (".nightmill/replays/old" in said, "used" in said) == (True, False)
    assert (old.exists(), used.exists()) == (False, True)


def test_replaced_files_of_a_table_are_listed_with_the_rest(cli, store):
    """They stand in the same table, with their pipeline, and --delete reports their bytes."""
    address = store.address("data/flights/scores")
    for number in (1, 2):
        write_deltalake(address, pa.table({"run": [number]}), mode="overwrite")
    (replaced,) = DeltaTable(address, version=0).file_uris()
    log = Path(address, "_delta_log", "00000000000000000001.json")
    ago = int((time.time() - 8 * 86400) * 1000)
    log.write_text(
        re.sub(r'"deletionTimestamp":\d+', f'"deletionTimestamp":{ago}', log.read_text())
    )
    os.utime(replaced, (ago / 1000, ago / 1000))
    row = next(line for line in cli("gc").out.splitlines() if line.startswith("table file"))
    assert row.split()[2:5] == ["flights", "1", "1"]
    assert "no part of the table for 7d" in row
    assert cli("gc", "--delete").code == 0
    assert not Path(replaced).exists()
    assert DeltaTable(address).to_pyarrow_table()["run"].to_pylist() == [2]
