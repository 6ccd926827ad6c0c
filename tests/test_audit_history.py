"""Checks that look back: they compare with what committed partitions left in their records."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from nightmill.audit.history import History
from nightmill.errors import StoreError
from nightmill.store.keys import RECORD, attempt_prefix
from tests.audited import CHECKS, DAY, make_auditor, night

CHANGE = "rows: {change: 50%, against: 3}"


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


def past(auditor, nights: int, checks: str = CHECKS, rows=900) -> None:
    """Audit and commit the nights before the day."""
    for back in range(nights, 0, -1):
        day = DAY - timedelta(days=back)
        count = rows[-back] if isinstance(rows, list) else rows
        auditor.commit(day, auditor.on(day).audit(night(day, count), checks))


def test_a_clean_month_raises_nothing(auditor):
    """Thirty-one nights of good data pass every check; the first three only lack a history."""
    skipped = []
    for number in range(31):
        day = DAY + timedelta(days=number)
        results = auditor.on(day).audit(night(day, 700 + number * 7))
        assert {result.state for result in results} <= {"passed", "skipped"}, results
        skipped.append(sum(result.state == "skipped" for result in results))
        auditor.commit(day, results)
    assert skipped == [2, 2, 2] + [0] * 28


def shifted(table: pa.Table, change) -> pa.Table:
    values = [change(number) for number in table["p_delay"].to_pylist()]
    return table.set_column(4, "p_delay", pa.array(values))


@pytest.mark.parametrize(
    ("change", "is_caught"),
    [
        (lambda p: p, False),
        (lambda p: p * 1.02, False),
        (lambda p: min(1.0, p * 1.6), True),
        (lambda p: p / 2 + 0.3, True),
        (lambda _: 0.25, True),
        (lambda p: 0.9 * (p > 0.3), True),
    ],
    ids=["same", "a hair", "scaled", "moved", "constant", "hardened"],
)
def test_shifted_scores_are_caught(auditor, change, is_caught):
    """Scores that moved fail, within their bounds and not null; a hair's breadth does not."""
    past(auditor, 3)
    results = auditor.audit(shifted(night(), change))
    bad = [result for result in results if result.blocks]
    assert [(one.check, one.column) for one in bad] == [("distribution", "p_delay")] * is_caught
    found = next(one for one in results if (one.check, one.column) == ("distribution", "p_delay"))
    assert "against the last 3 partitions" in found.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([1] * 900, [0] * 900),
        ([5.0] * 900, [4.0] * 900),
        ([True] * 850 + [False] * 50, [True] * 50 + [False] * 850),
        ([1.0] * 830 + [0.5] * 70, [1.0] * 180 + [0.5] * 720),
        ([0.0] * 600 + [n / 300 for n in range(300)], [-1.0] * 600 + [n / 300 for n in range(300)]),
        (["a"] * 900, ["b"] * 900),
        (pa.array(["a", "b"] * 450).dictionary_encode(), ["a"] * 900),
        ([float("inf")] * 400 + [1.0] * 500, [1.0] * 900),
        ([float("nan")] * 100 + [1.0] * 800, [float("nan")] * 500 + [1.0] * 400),
    ],
    ids=["one to zero", "constant", "truth", "top", "bottom", "text", "category", "inf", "nan"],
)
@pytest.mark.parametrize("is_reversed", [False, True], ids=["there", "and back"])
def test_values_that_leave_what_is_frequent_are_caught(auditor, old, new, is_reversed):
    """A mass that moves is a shift in either direction, and the same night again is none."""
    before, tonight = (new, old) if is_reversed else (old, new)
    check = "distribution: {x: {against: 2, psi: 0.2}}"
    for back in (2, 1):
        day = DAY - timedelta(days=back)
        auditor.commit(day, auditor.on(day).audit(pa.table({"x": before}), check))
    assert auditor.one(pa.table({"x": before}), check).state == "passed"
    assert auditor.one(pa.table({"x": tonight}), check).state == "failed"


def test_a_null_burst_and_a_new_text_are_shifts(auditor):
    """Nulls are a part of the distribution, and so is a text that never was."""
    past(auditor, 3)
    table = night()
    nulls = [None if n % 4 == 0 else p for n, p in enumerate(table["p_delay"].to_pylist())]
    table = table.set_column(4, "p_delay", pa.array(nulls))
    table = table.set_column(1, "carrier", pa.array(["B6"] * 300 + ["AA"] * 600))
    checks = "distribution: {p_delay: {against: 3, psi: 0.2}, carrier: {against: 3, psi: 0.2}}"
    assert [result.state for result in auditor.audit(table, checks)] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("rows", "state"), [(1000, "passed"), (1500, "passed"), (1501, "failed"), (499, "failed")]
)
def test_rows_against_the_median(auditor, rows, state):
    """Rows may change by so much against the median, which one bad night does not move."""
    past(auditor, 3, CHANGE, [1000, 5000, 900])
    result = auditor.one(night(rows=rows), CHANGE)
    assert (result.state, result.profile) == (state, {"rows": rows})
    assert "the median of the last 3 is 1,000" in result.message


def test_too_little_history_is_said_and_blocks_nothing(auditor):
    """Fewer partitions than asked for: the bounds are checked alone, distributions are skipped."""
    past(auditor, 2)
    rows = auditor.one(night(rows=5), CHANGE)
    assert (rows.state, rows.observed) == ("passed", "5 rows, not enough history (2 of 3)")
    spread = auditor.one(night(), "distribution: {p_delay: {against: 3, psi: 0.2}}")
    assert (spread.state, spread.blocks) == ("skipped", False)
    assert "not enough history (2 of 3)" in spread.message


