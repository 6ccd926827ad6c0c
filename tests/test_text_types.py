"""The types of text: pandas and the standard library say what a value is, and nothing is guessed.

pandas reads no dates by itself; what Python's `fromisoformat` takes for one is a date here.
"""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from nightmill.audit.table import open_table
from nightmill.spec.check_values import NO_TYPE, kind_of_type
from tests.audited import DAY, make_auditor


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with an empty store."""
    return make_auditor(tmp_path)


def seen(auditor, content: str, name: str = "s.csv") -> tuple[str, list]:
    """Read the column `x` as the checks see it: its type, and its values in the file's order."""
    (work := auditor.root / "work").mkdir()
    with open_table(auditor.file(content.encode(), name), auditor.context, work) as table:
        rows = table.rows("SELECT x FROM output")
        return table.columns["x"], [row[0] for row in rows]


def lines(*values: str) -> str:
    """Write a column `x` as CSV, and one beside it, so that no row is an empty line."""
    return "x,k\n" + "".join(f"{value},k\n" for value in values)


ALIKE = {
    # what pandas and the checks read as the same values
    "days in two ways": ("2026-01-02", "02/01/2026"),
    "days of America": ("01/02/2026", "12/31/2026"),
    "days of Europe": ("02.01.2026", "31.12.2026"),
    "days that fit both": ("01-02-2026",),
    "two digits for a year": ("26-01-02",),
    "slashes": ("2026/01/02",),
    "days without lines": ("20260102",),
    "one digit for a day": ("2026-1-2",),
    "a day that is none": ("2026-02-30",),
    "a day of MySQL": ("0000-00-00",),
    "a word below days": (*["2026-01-02"] * 5000, "unknown"),
    "another day below days": (*["2026-01-02"] * 5000, "02/01/2026"),
    "instants of America": ("01/02/2026 03:04:05 PM",),
    "a time": ("10:30", "11:45"),
    "a zone in one row": ("2026-01-02 03:04:05", "2026-01-02T03:04:05Z"),
    "days and instants": ("2026-01-02", "2026-01-02 03:04:05"),
    "true and false": ("true", "false"),
    "of Python": ("True", "False"),
    "of Excel": ("TRUE", "FALSE"),
    "yes and no": ("yes", "no"),
    "one letter": ("t", "f"),
    "odd letters": ("tRUE", "true"),
    "true and a number": ("true", "1"),
    "a word below true": (*["true"] * 5000, "maybe"),
    "whole numbers": ("1", "-2", "0"),
    "zero and one": ("0", "1"),
    "a word below numbers": (*["1"] * 5000, "x"),
    "a fraction below numbers": (*["1"] * 5000, "2.5"),
    "blanks about numbers": (" 1", "2 "),
    "powers": ("1e5", "2E3", "-1.5e-3"),
    "no zero before the point": (".5", "5."),
    "no finite number": ("inf", "-inf", "1"),
    "no number": ("NaN", "1.5"),
    "nothing": ("", "1"),
    "nothing between quotes": ('""', "1"),
    "nothing beside text": ("", "a"),
    "nothing beside days of America": ("", "01/02/2026"),
    "commas in numbers": ('"1,000"', '"2,000"'),
    "underscores in numbers": ("1_000",),
    "currency": ("$5",),
    "shares": ("5%",),
    "versions": ("1.2.3",),
    "words for no finite date": ("infinity", "x"),
    "the epoch": ("epoch",),
    "an interval": ("1 day",),
    "UUIDs": ("550E8400-E29B-41D4-A716-446655440000",),
}


@pytest.mark.parametrize("values", ALIKE.values(), ids=ALIKE)
def test_values_are_what_pandas_reads(auditor, values):
    """What is no ISO date, no true or false, and no number, is the text that stands there."""
    kind, found = seen(auditor, lines(*values))
    column = pd.read_csv(io.StringIO(lines(*values)))["x"]
    wanted = [None if pd.isna(one) else one for one in column.tolist()]
    kinds = {"b": "bool", "i": "number", "f": "number"}
    assert kind_of_type(kind) == kinds.get(column.dtype.kind, "text")
    assert [None if one != one else one for one in found] == wanted  # noqa: PLR0124 - NaN


APART = {
    # what pandas reads otherwise, the type here
    "leading zeros": (("007", "8"), "VARCHAR", ["007", "8"]),
    "a plus": (("+49123",), "VARCHAR", ["+49123"]),
    "words for nothing": (("NULL", "1"), "VARCHAR", ["NULL", "1"]),
    "nothing at all": (("", ""), NO_TYPE, [None, None]),
}


@pytest.mark.parametrize(("values", "kind", "found"), APART.values(), ids=APART)
def test_no_digit_is_lost_that_pandas_loses(auditor, values, kind, found):
    """A code is a text, and NULL is a word."""
    assert seen(auditor, lines(*values)) == (kind, found)


