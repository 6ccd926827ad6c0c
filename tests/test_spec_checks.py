"""`checks:` of pipeline.yaml: every short and long form, and a table of bad ones."""

from __future__ import annotations

import textwrap
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.errors import SpecError
from nightmill.spec.check_values import Range, kind_of_type, parse_range, parse_share
from nightmill.spec.problems import Faults, each


def step(checks: str, outputs: str = "{scores: scores.parquet}") -> str:
    """Make a pipeline with these lines below `checks:`; the first of them is line 7."""
    head = (
        f"pipeline: p\nsteps:\n  s:\n    notebook: s.ipynb\n    outputs: {outputs}\n    checks:\n"
    )
    return head + textwrap.indent(textwrap.dedent(checks), "      ")


@pytest.fixture
def load(load_spec):
    """Read the checks of one output, written as flow or block YAML."""

    def read(text: str):
        return load_spec(step(f"scores: {text}")).steps["s"].checks["scores"]

    return read


def test_none_by_default(load_spec):
    """A step without `checks` has none."""
    spec = load_spec("pipeline: p\nsteps: {s: {notebook: s.ipynb}}\n")
    assert spec.steps["s"].checks == {}


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        ('">0"', 1, None),
        ('">=5"', 5, None),
        ('"<10"', None, 9),
        ('"<= 10"', None, 10),
        ('"100..5000"', 100, 5000),
        ('"100.."', 100, None),
        ('"..7"', None, 7),
        ("12", 12, 12),
        ('"12"', 12, 12),
        ("{min: 3}", 3, None),
    ],
)
def test_rows(load, written, low, high):
    """A number of rows is written as a comparison, a range, or one number."""
    rows = load(f"{{rows: {written}}}").rows
    assert (rows.min, rows.max, rows.change) == (low, high, None)


def test_rows_against_the_median(load):
    """A change is a share, against the median of seven partitions unless said otherwise."""
    rows = load("{rows: {change: 50%}}").rows
    assert (rows.change, rows.against, rows.severity) == (0.5, 7, "error")
    assert load("{rows: {change: 150%, against: 30, severity: warn}}").rows.against == 30


def test_columns(load):
    """Columns are names and types; only the long form lets others join them."""
    short = load("{columns: {id: int64, p: float}}").columns
    assert (short.types, short.evolution) == ({"id": "int64", "p": "float"}, "none")
    assert load("{columns: {schema: {id: int}, evolution: add}}").columns.evolution == "add"
    named = load("{columns: {schema: string, severity: string}}").columns
    assert named.types == {"schema": "string", "severity": "string"}


def test_not_null(load):
    """Columns are listed, or mapped to the share of nulls that may be."""
    listed = load("{not_null: [a, b]}").not_null
    assert {name: check.at_most for name, check in listed.items()} == {"a": 0, "b": 0}
    mapped = load("{not_null: {a: 5%, b: {at_most: 0.1%, severity: warn}, c: {}}}").not_null
    assert [check.at_most for check in mapped.values()] == [0.05, 0.001, 0]
    assert [check.severity for check in mapped.values()] == ["error", "warn", "error"]


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("a", [("a",)]),
        ("[a, b]", [("a", "b")]),
        ("[[a, b], [c]]", [("a", "b"), ("c",)]),
        ("{key: a}", [("a",)]),
        ("[[a], {key: [b, c], severity: warn}]", [("a",), ("b", "c")]),
    ],
)
def test_unique(load, written, keys):
    """One column, one key of several, and several keys are told apart."""
    assert [check.key for check in load(f"{{unique: {written}}}").unique] == keys


def test_between_and_accepted(load):
    """Bounds are numbers or dates with an end that may be open; accepted values are listed."""
    checks = load(
        "{between: {p: [0, 1], n: [null, 5], d: {min: 2013-01-01, severity: warn},"
        " t: [2013-01-01 10:00:00, 2013-01-02 00:00:00]}, accepted: {c: [AA, UA]}}"
    )
    assert (checks.between["p"].min, checks.between["p"].max) == (0, 1)
    assert checks.between["n"].min is None
    assert checks.between["d"].min == date(2013, 1, 1)
    assert checks.between["d"].severity == "warn"
    assert checks.between["t"].max == datetime(2013, 1, 2)  # noqa: DTZ001 - as it was written
    assert checks.accepted["c"].values == ("AA", "UA")


def test_freshness_and_distribution(load):
    """Freshness is a time span; a distribution has thresholds, and 14 partitions to look at."""
    checks = load("{freshness: {d: 2d, t: {within: 1h, ahead: 1d}}, distribution: {p: {psi: 0.2}}}")
    assert checks.freshness["d"].within == timedelta(days=2)
    assert checks.freshness["t"].ahead == timedelta(days=1)
    assert (checks.distribution["p"].against, checks.distribution["p"].ks) == (14, None)


