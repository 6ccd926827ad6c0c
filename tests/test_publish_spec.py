"""The long form of an output: how it is published."""

import pytest

from nightmill.errors import SpecError
from tests.published import FILES

LONG = FILES.replace("scores: scores.parquet", "scores: {}")


def declare(load_spec, text: str):
    """Declare the scores."""
    return load_spec(LONG.replace("{}", text)).steps["score"].outputs["scores"]


@pytest.mark.parametrize(
    ("text", "path", "is_published"),
    [
        ("scores.csv", "scores.csv", True),
        ("scores/", "scores/", False),
        ("{path: scores.parquet}", "scores.parquet", True),
        ("{path: scores.parquet, format: files}", "scores.parquet", True),
        ("{path: scores.parquet, publish: false}", "scores.parquet", False),
        ("{path: scores/, publish: false}", "scores/", False),
        ("{path: scores.parquet, format: delta}", "scores.parquet", True),
        ("{path: scores/, format: delta}", "scores/", True),
        ("{path: a.PQ, format: delta, publish: false}", "a.PQ", False),
        ("{path: scores/, format: delta, evolution: add}", "scores/", True),
    ],
)
def test_both_forms_say_the_path_and_whether_it_is_published(load_spec, text, path, is_published):
    """A file and a table are published unless declared otherwise, a folder of files is not."""
    found = declare(load_spec, text)
    assert (found.path, found.is_published) == (path, is_published)


@pytest.mark.parametrize(
    ("text", "key", "problem", "advice"),
    [
        ("[a, b]", "", "expected the path of a file or folder", "{path: scores.parquet"),
        ("3", "", "expected the path of a file or folder", "scores.parquet"),
        ("{format: delta}", ".path", "`path` is missing", "add it"),
        ("{path: a, formt: delta}", ".formt", "unknown key `formt`", "did you mean `format`?"),
        ("{path: a.pq, format: dleta}", ".format", "`dleta` is not possible", "`delta`"),
        ("{path: a, publish: 'yes'}", ".publish", "expected true or false", ""),
        ("{path: ../a}", ".path", "leaves its folder", ""),
        ("{path: a.csv, format: delta}", ".path", "cannot be made of `a.csv`", ".parquet"),
        ("{path: a/, publish: true}", ".publish", "see a mixture", "add `format: delta`"),
        ("{path: a.pq, evolution: add}", ".evolution", "only Delta tables evolve", "format: delta"),
        ("{path: a.pq, format: delta, evolution: all}", ".evolution", "`all`", "`none`, `add`"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(load_spec, text, key, problem, advice):
    """Every fault of the long form names its key and what to write instead."""
    with pytest.raises(SpecError) as raised:
        declare(load_spec, text)
    assert raised.value.key == f"steps.score.outputs.scores{key}"
    assert problem in raised.value.problem
    assert advice in raised.value.advice


def test_two_outputs_share_no_path_in_any_form(load_spec):
    """The long form's path is compared as the short one's."""
    with pytest.raises(SpecError, match="would share a path"):
        declare(load_spec, "{path: plots/x.parquet, format: delta}")
