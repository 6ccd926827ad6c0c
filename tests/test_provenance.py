"""What a record says about the code that ran."""

from __future__ import annotations

import pytest

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
