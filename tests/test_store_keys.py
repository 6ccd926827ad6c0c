"""Keys: every name has one safe component, no two names share one, and back it comes."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nightmill.errors import UsageError
from nightmill.store import keys

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
short_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("2013-01-01", "2013-01-01"),
        ("flight_delays", "flight_delays"),
        ("partition=a.b", "partition=a.b"),
        ("scheduled__2013-01-01T02:30:00+00:00", "scheduled__2013-01-01T02~3A30~3A00~2B00~3A00"),
        ("a/b", "a~2Fb"),
        (".", "~2E"),
        ("..", "~2E."),
        (".hidden", "~2Ehidden"),
        ("50%", "50~25"),
        ("~", "~7E"),
        ("a b", "a~20b"),
        ("é", "~C3~A9"),
        ("😀", "~F0~9F~98~80"),
        ("\0", "~00"),
    ],
)
def test_names_become_safe_components(name, component):
    """Known names have known components, which are as readable as they can be."""
    assert keys.encode(name) == component
    assert keys.decode(component) == name


@given(short_names)
def test_decode_undoes_encode(name):
    """Any name that is not too long comes back from its component."""
    assert keys.decode(keys.encode(name)) == name


@given(names)
def test_components_are_safe_everywhere(name):
    """A component is short ASCII that leads nowhere, and that no reader of URLs changes."""
    component = keys.encode(name)
    assert re.fullmatch(r"[A-Za-z0-9_=~-][A-Za-z0-9_=.~-]{0,199}", component)
    assert unquote(component) == component


@given(names, names)
def test_different_names_have_different_components(one, other):
    """No two names share a component."""
    assume(one != other)
    assert keys.encode(one) != keys.encode(other)


@given(st.text("a/é~", min_size=1, max_size=400), st.text("a/é~", max_size=3))
def test_long_names_that_differ_at_the_end_stay_apart(name, end):
    """A name and the same name continued differ also where both are shortened."""
    assert (keys.encode(name) == keys.encode(name + end)) == (end == "")


def test_a_long_name_is_shortened_and_still_recognized():
    """A long name keeps its beginning in whole characters, and a hash of all of it."""
    component = keys.encode("é" * 300)
    assert len(component) <= 200
    assert re.fullmatch(r"(é){20,}~~[0-9a-f]{32}", keys.decode(component))


@given(st.text("a.é東😀~\n/", min_size=1, max_size=300))
def test_what_was_listed_is_found_again(name):
    """What is left of a shortened name leads to the same key as the name."""
    component = keys.encode(name)
    assert keys.encode(keys.decode(component)) == component


@pytest.mark.parametrize("head", ["a", "é" * 20, "a" * 154])
def test_a_name_that_only_looks_shortened_is_a_name(head):
    """A name that is not long may end like a shortened one, and comes back whole."""
    name = f"{head}~~{'0' * 32}"
    assert "~~" not in keys.encode(name)
    assert keys.decode(keys.encode(name)) == name


@pytest.mark.parametrize("length", [200, 201])
def test_two_hundred_bytes_are_not_too_long(length):
    """A name of exactly 200 safe bytes is kept; one more is shortened to that."""
    component = keys.encode("a" * length)
    assert len(component) == 200
    assert (component == "a" * 200) is (length == 200)


@pytest.mark.parametrize("name", ["", "\ud800", "a\udcff"])
def test_names_that_are_no_text_are_refused(name):
    """An empty name and a lone surrogate are the user's error, not a key."""
    with pytest.raises(UsageError) as raised:
        keys.encode(name)
    assert raised.value.advice


