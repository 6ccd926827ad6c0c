"""The summary of an attempt: what lists tell of it, made from its record."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest

from nightmill.causes import Cause
from nightmill.spec.record import (
    Amendment,
    AttemptState,
    CheckResult,
    CheckState,
    Decision,
    Failure,
    Record,
    Review,
)
from nightmill.spec.summary import Standing, SummarizedInput, SummarizedOutput, Summary, summarize
from tests.many_runs import attempts

PREFIX = "runs/flights/2013-12-30/20131231T023000-flights/score/1"
NOW = datetime(2014, 1, 1, tzinfo=UTC)
WHOLE = next(one.record for one in attempts() if one.record.step == "score")


def changed(**facts: object) -> Summary:
    """Summarize a record that differs in these facts from one that is whole."""
    return summarize(WHOLE.model_copy(update=facts), PREFIX)


def failed(**facts: object) -> Summary:
    """Summarize the record of an attempt that failed so."""
    failure = Failure(**({"cause": Cause.NOTEBOOK_ERROR, "message": "m"} | facts))
    return changed(state=AttemptState.FAILED, committed=False, failure=failure)


def test_a_summary_tells_what_the_record_does():
    """Every field of a whole record's summary, as it was written down by hand."""
    assert changed() == Summary(
        prefix=PREFIX,
        pipeline="flights",
        partition="2013-12-30",
        run="20131231T023000-flights",
        order=1_388_457_000_000_000,
        step="score",
        attempt=1,
        standing=Standing.SUCCEEDED,
        committed=True,
        started_at=datetime(2013, 12, 31, 2, 40, tzinfo=UTC),
        ended_at=datetime(2013, 12, 31, 2, 41, 35, 500000, tzinfo=UTC),
        duration_s=95.5,
        pool="highmem",
        peak_bytes=3 << 30,
        limit_bytes=8 << 30,
        metrics={"auc": 0.91, "rmse": 12.25, "rows": 1234, "note": "as usual"},
        inputs={
            "model": SummarizedInput(
                pipeline="flights", output="model", partition="2013-12-30", run="r", attempt=1
            )
        },
        outputs={"scores": SummarizedOutput(size=1_000_000, rows=1234)},
        checks={CheckState.PASSED: 1},
        bundle="0" * 64,
        git_commit="0" * 40,
        git_dirty=False,
        image="registry.example/nightmill:1",
        kernel="tabular",
        has_notebook=True,
    )


def test_a_failure_is_told_in_one_line():
    """Cause, message and the failing cell by its author's number are there without the record."""
    summary = failed(
        cause=Cause.OUT_OF_MEMORY, message="8 of 8 GiB\nsecond line", cell=14, cells=22, title="Fit"
    )
    assert (summary.standing, summary.cause) == (Standing.FAILED, Cause.OUT_OF_MEMORY)
    assert (summary.message, summary.cell, summary.cells) == ("8 of 8 GiB", 14, 22)
    assert summary.title == "Fit"


@pytest.mark.parametrize(
    ("facts", "standing"),
    [
        ({"state": AttemptState.RUNNING, "committed": False}, Standing.RUNNING),
        ({"state": AttemptState.FAILED, "committed": False}, Standing.FAILED),
        ({}, Standing.SUCCEEDED),
        ({"committed": False, "review": Review(required=("s",))}, Standing.HELD),
        (
            {
                "committed": False,
                "review": Review(
                    required=("s",), decision=Decision(approved=False, by="ann", at=NOW)
                ),
            },
            Standing.REJECTED,
        ),
        (
            {"review": Review(required=("s",), decision=Decision(approved=True, by="ann", at=NOW))},
            Standing.SUCCEEDED,
        ),
        # It failed before anybody could look at it.
        (
            {
                "state": AttemptState.FAILED,
                "committed": False,
                "review": Review(required=("s",)),
            },
            Standing.FAILED,
        ),
    ],
)
def test_how_an_attempt_stands(facts, standing):
    """State and review together say one word; what succeeded has committed."""
    assert changed(**facts).standing is standing


def test_what_was_written_after_the_end_counts_as_revisions():
    """Amendments and a decision make a summary newer than the one before."""
    amendment = Amendment(at=NOW, by="sweep", was=None, cause=Cause.EVICTED)
    decision = Decision(approved=True, by="ann", at=NOW)
    held, decided = Review(required=("s",)), Review(required=("s",), decision=decision)
    facts = [
        {},
        {"amendments": (amendment,)},
        {"amendments": (amendment, amendment)},
        {"review": held},
        {"review": decided},
        {"review": decided, "amendments": (amendment,)},
    ]
    assert [changed(**one).revision for one in facts] == [0, 1, 2, 0, 1, 2]