def test_sql_and_pandera(load):
    """A query is one, has an expected value, or a name among several; pandera names a schema."""
    assert load("{sql: SELECT 1}").sql[""].query == "SELECT 1"
    assert load("{sql: {query: SELECT 1, expect: 1}}").sql[""].expect == 1
    named = load("{sql: {orphans: SELECT 1, shares: {query: SELECT 2, severity: warn}}}").sql
    assert {name: check.query for name, check in named.items()} == {
        "orphans": "SELECT 1",
        "shares": "SELECT 2",
    }
    assert load('{pandera: "checks.scores:Scores"}').pandera.target == "checks.scores:Scores"


BAD = {
    # what stands behind `scores:`, the key below it, words of the problem, words of the advice
    "nothing": ("{}", "", "0 checks", ""),
    "text": ("all", "", "found the text `all`", ""),
    "unknown": ("{colums: {a: int}}", "colums", "unknown key", "did you mean `columns`?"),
    "rows word": ("{rows: some}", "rows", "`some` is no number of rows", "100..5000"),
    "rows half": ('{rows: ">1.5"}', "rows", "no number of rows", ""),
    "rows dots": ('{rows: ".."}', "rows", "no number of rows", ""),
    "rows float": ("{rows: 1.5}", "rows", "the number `1.5`", ""),
    "rows true": ("{rows: true}", "rows", "the truth value", ""),
    "rows key": ("{rows: {mn: 1}}", "rows.mn", "unknown key", "did you mean `min`?"),
    "rows empty": ("{rows: {severity: warn}}", "rows", "no bound", "change"),
    "rows swapped": ('{rows: "5..1"}', "rows", "from 5 to 1", "swap"),
    "rows negative": ("{rows: {min: -1}}", "rows.min", "greater than or equal", ""),
    "change bare": ("{rows: {change: 50}}", "rows.change", "no share", "5%"),
    "against": ("{rows: {change: 5%, against: 0}}", "rows.against", "greater than", ""),
    "severity": ("{rows: {min: 1, severity: warning}}", "rows.severity", "`warning`", "`warn`?"),
    "type": ("{columns: {a: intt}}", "columns.a", "unknown type `intt`", "did you mean `int`?"),
    "columns list": ("{columns: [a]}", "columns", "found a list", ""),
    "columns none": ("{columns: {}}", "columns", "at least 1", ""),
    "evolution": ("{columns: {schema: {a: int}, evolutoin: add}}", "columns.evolutoin", "unknown",
                  "did you mean `evolution`?"),
    "not_null text": ("{not_null: a}", "not_null", "found the text `a`", ""),
    "not_null share": ("{not_null: {a: 5}}", "not_null.a", "the number `5`", ""),
    "not_null key": ("{not_null: {a: {sevrity: warn}}}", "not_null.a.sevrity", "unknown key",
                     "did you mean `severity`?"),
    "unique none": ("{unique: []}", "unique", "at least 1", ""),
    "unique number": ("{unique: 5}", "unique", "expected text", "quotes"),
    "unique key": ("{unique: {key: a, sevrity: warn}}", "unique.sevrity", "unknown key",
                   "did you mean `severity`?"),
    "between one": ("{between: {a: [1]}}", "between.a", "expected two bounds", "[0, 1]"),
    "between none": ("{between: {a: [null, null]}}", "between.a", "no bound", ""),
    "between swapped": ("{between: {a: [2, 1]}}", "between.a", "from 2 to 1", "swap"),
    "between kinds": ("{between: {a: [1, 2013-01-01]}}", "between.a", "different kinds", ""),
    "between zones": ("{between: {a: [2013-01-01 10:00:00, 2013-01-02 10:00:00Z]}}", "between.a",
                      "different kinds", ""),
    "between nan": ("{between: {a: [.nan, 1]}}", "between.a", "nan", ""),
    "between text": ("{between: {a: [x, 1]}}", "between.a", "`x` is no bound", "number or a date"),
    "accepted kinds": ("{accepted: {a: [1, x]}}", "accepted.a", "of one kind", "quotes"),
    "accepted none": ("{accepted: {a: []}}", "accepted.a", "a list of values", ""),
    "freshness": ("{freshness: {a: 2}}", "freshness.a", "no time span", "1d"),
    "distribution": ("{distribution: {a: 0.2}}", "distribution.a", "keys and values", ""),
    "no threshold": ("{distribution: {a: {against: 3}}}", "distribution.a", "no threshold", "psi"),
    "psi": ("{distribution: {a: {psi: 0}}}", "distribution.a.psi", "greater than 0", ""),
    "ks": ("{distribution: {a: {ks: 1}}}", "distribution.a.ks", "less than 1", ""),
    "sql number": ("{sql: 5}", "sql", "expected text", ""),
    "sql key": ("{sql: {query: x, expct: 1}}", "sql.expct", "unknown", "did you mean `expect`?"),
    "sql named": ("{sql: {n: {query: x, sevrity: warn}}}", "sql.n.sevrity", "unknown key",
                  "did you mean `severity`?"),
    "pandera": ("{pandera: Scores}", "pandera", "`Scores` names no schema", "module:Schema"),
    "pandera path": ('{pandera: "../x:S"}', "pandera", "names no schema", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "key", "words", "advice"), BAD.values(), ids=BAD)