def test_the_tree_is_as_the_design_draws_it():
    """Runs lie below pipeline, partition, run, step and attempt; pointers below current."""
    attempt = keys.attempt_prefix("flights", "2013-01-01", "r:1", "score", 2)
    assert attempt == "runs/flights/2013-01-01/r~3A1/score/2"
    assert keys.run_prefix("flights", "2013-01-01", "r:1") == "runs/flights/2013-01-01/r~3A1"
    assert keys.partition_prefix("flights", "2013-01-01") == "runs/flights/2013-01-01"
    assert keys.pipeline_prefix("flights") == "runs/flights"
    assert (
        keys.output_key(attempt, "s/1", "x/y 1.parquet") == f"{attempt}/outputs/s~2F1/x/y 1.parquet"
    )
    pointer = keys.pointer_key("flights", "score", "2013-01-01")
    assert pointer == "current/flights/score/2013-01-01.json"
    assert pointer.startswith(keys.pointers_prefix("flights", "score") + "/")


@given(short_names, short_names, short_names)
def test_hostile_names_stay_in_their_place(pipeline, step, partition):
    """Whatever names are, a pointer's key has exactly its four parts and can be stored."""
    key = keys.pointer_key(pipeline, step, partition)
    assert key.count("/") == 3
    assert keys.check_key(key) == key


parts = st.sampled_from([*keys.FILES, "outputs/o/record.json", "outputs/o/1/f", "spilled/1.html"])
odd_names = st.sampled_from(["outputs", "spilled", "1", "record.json", "runs", "a/1"]) | short_names


@given(st.lists(odd_names, min_size=4, max_size=5), st.integers(1, 20), parts)
def test_an_object_tells_its_attempt(given_names, attempt, part):
    """Whatever names are, an attempt's object tells the attempt, and which part of it it is."""
    pipeline, partition, run, step, *member = given_names
    prefix = keys.attempt_prefix(pipeline, partition, run, step, attempt, member="".join(member))
    assert keys.attempt_of(f"{prefix}/{part}") == prefix
    assert keys.part_of(f"{prefix}/{part}") == part.partition("/")[0]


@given(st.lists(odd_names, min_size=4, max_size=5), parts, st.lists(odd_names, max_size=3))
def test_an_address_tells_its_attempt(given_names, part, place):
    """Wherever a store lies, what lies there tells its attempt, whatever has the name `runs`."""
    pipeline, partition, run, step, *member = given_names
    prefix = keys.attempt_prefix(pipeline, partition, run, step, 1, member="".join(member))
    assert prefix in keys.attempts_at("/".join([*place, prefix, part]))


@pytest.mark.parametrize(
    "key",
    [
        "runs/p/d/r/s/1",
        "runs/p/d/r/s/1/notes.txt",
        "runs/p/d/r/s/1/outputs",
        "runs/p/d/r/s/1/record.json/x",
        "runs/p/d/r/1/record.json",
        "runs/p/d/r/s/m/x/1/record.json",
        "active/runs/p/d/r/s/1/record.json",
    ],
)
def test_what_is_of_no_attempt(key):
    """Other objects, below `runs/` or elsewhere, belong to no attempt."""
    assert keys.attempt_of(key) is None
    assert keys.part_of(key) == ""


@pytest.mark.parametrize(
    "file", ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".", "a\nb", "\ud800"]
)
def test_files_that_leave_their_output_are_refused(file):
    """A file's path inside an output cannot lead out of it."""
    with pytest.raises(UsageError):
        keys.output_key("runs/p/d/r/s/1", "scores", file)


@pytest.mark.parametrize(
    "file", ["part-0.parquet", "city=New%20York/é 😀.parquet", ".crc", "_SUCCESS"]
)
def test_file_names_of_an_output_stay_as_they_are(file):
    """A file's name is its author's: it is not escaped, so folder readers see what was meant."""
    assert keys.output_key("a/1", "scores", file) == f"a/1/outputs/scores/{file}"


@pytest.mark.parametrize(("size", "fits"), [(1024, True), (1025, False)])
def test_keys_end_where_s3_ends(size, fits):
    """A key may have the 1024 bytes that S3 allows, counted in UTF-8, and not one more."""
    key = "é/" * (size // 3)
    key += "a" * (size - len(key.encode()))
    assert len(key.encode()) == size
    if fits:
        assert keys.check_key(key) == key
    else:
        with pytest.raises(UsageError, match="1024"):
            keys.check_key(key)
