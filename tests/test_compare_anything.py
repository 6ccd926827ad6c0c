"""Comparisons of anything: they never fail, and what they tell is true."""

from __future__ import annotations

import json
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.review.compare.budget import Budget
from nightmill.review.compare.compare import Side, compare
from nightmill.review.compare.contents import read_cells
from nightmill.review.compare.lines import Text, compare_lines
from nightmill.review.compare.pairs import in_order, moved, pair
from tests.compared import record

QUICK = settings(deadline=None, max_examples=60)

NAMES = st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text(max_size=30) | st.lists(st.text(max_size=9), max_size=3) | JSON
MIMES = st.sampled_from(
    ["text/plain", "text/html", "image/png", "image/svg+xml", "application/json", "x/y+json", "odd"]
)
OUTPUTS = JSON | st.fixed_dictionaries(
    {
        "output_type": st.sampled_from(["stream", "error", "display_data", "odd"]) | JSON,
        "name": st.sampled_from(["stdout", "stderr"]) | JSON,
        "text": TEXTS,
        "data": st.dictionaries(MIMES, TEXTS, max_size=3) | JSON,
        "ename": TEXTS,
        "traceback": TEXTS,
    }
)
CELLS = JSON | st.fixed_dictionaries(
    {
        "cell_type": st.sampled_from(["code", "markdown", "raw"]) | JSON,
        "id": st.sampled_from("abc") | JSON,
        "source": TEXTS,
        "metadata": st.just({}) | JSON | st.fixed_dictionaries({"nightmill": JSON, "tags": JSON}),
        "outputs": st.lists(OUTPUTS, max_size=4) | JSON,
    }
)
NOTEBOOKS = st.fixed_dictionaries({"cells": st.lists(CELLS, max_size=5) | JSON})
LINES = st.lists(st.text(string.ascii_lowercase[:3], max_size=2), max_size=40)


@QUICK
@given(NOTEBOOKS, NOTEBOOKS, st.booleans())
def test_no_notebook_makes_a_comparison_fail(old, new, whole):
    """Whatever JSON lies where a notebook should, the result is plain JSON, and equal if equal."""
    sides = [Side(record(), read_cells(json.dumps(one).encode())) for one in (old, new)]
    found = compare(sides[0], sides[1], whole=whole)
    json.dumps(found.model_dump(mode="json"), allow_nan=False).encode()
    same = compare(sides[0], sides[0])
    assert same.cells == ()
    assert (same.counts.source, same.counts.outputs, same.counts.volatile) == (0, 0, 0)


@QUICK
@given(JSON, JSON)
def test_no_metric_makes_a_comparison_fail(old, new):
    """Whatever a notebook reports, both values are told and differ where they do."""
    sides = [Side(record(metrics={"m": one}, parameters={"p": one}), ()) for one in (old, new)]
    found = compare(sides[0], sides[1])
    json.dumps(found.model_dump(mode="json"), allow_nan=False).encode()
    assert found.metrics.same == (
        json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    )


@QUICK
@given(LINES, LINES)
def test_a_difference_by_line_is_true(old, new):
    """What is not added is the earlier text, what is not removed the later one, gaps filled."""
    found = compare_lines(Text(old, old), Text(new, new), Budget(deadline_s=60))
    for lines, without in ((old, "added"), (new, "removed")):
        told, rest = [], list(lines)
        for line in found.lines:
            if line.kind == "gap":
                told += rest[len(told) : len(told) + line.skipped]
            elif line.kind != without:
                told.append("".join(span.text for span in line.spans))
        assert told == lines


@QUICK
@given(LINES, LINES)
def test_pairs_are_true(old, new):
    """Everything is told once, partners are equal, and the unmoved ones stand in order."""
    pairs = pair(old, new, lambda one: one)
    assert all(old[before] == new[after] for after, before in pairs.items())
    assert len(set(pairs.values())) == len(pairs)
    places = list(in_order(pairs, len(old), len(new)))
    assert sorted(at for at, _ in places if at is not None) == list(range(len(old)))
    assert [at for _, at in places if at is not None] == list(range(len(new)))
    still = [pairs[after] for after in sorted(pairs.keys() - moved(pairs))]
    assert still == sorted(still)
