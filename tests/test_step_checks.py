"""Checks as a step makes them: before the commit, on what a real notebook wrote."""

from __future__ import annotations

import pytest

CHECKS = """
score:
  notebook: score.ipynb
  outputs: {scores: scores.csv}
  checks:
    scores:
      rows: ">1"
      between: {p: [0, 1]}
      unique: {key: id, severity: warn}
"""
WRITE = """
lines = {"good": ["1,0.5", "2,1.0"], "wrong": ["1,0.5", "2,1.5"], "twice": ["1,0.5", "1,0.6"]}
open(scores, "w").write("\\n".join(["id,p", *lines[kind]]) + "\\n")
"""


@pytest.fixture(scope="module")
def nights(make_project):
    """Run a good night, one that a check blocks, and one that only a warning meets."""
    project = make_project("checked")
    parameters = ("scores: str = 's'\nkind: str = 'good'", "parameters")
    project.pipeline("checked", CHECKS, score=[parameters, WRITE])
    told = {}
    for kind in ("good", "wrong", "twice"):
        asked = ("checked", "--partition", "2013-01-01", "-p", f"kind={kind}", "--rerun")
        ended = project.run("run", *asked)
        pointer = project.store / "current/checked/score/2013-01-01.json"
        told[kind] = (ended, project.record("checked", "score"), pointer.read_text())
    return told


def states(record):
    """Give the state of each check by its name."""
    return {one["check"]: one["state"] for one in record["checks"]}


def test_a_good_output_passes_its_checks_and_is_committed(nights):
    """Every check is in the record, and the outputs are current."""
    ended, record, pointer = nights["good"]
    assert ended.code == 0
    assert record["committed"]
    assert states(record) == {"rows": "passed", "between": "passed", "unique": "passed"}
    assert record["run"] in pointer


def test_what_fails_a_check_is_not_committed_and_the_former_version_stays(nights):
    """The record names check, column and what was found; the pointer is byte for byte the same."""
    ended, record, pointer = nights["wrong"]
    assert ended.code == 1
    assert (record["failure"]["cause"], record["committed"]) == ("check_failed", False)
    assert states(record)["between"] == "failed"
    assert "scores" in record["failure"]["message"]
    assert "1.5" in record["failure"]["message"]
    assert record["failure"]["retry"] == "never"
    assert pointer == nights["good"][2]
    message = " ".join(record["failure"]["message"].split())
    assert "nothing was committed; what was current before stays so" in message


def test_a_warning_is_recorded_and_blocks_nothing(nights):
    """With `severity: warn` the outputs are committed, and the reviewer is told."""
    ended, record, pointer = nights["twice"]
    assert ended.code == 0
    assert states(record)["unique"] == "failed"
    assert record["committed"]
    assert record["run"] in pointer
    assert any(text.startswith("check: scores") for text in record["warnings"])
