"""A store that is named to a verb: it has to be there, unless the verb is one that makes it."""

from __future__ import annotations

import pytest
import typer

from nightmill.cli.app import app

MAKE_ONE = {"run", "step"}
SERVE = {"review"}  # its pages tell of the folder until it is there: test_review_server.py
ARGUMENTS = {
    "runs": [],
    "show": ["r1"],
    "replay": ["r1"],
    "amend": ["r1"],
    "sweep": [],
    "where": ["demo.made"],
    "versions": ["demo.made"],
    "rollback": ["demo.made", "--partition=p", "--to=previous", "--reason=x"],
    "promote": ["demo.made", "--partition=p", "--to=r1", "--reason=x"],
    "approve": ["r1"],
    "reject": ["r1", "--comment=x"],
    "note": ["r1", "x"],
    "gc": [],
    "reindex": [],
    "repair": [],
}


@pytest.fixture
def here(project, monkeypatch):
    """Stand in a project without a run."""
    monkeypatch.delenv("NIGHTMILL_STORE", raising=False)
    monkeypatch.chdir(project.root)
    return project.root


def test_every_verb_with_a_store_is_known_here():
    """A new verb that takes a store is tried below, or is one that makes it."""
    verbs = typer.main.get_command(app).commands.items()
    taking = {name for name, verb in verbs if any("--store" in one.opts for one in verb.params)}
    assert taking - MAKE_ONE - SERVE == set(ARGUMENTS)


@pytest.mark.parametrize(("verb", "arguments"), ARGUMENTS.items(), ids=ARGUMENTS)
def test_a_folder_that_was_mistyped_is_no_empty_store(here, cli, monkeypatch, verb, arguments):
    """Named as an option or by the environment, the error says where, and makes nothing there."""
    (here / "file").write_bytes(b"")
    for name in ("mistyped", "file"):
        with monkeypatch.context() as patch:
            patch.setenv("NIGHTMILL_STORE", name)
            by_env = cli(verb, *arguments)
        ended = cli(verb, *arguments, f"--store={name}")
        assert (ended.code, ended.out) == (1, "")
        assert f"open {name}: there is no such folder\n" in ended.err
        assert "see that --store or NIGHTMILL_STORE is right" in ended.err
        assert by_env == ended
    assert not (here / "mistyped").exists()


@pytest.mark.usefixtures("here")
def test_a_folder_that_was_named_and_is_there_may_be_empty(here, cli):
    """A store before its first run, and that of a project, are no error to ask."""
    (here / "made").mkdir()
    for options in ([], ["--store=made"]):
        ended = cli("runs", *options)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("No runs yet in ")
        for verb in ("sweep", "gc", "reindex", "repair"):
            assert cli(verb, *options).code == 0