def test_too_few_rows_to_compare(auditor):
    """A distribution of 49 rows says nothing; what would mislead later nights is not kept."""
    result = auditor.one(night(rows=49), "distribution: {p_delay: {psi: 0.2}}")
    assert (result.state, result.profile) == ("skipped", None)
    assert "too few rows to compare (49 of 50)" in result.message


def test_only_nulls(auditor):
    """A column of nothing but nulls has no distribution, and fails."""
    table = night().set_column(4, "p_delay", pa.array([None] * 900, pa.float64()))
    assert auditor.one(table, "distribution: {p_delay: {psi: 0.2}}").state == "failed"


@pytest.mark.parametrize(
    ("column", "limit", "words"),
    [("day", "psi: 0.2", "is DATE"), ("carrier", "ks: 0.1", "ks compares numbers")],
)
def test_columns_without_a_distribution(auditor, column, limit, words):
    """A date has no distribution, and a text none that KS could compare: the check says so."""
    result = auditor.one(night(), f"distribution: {{{column}: {{{limit}}}}}")
    assert result.state == "error"
    assert words in result.message


def test_a_repeated_day_is_not_compared_with_itself(auditor):
    """Only partitions before this one count, also when a backfill repeats an old day."""
    for back in (4, 3, 2, 1, 0, -1, -2):
        day = DAY - timedelta(days=back)
        rows = 900 if back > 0 else 9000
        auditor.commit(day, auditor.on(day).audit(night(day, rows), "rows: '>0'"))
    result = auditor.one(night(), CHANGE)
    assert (result.state, result.observed) == (
        "passed", "900 rows, the median of the last 3 is 900",
    )  # fmt: skip


def test_records_that_say_nothing_are_passed_over(auditor):
    """Partitions whose record is gone, damaged, or knows no such check leave a gap, no error."""
    past(auditor, 3, CHANGE, [1000, 1000, 1000])
    for back, damage in ((6, "gone"), (5, "damaged"), (4, "no checks")):
        day = (DAY - timedelta(days=back)).isoformat()
        auditor.commit(DAY - timedelta(days=back), ())
        key = f"{attempt_prefix('p', day, 'r', 's', 1)}/{RECORD}"
        if damage == "gone":
            auditor.context.store.delete(key)
        elif damage == "damaged":
            auditor.context.store.write(key, b'{"schema_version": 2}')
    assert "median of the last 3" in auditor.one(night(), CHANGE).message
    result = auditor.one(night(), "rows: {change: 50%, against: 4}")
    assert result.observed == "900 rows, not enough history (3 of 4)"


def test_a_profile_of_another_kind_is_no_history(auditor):
    """A column that was text yesterday and is numbers today starts anew."""
    check = "distribution: {p_delay: {against: 1, psi: 0.2}}"
    text = night().set_column(4, "p_delay", pa.array(["a"] * 900))
    day = DAY - timedelta(days=1)
    auditor.commit(day, auditor.on(day).audit(text, check))
    assert "not enough history (0 of 1)" in auditor.one(night(), check).message


def test_history_is_read_once_and_lazily(auditor):
    """However many checks look back, each record is read once, and no more than are needed."""
    past(auditor, 6)
    reads = []

    class Counting:
        def __getattr__(self, name):
            return getattr(auditor.context.store, name)

        def read(self, key):
            reads.append(key)
            return auditor.context.store.read(key)

    auditor.audit(night(), store=Counting())
    assert len(reads) == len(set(reads)) == 6  # a pointer and a record of each of three nights


def test_a_step_without_such_checks_reads_no_history(auditor):
    """Checks that do not look back ask the store for nothing, so they need none."""
    result = auditor.one(night(), 'rows: ">0"', store=None)
    assert result.state == "passed"


def test_a_store_that_fails_is_no_verdict_on_the_data(auditor):
    """When history cannot be read the audit ends as the store's failure, which may be retried."""

    class Failing:
        def __getattr__(self, name):
            raise StoreError("gone", address="s3://b", operation=name)

    with pytest.raises(StoreError):
        auditor.one(night(), CHANGE, store=Failing())


def test_members_have_histories_of_their_own(auditor, store):
    """On each backend, a member of a step is compared with itself on earlier days."""
    for member, rows in (("a", 100), ("b", 900), ("", 5)):
        own = replace(auditor, context=replace(auditor.context, store=store, member=member))
        past(own, 2, CHANGE, rows)
        profiles = History(own.context).profiles("scores", "rows", None, 5)
        assert profiles == [{"rows": rows}] * 2


def test_big_columns_are_sampled_the_same_way_each_time(auditor):
    """Quantiles come from a million rows at most, always the same; the sample shows the whole."""
    drawn = random.Random(7)  # noqa: S311 - data for a test
    table = pa.table({"x": [drawn.random() for _ in range(1_200_000)]})
    path = auditor.file(table)
    check = "distribution: {x: {against: 1, psi: 0.01, ks: 0.01}}"
    first, second = (auditor.one(path, check).profile for _ in range(2))
    assert first == second
    assert first["rows"] == 1_200_000
    expected = [n / 100 for n in range(101)]  # of a uniform distribution
    assert first["quantiles"] == pytest.approx(expected, abs=0.005)
