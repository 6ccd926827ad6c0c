"""Whole numbers that no double holds, as ids made by hashing: each digit of them counts."""

from __future__ import annotations

import pytest

from nightmill.audit.table import open_table
from tests.audited import make_auditor

LONG = 2**63
SETS = {
    "without a sign": ([LONG + 5, LONG + 6, 5], "UBIGINT"),
    "beside one below zero": ([LONG + 5, LONG + 6, -5], "HUGEINT"),
    "of 65 bits": ([2**64 + 1, 2**64 + 2], "HUGEINT"),
    "of 38 digits": ([10**37 + 1, 10**37 + 2], "HUGEINT"),
    "after many short ones": ([*range(500), LONG + 5, LONG + 6], "UBIGINT"),
}
BEYOND = [10**38 + 1, 10**38 + 2]


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


def written(values: list, suffix: str) -> str:
    """Write numbers as a column `x`, beside one of text, in the format of that suffix."""
    if suffix == "csv":
        return "x,it's\n" + "".join(f"{value},k\n" for value in values)
    return "".join(f'{{"x": {value}, "it\'s": {{"k k": [1]}}}}\n' for value in values)


def seen(auditor, content: str, suffix: str) -> tuple[str, list]:
    """Read the column `x` as the checks see it: its type, and its values from low to high."""
    (work := auditor.root / "work").mkdir()
    with open_table(auditor.file(content.encode(), f"s.{suffix}"), auditor.context, work) as table:
        rows = table.rows("SELECT x FROM output ORDER BY x")
        return table.columns["x"], [row[0] for row in rows]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("case", SETS)
def test_no_digit_of_a_long_whole_number_is_lost(auditor, case, suffix):
    """Whole numbers are read as an integer that holds them, in CSV and in JSON."""
    values, kind = SETS[case]
    assert seen(auditor, written(values, suffix), suffix) == (kind, sorted(values))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_numbers_longer_than_any_integer_are_text(auditor, suffix):
    """Where no integer holds a number, its digits are kept as text."""
    found = seen(auditor, written(BEYOND, suffix), suffix)
    assert found == ("VARCHAR", [str(value) for value in BEYOND])


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_fractions_after_many_whole_numbers_stay_numbers(auditor, suffix):
    """One value with a fraction makes a column of floats, however many whole ones are before it."""
    values = [*range(500), 1000.5]
    assert seen(auditor, written(values, suffix), suffix) == ("DOUBLE", values)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_long_ids_are_unique_integers_with_bounds(auditor, suffix):
    """`unique`, `columns: int` and `between` hold for ids that differ in their last digit."""
    values = [LONG + 5, LONG + 6, -5]
    path = auditor.file(written(values, suffix).encode(), f"s.{suffix}")
    declared = "columns: {evolution: add, schema: {x: int}}"
    results = auditor.audit(path, f"{declared}\nunique: x\nbetween: {{x: [-5, {LONG + 6}]}}")
    assert [result.state for result in results] == ["passed"] * 3, results


def test_a_key_that_differs_in_case_is_read_as_before(auditor):
    """A key `A` beside `a` keeps its values, where a number beside them is long."""
    content = f'{{"x": {LONG}, "a": 1, "A": 2}}\n{{"x": 5, "a": 3, "A": 4}}\n'
    (work := auditor.root / "work").mkdir()
    with open_table(auditor.file(content.encode(), "s.jsonl"), auditor.context, work) as table:
        assert sorted(table.rows('SELECT a, "A_1" FROM output')) == [(1, 2), (3, 4)]
