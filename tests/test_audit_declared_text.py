"""Text that looks like something else tonight: what the author calls text is read as text."""

from __future__ import annotations

import pytest

from tests.audited import make_auditor

ALIKE = {
    "digits": ("12", "13"),
    "zeros in front": ("007", "7"),
    "versions": ("1.10", "1.1"),
    "true and false": ("true", "false"),
    "days": ("2026-01-02", "2026-01-03"),
    "long numbers": (str(2**63), str(2**64)),
}


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


def states(auditor, values: tuple[str, ...], checks: str, suffix: str = "csv") -> list[str]:
    """Audit a column `x` of a file, and return how each check ended."""
    separator = "\t" if suffix == "tsv" else ","
    lines = [f"{value}{separator}k\n" for value in ("x", *values)]
    path = auditor.file("".join(lines).encode(), f"s.{suffix}")
    return [str(result.state) for result in auditor.audit(path, checks)]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("case", ALIKE)
def test_a_column_declared_as_string_is_text(auditor, case, suffix):
    """What `columns:` calls a string is one, and its keys are those that are written."""
    checks = "columns: {evolution: add, schema: {x: string}}\nunique: x"
    assert states(auditor, ALIKE[case], checks, suffix) == ["passed", "passed"]


@pytest.mark.parametrize("case", ALIKE)
def test_accepted_texts_are_compared_with_what_is_written(auditor, case):
    """`accepted:` with texts takes the column for text: no value is another one's number."""
    first, second = ALIKE[case]
    assert states(auditor, (first, second), f"accepted: {{x: ['{first}', '{second}']}}") == [
        "passed"
    ]
    assert states(auditor, (first, second), f"accepted: {{x: ['{first}']}}") == ["failed"]


def test_a_declared_type_counts_more_than_accepted_texts(auditor):
    """A column declared as an integer stays one, and texts cannot be compared with it."""
    checks = "columns: {evolution: add, schema: {x: int}}\naccepted: {x: ['12', '13']}"
    assert states(auditor, ("12", "13"), checks) == ["passed", "failed"]


def test_columns_that_nobody_calls_text_keep_their_types(auditor):
    """A number beside a column of text is compared as a number."""
    checks = "accepted: {k: [k]}\nbetween: {x: [12, 13]}"
    assert states(auditor, ("12", "13"), checks) == ["passed", "passed"]


def test_a_declared_text_that_holds_nothing_is_of_no_type(auditor):
    """A declared text without a value passes, as every empty column does."""
    checks = "columns: {evolution: add, schema: {x: string}}\naccepted: {x: ['12']}"
    assert states(auditor, ("", ""), checks) == ["passed", "passed"]


def test_a_declared_text_of_json_is_no_date(auditor):
    """A string of JSON that looks like a day stays one where `columns:` says string."""
    path = auditor.file(b'{"x": "2026-01-02"}\n', "s.jsonl")
    (result,) = auditor.audit(path, "columns: {x: string}")
    assert result.state == "passed", result.message
