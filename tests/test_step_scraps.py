"""Metrics: what is read of the scraps in an executed notebook."""

from __future__ import annotations

import math

import pytest

from nightmill.step.scraps import read_metrics


def glued(*scraps, encoder="json"):
    """Make a notebook whose only cell glued these names and values."""
    mime = f"application/scrapbook.scrap.{encoder}+json"
    bundles = [{mime: {"name": name, "data": value}} for name, value in scraps]
    return {"cells": [{"outputs": [{"data": bundle} for bundle in bundles]}]}


def test_the_last_of_a_name_wins():
    """A metric that is glued twice has its later value, whatever else the cell shows."""
    assert read_metrics(glued(("auc", 0.1), ("n", 3), ("auc", 0.2))) == {"auc": 0.2, "n": 3}
    assert read_metrics(glued(("who", "me"), encoder="text")) == {"who": "me"}
    assert read_metrics(glued(("frame", {}), encoder="pandas")) == {}
    assert read_metrics(glued((3, 4))) == {}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (10**400, "1" + "0" * 400),
        (math.nan, "NaN"),
        ({"a": [-math.inf, 10**300]}, {"a": ["-Infinity", "1" + "0" * 300]}),
        ({"\ud800": "\ud800"}, {"\\ud800": "\ud800"}),
    ],
    ids=["huge", "nan", "inside", "surrogate"],
)
def test_a_metric_is_what_the_record_can_tell(value, kept):
    """What JSON cannot say to every reader is a metric as text, and the others stay as they are."""
    assert read_metrics(glued(("odd", value), ("auc", 0.7))) == {"odd": kept, "auc": 0.7}


def test_names_that_are_no_text_stay_apart():
    """Two metrics whose names no reader would take keep both their values."""
    assert read_metrics(glued(("\ud800", 1), ("\ud801", 2))) == {"\\ud800": 1, "\\ud801": 2}
