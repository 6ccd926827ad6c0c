"""A cell's own time limit, read from its tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightmill.errors import ContractError
from nightmill.spec.cell_tags import TagError, check_tags, own_timeout
from nightmill.spec.contract import read_contract
from nightmill.spec.notebook import Cell, SourceNotebook


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ([], None),
        (["parameters"], None),
        (["timeout=30s"], 30.0),
        (["slow", "timeout=1.5m"], 90.0),
        (["timeout=2h"], 7200.0),
        (["timeouts", "no-timeout", "timeout-later", "my timeout=3"], None),
    ],
)
def test_a_tag_limits_a_cell(tags, seconds):
    """The units are those of pipeline.yaml; tags that only look alike say nothing."""
    assert own_timeout(tags) == seconds


@pytest.mark.parametrize(
    "tag",
    [
        "timeout",
        "timeout=",
        "timeout=30",
        "timeout=0s",
        "timeout=-5s",
        "timeout=soon",
        "timeout = 30s",
        "timeout: 30s",
        "Timeout=30s",
        "timeout=1h30m",
        "timeout=99999999h",
    ],
)
def test_a_limit_that_cannot_be_read_is_an_error(tag):
    """A tag that was meant as a limit never passes as none: it is named, and how to write it."""
    with pytest.raises(TagError) as error:
        own_timeout([tag])
    assert tag in error.value.problem
    assert "timeout=30m" in error.value.advice


def test_two_limits_are_an_error():
    """Of two limits nobody knows which one counts."""
    with pytest.raises(TagError, match="has 2 time limits: `timeout=1s`, `timeout=1h`"):
        own_timeout(["timeout=1s", "timeout=1h"])


def test_a_notebook_s_bad_tags_are_found_with_their_cells():
    """Every bad tag is found at once; a limit on a text cell, which never runs, is one of them."""
    cells = (
        Cell(1, "code", "1", ("timeout=30s",)),
        Cell(2, "code", "2", ("timeout=half an hour",)),
        Cell(3, "markdown", "text", ("timeout=30s",)),
    )
    notebook = SourceNotebook(Path("n.ipynb"), "", cells)
    errors = check_tags(notebook, Path("given.ipynb"))
    assert [(error.cell, str(error.notebook)) for error in errors] == [
        (2, "given.ipynb"),
        (3, "given.ipynb"),
    ]
    with pytest.raises(ContractError):
        read_contract(notebook)


def test_a_bad_limit_is_found_before_the_night_and_stops_a_run(project):
    """`check` names the cell and how to write it; a run of it starts no kernel and no attempt."""
    project.pipeline("p", "s: {notebook: s.ipynb}", s=["1", ("2", "timeout=half an hour")])
    for verb in (["check"], ["run", "p", "--partition", "2013-01-01"]):
        ended = project.run(*verb)
        assert ended.code in (1, 2)
        said = ended.out + ended.err
        assert "cell 2" in said
        assert "timeout=half an hour" in said
        assert "timeout=30m" in said
    assert project.attempts("p", "s") == []