def test_metrics_are_scalars():
    """Numbers, texts, truths and nothing are kept; tables and pictures are the record's own."""
    metrics = {
        "whole": 3,
        "huge": 10**30,
        "real": 0.5,
        "true": True,
        "none": None,
        "text": "good\nbad",
        "nan": math.nan,
        "endless": -math.inf,
        "list": [1, 2],
        "table": {"a": 1},
        "odd\nname": 1,
    }
    summary = changed(metrics=metrics)
    assert summary.metrics == {
        "whole": 3,
        "huge": 10**30,
        "real": 0.5,
        "true": True,
        "none": None,
        "text": "good",
        "nan": "NaN",
        "endless": "-Infinity",
        "odd": 1,
    }
    assert summary.metrics["true"] is True
    assert Summary.from_json(summary.to_json()) == summary


def test_a_summary_is_small():
    """A usual one has about a kilobyte; however much a notebook tells, few of them fit a page."""
    assert len(changed().to_json()) < 1_100
    metrics = {f"{'m' * 500}{number}": "x" * 10_000 for number in range(500)}
    metrics |= {f"m{number}": "x" * 10_000 for number in range(500)}
    summary = changed(metrics=metrics)
    assert len(summary.metrics) == 100
    assert len(summary.to_json()) < 25_000
    long = failed(message="m" * 10_000, title="t" * 10_000)
    assert (len(long.message), len(long.title)) == (300, 80)


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred\x1b[0m",
        "a\x00b",
        "right\u202eleft",
        "lone \ud800 surrogate",
        "<script>alert(1)</script>",
        "\u65e5\u672c",
    ],
)
def test_texts_of_others_are_inert(text):
    """Whatever a cell or an error is called: one line, nothing that moves or reorders, ASCII."""
    summary = failed(message=text, title=text)
    data = summary.to_json()
    assert data.isascii()
    assert data.count(b"\n") == 1
    assert Summary.from_json(data) == summary
    for told in (summary.message, summary.title):
        assert told.isprintable()


@pytest.mark.parametrize(
    ("profile", "rows"), [({"rows": 7}, 7), ({"rows": "many"}, None), ({}, None), (None, None)]
)
def test_rows_are_those_that_a_check_has_counted(profile, rows):
    """Where no check counted the rows of an output, nobody knows them."""
    counted = CheckResult(
        output="scores",
        check="rows",
        state=CheckState.FAILED,
        message="m",
        duration_s=0.1,
        profile=profile,
    )
    other = counted.model_copy(update={"output": "plots", "profile": {"rows": 9}})
    summary = changed(checks=(counted, other))
    assert summary.outputs == {"scores": SummarizedOutput(size=1_000_000, rows=rows)}
    assert summary.checks == {CheckState.FAILED: 2}


def test_a_record_that_says_little_is_summarized_too():
    """An attempt that ended before anything was known has a summary with nothing made up."""
    record = Record(
        pipeline="p",
        step="s",
        partition="d",
        as_of="d",
        run="r",
        order=0,
        attempt=1,
        state=AttemptState.FAILED,
        started_at=NOW,
        nightmill="0",
        host="",
        store="s",
        parameters={},
        inputs={"yesterday": None},
        warnings=("one", "two"),
    )
    summary = summarize(record, "runs/p/d/r/s/1")
    assert (summary.cause, summary.message, summary.ended_at) == (None, "", None)
    assert (summary.kernel, summary.bundle, summary.has_notebook) == (None, None, False)
    assert (summary.inputs, summary.warnings) == ({"yesterday": None}, 2)
    assert Summary.from_json(summary.to_json()) == summary


def test_what_a_later_version_adds_is_passed_over():
    """Pages of this version read what steps of the next one write."""
    data = json.loads(changed().to_json()) | {"colour": "blue"}
    assert Summary.from_json(json.dumps(data).encode()) == changed()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"null", b"\xff"])
def test_what_is_no_summary_is_refused(data):
    """A damaged body is an error for whoever reads it, not half a summary."""
    with pytest.raises(ValueError, match=r".+"):
        Summary.from_json(data)
