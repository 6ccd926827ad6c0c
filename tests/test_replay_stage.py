"""The stage of a replay: the kernel, values and surroundings of then, and nothing of now."""

from __future__ import annotations

import math
import sys

import pytest

from nightmill import kernels
from nightmill.errors import UsageError
from nightmill.replay.stage import set_up
from nightmill.step import redaction
from nightmill.store.open import open_store
from tests.remembered import remember, with_code

IDENTITY = ("20260101T000000000000-abcdef", 7)
PARAMETERS = """\
made: str = "m"
partition: str = ""
as_of: str = ""
limit: float = 0.5
other: float = 0.5
text: str = ""
"""
STEP = "s: {notebook: s.ipynb, outputs: {made: made.txt}, parameters: {other: 2.5}}"


@pytest.fixture
def made(project, monkeypatch):
    """Make a project with one step; its kernels are those of all tests."""
    monkeypatch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
    project.pipeline("main", STEP, s=[(PARAMETERS, "parameters"), "1"])
    return project


@pytest.fixture
def store(made):
    """Open the project's own store."""
    return open_store(".nightmill/store", base=made.root)


@pytest.fixture
def stage(made, store):
    """Return a function that sets up a replay of an attempt of now with some parameters."""

    def prepare(*, record=None, **parameters):
        record = record or remember(made.root, "main", "s", store)
        record = record.model_copy(update={"parameters": parameters})
        return set_up(record, made.root, store, identity=IDENTITY)

    return prepare


def test_the_values_of_then_are_given(stage):
    """All but the runner's own are passed, also those that pipeline.yaml gave, and no number."""
    given = stage(
        made="/old/made.txt", partition="2013-03-01", as_of="2013-03-02", limit="NaN", other=1.5,
        text="NaN",
    ).run.parameters  # fmt: skip
    assert math.isnan(given.pop("limit"))
    assert given == {"other": 1.5, "text": "NaN"}


def test_a_replay_is_a_run_of_its_own(stage, made):
    """It is for the same day with the same today, under another name and in another store."""
    run = stage().run
    assert (run.partition, run.as_of, run.step, run.member) == ("2013-03-01", "2013-03-02", "s", "")
    assert (run.run, run.order, run.attempt) == (*IDENTITY, 1)
    assert run.store == str(made.root / ".nightmill" / "replays" / IDENTITY[0] / "s" / "store")


@pytest.mark.parametrize("value", [redaction.TOKEN, "[redacted: API_KEY]", ["a [redacted: X] b"]])
def test_a_value_that_was_a_secret_is_not_made_up(stage, value):
    """A record does not know it, and so a replay would run with another: it is refused."""
    with pytest.raises(UsageError, match="text was a secret") as raised:
        stage(text=value)
    assert "secret://" in raised.value.advice


def test_the_surroundings_are_those_of_then(stage, made):
    """Threads, the commit and the place of the kernels follow from the record and the project."""
    record = with_code(remember(made.root, "main", "s"), git_commit="3f" * 20, git_dirty=True)
    env = stage(record=record).env
    assert env["OMP_NUM_THREADS"] == "3"
    assert env["NIGHTMILL_GIT_COMMIT"] == "3f" * 20 + "-dirty"
    assert env["NIGHTMILL_KERNELS"] == made.env["NIGHTMILL_KERNELS"]


def test_the_kernel_is_that_of_the_old_lock(stage, made, store, kernel_environment):
    """A lock that has changed since is not used: the environment of the record's lock is."""
    record = remember(made.root, "main", "s", store)
    lock = made.root / "kernels" / "tabular" / "requirements.txt"
    lock.write_text(lock.read_text() + "\n# changed\n")
    staged = stage(record=record)
    assert staged.code.origin == "the bundle in the store"
    assert staged.kernel.path == kernel_environment.path
    assert staged.kernel.installed


@pytest.mark.parametrize("announce", [True, False])
def test_an_old_kernel_is_not_announced(monkeypatch, tmp_path, kernel_environment, announce):
    """JupyterLab keeps the environment it knows under a name, unless it is told of another."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    root = kernel_environment.kernel.folder.parents[1]
    _found, built = kernels.install(kernel_environment.kernel, root, announce=announce)
    assert not built
    assert (tmp_path / "share/jupyter/kernels/tabular").exists() == announce