def test_bad(load, text, key, words, advice):
    """Each fault names its line and key, says what is wrong and what to write instead."""
    with pytest.raises(SpecError) as caught:
        load(text)
    error = each(caught.value)[0]
    assert error.line == 7
    assert error.key == ".".join(filter(None, ["steps.s.checks.scores", key]))
    assert words in error.problem
    assert advice in error.advice


def test_lines(load_spec):
    """In a file of many lines each fault names its own, all of them at once."""
    with pytest.raises(SpecError) as caught:
        load_spec(step("scores:\n  rows: x\n  between:\n    p: [1]\n  sql:\n    n: {querry: y}\n"))
    assert [error.line for error in each(caught.value)] == [8, 10, 12, 12]


@pytest.mark.parametrize(
    ("outputs", "words", "advice"),
    [
        ("{scors: s.parquet}", "unknown output `scores`", "did you mean `scors`?"),
        ("{}", "unknown output", "none"),
        ("{scores: model.pkl}", "cannot read `model.pkl`", ".parquet"),
        ("{scores: scores.csv.zip}", "cannot read", ".csv"),
    ],
)
def test_outputs(load_spec, outputs, words, advice):
    """Checks name an output of their own step, of a kind that can be read."""
    with pytest.raises(SpecError) as caught:
        load_spec(step('scores: {rows: ">0"}', outputs))
    assert caught.value.key == "steps.s.checks.scores"
    assert words in caught.value.problem
    assert advice in caught.value.advice


@pytest.mark.parametrize(
    "path", ["s.parquet", "S.PQ", "s.csv", "s.csv.gz", "s.tsv", "s.jsonl.zst", "s.json", "parts/"]
)
def test_readable(load_spec, path):
    """Parquet, delimited text and JSON lines can be checked, and folders of parts."""
    assert load_spec(step('scores: {rows: ">0"}', f"{{scores: {path}}}")).steps["s"].checks


def test_no_more_than_the_record_can_hold(load):
    """An output has at most 200 checks."""
    with pytest.raises(SpecError, match="201 checks"):
        load(f"{{not_null: [{', '.join(f'c{n}' for n in range(201))}]}}")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">0", [1, 0.1], [0, -1, float("nan")]),
        (">=0.5", [0.5, 7], [0.4]),
        ("<1", [0, -5], [1, 2]),
        ("<=1", [1], [1.01]),
        ("0.1..0.2", [0.1, 0.15, 0.2], [0.09, 0.21]),
        ("0.5", [0.5], [0.4, 0.6]),
        ("-3..-1", [-3, -2, -1], [0, -4]),
    ],
)
def test_ranges(text, inside, outside):
    """A range includes its ends unless it is written with > or <; NaN is in none."""
    found = parse_range(text)
    assert all(map(found.holds, inside))
    assert not any(map(found.holds, outside))


@given(st.text())
def test_ranges_and_shares_are_total(text):
    """Any text is a range or none, and a share or a fault that can be shown."""
    assert parse_range(text) is None or isinstance(parse_range(text), Range)
    problems = []
    try:
        assert parse_share(text) >= 0
    except Faults as faults:
        problems = [fault.problem for fault in faults.faults]
    assert all(problem.isprintable() for problem in problems)


@pytest.mark.parametrize(
    ("duckdb_type", "kind"),
    [
        ("BIGINT", "number"),
        ("DECIMAL(18,3)", "number"),
        ("VARCHAR", "text"),
        ("ENUM('a', 'b')", "text"),
        ("BOOLEAN", "bool"),
        ("DATE", "date"),
        ("TIMESTAMP WITH TIME ZONE", "date"),
        ("BIGINT[]", None),
        ("STRUCT(a BIGINT)", None),
    ],
)
def test_kinds_of_columns(duckdb_type, kind):
    """A column is compared with values of its own kind, and some types with none."""
    assert kind_of_type(duckdb_type) == kind
