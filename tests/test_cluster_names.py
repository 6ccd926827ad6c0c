"""Names for the cluster: valid for any text, and never two texts under one name."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nightmill.cluster.names import (
    check_dns_label,
    check_dns_name,
    check_label_key,
    check_label_value,
    label_value,
    pod_name,
)
from nightmill.spec.problems import Faults

# As in Kubernetes' own documentation of names and labels.
LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

TEXTS = st.text(max_size=100) | st.from_regex(r"[a-z._-]{0,90}", fullmatch=True)


@given(TEXTS)
def test_label_values_are_valid(text):
    """Any text gives a label value that Kubernetes takes."""
    value = label_value(text)
    assert len(value) <= 63
    assert LABEL.fullmatch(value)


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_pod_names_are_valid(parts):
    """Any texts give a pod name with room for a suffix of twelve characters."""
    name = pod_name(*parts)
    assert len(name) <= 50
    assert DNS_LABEL.fullmatch(name)


@given(TEXTS, TEXTS)
def test_label_values_differ(one, other):
    """Different texts have different label values, also a text that looks like a value."""
    assume(one != other)
    assert label_value(one) != label_value(other)
    assert label_value(label_value(one)) != label_value(one) or label_value(one) == one


@given(st.lists(TEXTS, min_size=1, max_size=3), st.lists(TEXTS, min_size=1, max_size=3))
def test_pod_names_differ(one, other):
    """Different parts have different names, also where joined they read alike."""
    assume(one != other)
    assert pod_name(*one) != pod_name(*other)


def test_where_parts_end():
    """The border between two parts counts: a-b and c are not a and b-c."""
    assert pod_name("a-b", "c") != pod_name("a", "b-c")


@pytest.mark.parametrize("text", ["", "a", "flight_delays", "2013-03-01", "A.b-C_d", "x" * 63])
def test_valid_text_stays(text):
    """What Kubernetes takes is left as people wrote it."""
    assert label_value(text) == text


def test_long_names_that_differ_at_the_end():
    """Case 37: long names, alike but for the last letter, capitals, dots and accents."""
    pipeline = "a_very_long_pipeline_" + "x" * 49
    steps = [f"{'Étape.Score_' * 6}{last}"[-70:] for last in "ab"]
    labels = [label_value(step) for step in steps]
    names = [pod_name(pipeline, step) for step in steps]
    assert len(set(labels)) == len(set(names)) == 2
    members = {pod_name(pipeline, steps[0], str(member)) for member in range(12)}
    assert len(members | set(names)) == 14


def test_run_ids_of_airflow():
    """A run id with colons and a plus becomes a readable label that no other run has."""
    value = label_value("scheduled__2013-03-01T02:30:00+00:00")
    assert re.fullmatch(r"scheduled__2013-03-01T02-30-00-00-00-[0-9a-f]{10}", value)
    assert value != label_value("scheduled__2013-03-01T02:30:00-00:00")


def test_names_are_the_same_everywhere():
    """A name depends on its text alone, on every machine and in every release."""
    # From `printf a:b | sha256sum`, and the same of the JSON list of the parts.
    assert label_value("a:b") == "a-b-6783a31eab"
    assert pod_name("flight_delays", "score") == "flight-delays-score-1af56c8649"


BAD = [
    (check_dns_label, ["", "A", "a.b", "-a", "a-", "a_b", "a" * 64, "a\n"]),
    (check_dns_name, ["", "A", "a..b", "-a", "a_b", "a" * 254, "a b"]),
    (check_label_key, ["", "/a", "a/", "A/b", "a/b/c", "-a", "a" * 64, "é"]),
    (check_label_value, ["-a", "a-", "a b", "a/b", "a" * 64, "a\n", "é"]),
]


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, some in BAD for text in some])
def test_bad_names(check, text):
    """What Kubernetes refuses is refused when the file is read, with an example of better."""
    with pytest.raises(Faults) as caught:
        check(text)
    assert caught.value.faults[0].advice


GOOD = [
    (check_dns_label, ["a", "night-mill", "1", "a" * 63]),
    (check_dns_name, ["a", "a.b-c.d", "a" * 253]),
    (check_label_key, ["a", "nightmill.io/pool", "kubernetes.io/arch", "A_b.c"]),
    (check_label_value, ["", "a", "A_b.c-d", "1" * 63]),
]


@pytest.mark.parametrize(
    ("check", "text"), [(check, text) for check, some in GOOD for text in some]
)
def test_good_names(check, text):
    """What Kubernetes takes passes unchanged."""
    assert check(text) == text
