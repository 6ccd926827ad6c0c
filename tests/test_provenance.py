"""What a record says about the code that ran."""

from __future__ import annotations

import os

import pytest

from nightmill.step import provenance
from nightmill.step.provenance import describe_code


@pytest.mark.parametrize(
    ("built_from", "commit", "is_dirty"),
    [("3f" * 20, "3f" * 20, False), (f"{'3f' * 20}-dirty", "3f" * 20, True)],
)
def test_an_image_says_what_it_was_built_from(tmp_path, monkeypatch, built_from, commit, is_dirty):
    """In an image the commit is the build's, and a tree that differed from it is told as dirty."""
    monkeypatch.setenv("NIGHTMILL_GIT_COMMIT", built_from)
    monkeypatch.setenv("NIGHTMILL_IMAGE", "localhost/nightmill:1")
    notebook = tmp_path / "notebooks" / "trial" / "one.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text("{}", encoding="ascii")
    code = describe_code(notebook, tmp_path)
    assert (code.git_commit, code.git_dirty) == (commit, is_dirty)
    assert code.image == "localhost/nightmill:1"


def test_a_git_that_hangs_holds_up_no_step(tmp_path, monkeypatch):
    """A repository on a drive that does not answer costs the commit in the record, no more."""
    script = tmp_path / "git"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("NIGHTMILL_GIT_COMMIT", raising=False)
    monkeypatch.setattr(provenance, "_GIT_S", 0.2)
    notebook = tmp_path / "one.ipynb"
    notebook.write_text("{}", encoding="ascii")
    code = describe_code(notebook, tmp_path)
    assert (code.git_commit, code.git_dirty) == (None, None)
