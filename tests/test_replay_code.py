"""The code of a past attempt is found in the working tree, in git or in the store, or nowhere."""

from __future__ import annotations

import shutil

import pytest

from nightmill.errors import UsageError
from nightmill.replay.beside import beside
from nightmill.replay.code import find_code
from nightmill.store.open import open_store
from tests.remembered import git, remember, with_code

STEPS = """
one: {notebook: one.ipynb, kernel: tabular}
two: {notebook: two.ipynb, kernel: slim}
"""
HELPER = "notebooks/main/helper.py"
SIDE = "notebooks/main/side.json"


@pytest.fixture
def code(project):
    """Make a project in a repository, with a notebook, a helper and a second kernel."""
    project.pipeline("main", STEPS, one=["1"], two=["2"])
    project.write("kernels/slim/requirements.txt", "ipykernel\n")
    project.write(HELPER, "x = 1\n")
    git(project.root, "init", "-q")
    git(project.root, "add", ".")
    git(project.root, "commit", "-qm", "first")
    return project


@pytest.fixture
def store(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


def remember_one(root, store=None, **facts):
    """Return the record of an attempt of now, perhaps with other facts about its code."""
    return with_code(remember(root, "main", "one", store), **facts)


def helper(found):
    """Read the helper module of the code that was found."""
    return (found.project.root / HELPER).read_text()


def test_code_that_is_there_is_used_where_it_is(code, store, tmp_path):
    """The working tree is used as it stands if it is what ran; nothing is written."""
    found = find_code(remember_one(code.root), code.root, store, tmp_path / "code")
    assert found.origin == "the working tree"
    assert found.project.root == code.root
    assert not (tmp_path / "code").exists()


def test_a_copy_is_apart_from_the_working_tree(code, store, tmp_path):
    """Who asks for a copy may change it: the working tree stays as it is."""
    record = remember_one(code.root)
    found = find_code(record, code.root, store, tmp_path / "code", copy=True)
    (found.project.root / HELPER).write_text("changed")
    assert found.project.root == tmp_path / "code"
    assert (code.root / HELPER).read_text() == "x = 1\n"


@pytest.mark.parametrize(
    "path",
    [
        HELPER,
        "notebooks/main/one.ipynb",
        "notebooks/main/pipeline.yaml",
        "notebooks/main/new.py",
        "kernels/tabular/requirements.txt",
        "kernels/tabular/kernel.yaml",
    ],
)
@pytest.mark.parametrize("subfolder", ["", "deep/er"])
def test_other_code_is_found_in_git(code, store, tmp_path, path, subfolder):
    """Whatever has changed since, the commit is read; repository and working tree stay as they are.

    The project may be a folder of a larger repository.
    """
    root = code.root
    if subfolder:
        root = tmp_path / "whole" / subfolder
        shutil.copytree(code.root, root, ignore=shutil.ignore_patterns(".git"))
        git(tmp_path / "whole", "init", "-q")
        git(tmp_path / "whole", "add", ".")
        git(tmp_path / "whole", "commit", "-qm", "first")
    record = remember_one(root)
    with (root / path).open("a") as file:
        file.write("\n")
    before = git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD")
    found = find_code(record, root, store, tmp_path / "code")
    assert found.origin == f"git commit {record.code.git_commit[:10]}"
    assert found.project.root == tmp_path / "code"
    assert helper(found) == "x = 1\n"
    assert (git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD")) == before
    assert list(tmp_path.glob("git-*")) == []


@pytest.mark.parametrize("gone", ["uncommitted", "no commit", "another repository", "no git"])
def test_what_git_does_not_know_is_found_in_the_store(code, store, tmp_path, gone):
    """A commit counts only if it has the very files; else the bundle does, whole and readable."""
    if gone == "uncommitted":
        (code.root / HELPER).write_text("x = 2\n")
    record = remember_one(code.root, store, **({"git_commit": None} if gone == "no commit" else {}))
    (code.root / HELPER).write_text("x = 3\n")
    if gone in ("another repository", "no git"):
        shutil.rmtree(code.root / ".git")
    if gone == "another repository":
        git(code.root, "init", "-q")
    found = find_code(record, code.root, store, tmp_path / "code")
    assert found.origin == "the bundle in the store"
    assert helper(found) == ("x = 2\n" if gone == "uncommitted" else "x = 1\n")
    assert found.project.kernel(found.pipeline.spec.steps["one"]).name == "tabular"


@pytest.mark.parametrize("commit", ["--output=/tmp/x", "HEAD", "main", "f" * 41, ""])
def test_a_commit_that_is_none_is_not_asked_for(code, store, tmp_path, commit):
    """What a record calls a commit is given to git only where it looks like one."""
    record = remember_one(code.root, store, git_commit=commit)
    (code.root / HELPER).write_text("x = 3\n")
    found = find_code(record, code.root, store, tmp_path / "code")
    assert found.origin == "the bundle in the store"


def told(code, store, tmp_path, record):
    """Say what is told of files beside the notebook."""
    found = find_code(record, code.root, store, tmp_path / "code")
    return beside(record, found, code.root)


def test_files_beside_the_notebook_are_watched_by_git(code, store, tmp_path):
    """What is not as in the commit is named: changed, new, removed, and committed since."""
    for name in ("side", "gone"):
        code.write(f"notebooks/main/{name}.json", "1")
    code.write("notebooks/other.json", "1")
    git(code.root, "add", ".")
    git(code.root, "commit", "-qm", "second")
    record = remember_one(code.root)
    assert told(code, store, tmp_path, record) == ()
    code.write("notebooks/other.json", "2")
    code.write("notebooks/main/two.ipynb", "{}")  # another step's
    code.write("notebooks/main/.hidden", "2")
    code.write(SIDE, "2")
    git(code.root, "commit", "-qam", "third")
    code.write("notebooks/main/data/new.csv", "1")
    (code.root / "notebooks/main/gone.json").unlink()
    (line,) = told(code, store, tmp_path, record)
    assert line.startswith(f"not as in git commit {record.code.git_commit[:10]}, ")
    assert line.endswith(": data/new.csv, gone.json, side.json")


@pytest.mark.parametrize("is_dirty", [False, True])
def test_a_commit_has_the_files_of_then_unless_they_were_not_committed(
    code, store, tmp_path, is_dirty
):
    """Code from a commit is beside the files of that commit, which are those of then if clean."""
    record = remember_one(code.root, git_dirty=is_dirty)
    code.write(HELPER, "x = 2\n")
    assert bool(told(code, store, tmp_path, record)) is is_dirty


@pytest.mark.parametrize("has_git", [True, False])
def test_a_bundle_lacks_what_lay_beside_the_notebook(code, store, tmp_path, has_git):
    """Code from the store is alone; what lay beside it is named where git knows it."""
    code.write(SIDE, "1")
    code.write(HELPER, "x = 2\n")
    git(code.root, "add", SIDE)
    git(code.root, "commit", "-qm", "second")
    record = remember_one(code.root, store)
    code.write(HELPER, "x = 3\n")
    if not has_git:
        shutil.rmtree(code.root / ".git")
    (line,) = told(code, store, tmp_path, record)
    assert line.endswith("missing in this replay: side.json" if has_git else "are missing")


@pytest.mark.parametrize("commit", ["--output=here", "HEAD", None])
def test_git_is_asked_only_for_what_looks_like_a_commit(code, store, tmp_path, commit):
    """What a record calls a commit is no order to git here either."""
    code.write(SIDE, "1")
    record = remember_one(code.root, git_commit=commit)
    assert told(code, store, tmp_path, record) == ()
    assert not (code.root / "here").exists()


@pytest.mark.parametrize("path", [HELPER, "kernels/tabular/requirements.txt"])
def test_an_older_record_is_known_by_its_hashes(code, store, tmp_path, path):
    """A record of a time without bundles names notebook, modules and lock: git may have them."""
    record = remember_one(code.root, bundle=None)
    assert find_code(record, code.root, store, tmp_path / "code").origin == "the working tree"
    with (code.root / path).open("a") as file:
        file.write("\n")
    found = find_code(record, code.root, store, tmp_path / "code")
    assert found.origin == f"git commit {record.code.git_commit[:10]}"
    assert helper(found) == "x = 1\n"


def test_code_that_is_nowhere_is_an_error(code, store, tmp_path):
    """The error says where it was looked for, and what brings it back."""
    record = remember_one(code.root)
    (code.root / HELPER).write_text("x = 3\n")
    shutil.rmtree(code.root / ".git")
    with pytest.raises(UsageError) as raised:
        find_code(record, code.root, store, tmp_path / "code")
    assert record.code.git_commit[:10] in raised.value.problem
    assert "git fetch" in raised.value.advice


def test_an_attempt_that_never_knew_its_code_has_none(code, store, tmp_path):
    """What ended before it began cannot be replayed, and is told so."""
    record = remember_one(code.root).model_copy(update={"code": None})
    with pytest.raises(UsageError, match="nothing of it ran"):
        find_code(record, code.root, store, tmp_path / "code")