ISO = {
    "days": ("DATE", "2026-01-02", "2013-12-31"),
    "a T": ("TIMESTAMP", "2026-01-02T03:04:05"),
    "a blank": ("TIMESTAMP", "2026-01-02 03:04:05"),
    "a T and a blank": ("TIMESTAMP", "2026-01-02T03:04:05", "2026-01-02 03:04:05"),
    "minutes": ("TIMESTAMP", "2026-01-02T03:04"),
    "a fraction": ("TIMESTAMP", "2026-01-02 03:04:05.25", "2026-01-02 03:04:05.123456"),
    "Greenwich": ("TIMESTAMP WITH TIME ZONE", "2026-01-02T03:04:05Z"),
    "zones": (
        "TIMESTAMP WITH TIME ZONE", "2026-01-02 03:04:05+02:00", "2026-01-02T03:04:05.5-0330",
        "2026-01-02 03:04:05+00",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "values"), [(k, v) for k, *v in ISO.values()], ids=ISO)
@pytest.mark.parametrize("name", ["s.csv", "s.jsonl"])
def test_dates_by_iso_8601_are_dates(auditor, name, kind, values):
    """They are the instants that Python reads, in CSV and in JSON, with nulls among them."""
    records = "".join(json.dumps({"x": value}) + "\n" for value in [None, *values])
    content = lines("", *values) if name == "s.csv" else records
    read, found = seen(auditor, content, name)
    assert read == kind
    wanted = [datetime.fromisoformat(value) for value in values]
    if kind == "DATE":
        assert found == [None, *(one.date() for one in wanted)]
    else:
        in_utc = [one.astimezone(UTC) if one and one.tzinfo else one for one in found]
        assert in_utc == [None, *wanted]


@pytest.mark.parametrize(
    "values",
    [
        ("01-02-2026", "13-02-2026"), ("01-02-03",), ("01-02-2026 03:04:05",), ("2026-02-30",),
        ("2026-01-02", "02/01/2026"), ("true", "false"), ("1", "2"), ("yes",),
    ],
    ids=str,
)  # fmt: skip
def test_texts_of_json_stay_texts(auditor, values):
    """A text of JSON is read as a date only by ISO 8601, and never as a number or a bool."""
    content = "".join(json.dumps({"x": value}) + "\n" for value in values)
    assert seen(auditor, content, "s.jsonl") == ("VARCHAR", list(values))


def test_a_column_is_judged_by_all_of_its_rows(auditor):
    """A date far down, below nothing but empty fields, decides as one in the first row."""
    assert seen(auditor, lines(*[""] * 5000, "2026-01-02"))[0] == "DATE"


def test_a_table_of_thousands_of_columns_is_read(auditor):
    """What is asked about types grows with the columns, and no faster."""
    names = ["x", *(f"c{number}" for number in range(2000))]
    row = ",".join(["2026-01-02", *["a", "true", "01/02/2026", "7"] * 500])
    assert seen(auditor, f"{','.join(names)}\n{row}\n")[0] == "DATE"


def test_names_of_columns_are_no_sql(auditor):
    """A column may have any name, and its dates are found."""
    result = auditor.one(
        auditor.file(b'"a"")) --",x\n2026-01-02,1\n', "s.csv"),
        "columns: {'a\")) --': date, x: int}",
    )
    assert result.state == "passed", result.message


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ("between: {x: [2026-01-01, 2026-01-31]}", "failed"),
        ("freshness: {x: 2d}", "failed"),
        ("columns: {x: string, k: string}", "passed"),
        ("accepted: {x: [01/02/2026, '2026-01-02']}", "passed"),
        ("not_null: [k]", "passed"),
    ],
)
def test_no_check_judges_by_a_day_that_was_guessed(auditor, checks, state):
    """A day that may be another is a text to every check, and hinders none of other columns."""
    path = auditor.file(lines("01/02/2026", "2026-01-02").encode(), "s.csv")
    result = auditor.one(path, checks)
    assert (result.check in checks, result.state) == (True, state), result.message


@pytest.mark.parametrize(
    ("profile", "state"),
    [
        ({"counts": {"true": 60, "false": 40}}, "failed"),  # yes was true
        ({}, "skipped"),  # a date has no profile
    ],
)
def test_a_distribution_meets_what_was_read_with_another_type(auditor, profile, state):
    """A night that an older Nightmill read as a bool is compared as text, one of dates skipped."""
    day = DAY - timedelta(days=1)
    check = "distribution: {x: {against: 1, psi: 0.2}}"
    old = auditor.on(day).audit(column(auditor, ["true"] * 60 + ["false"] * 40), check)
    kept = {"rows": 100, "nulls": 0, **profile} if profile else None
    auditor.commit(day, [one.model_copy(update={"profile": kept}) for one in old])
    result = auditor.one(column(auditor, ["yes"] * 60 + ["no"] * 40), check)
    assert result.state == state, result.message


def column(auditor, values):
    """Write a column as CSV where the notebook would."""
    return auditor.file(lines(*values).encode(), "s.csv")
