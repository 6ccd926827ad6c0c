"""What `nightmill kernels` tells of kernels that are new, unknown, or asked for more since."""

from __future__ import annotations

import pytest

from nightmill import kernels
from nightmill.spec.kernel import load_kernel

ADVICE = "nightmill kernels lock mine"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Stand in a project without kernels."""
    monkeypatch.delenv("NIGHTMILL_KERNELS", raising=False)
    monkeypatch.setattr("nightmill.kernels._announce", lambda _target: None)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def add(root):
    """Return a function that adds a kernel, as if installed if it has a lock."""

    def _add(name: str, asked: str | None, lock: str | None = None) -> None:
        folder = root / "kernels" / name
        folder.mkdir(parents=True)
        if asked is not None:
            (folder / "requirements.in").write_text(asked)
        if lock is not None:
            (folder / "requirements.txt").write_text(lock)
            place = kernels.environment(load_kernel(folder), root).path
            place.mkdir(parents=True)
            (place / "nightmill-complete").write_text("")

    return _add


def test_list_tells_what_is_not_locked(add, cli):
    """A folder with only a requirements.in is listed with what makes a lock of it."""
    add("mine", "ipykernel\n")
    add("tabular", "ipykernel\n", "ipykernel==1.0\n")
    _head, mine, tabular = cli("kernels", "list").out.splitlines()
    assert mine.split() == ["mine", *f"not locked yet -> {ADVICE}".split()]
    assert "tabular-py" in tabular


@pytest.mark.parametrize("named", [["mine"], []], ids=["by its name", "with all others"])
def test_install_tells_what_is_not_locked(add, cli, named):
    """A kernel without a lock is an error of its own, after the others are installed."""
    add("mine", "ipykernel\n")
    add("tabular", "ipykernel\n", "ipykernel==1.0\n")
    ended = cli("kernels", "install", *named)
    assert ended.code == 1
    told = f"kernels/mine: kernel mine is not locked yet\n   -> run `{ADVICE}`\n"
    assert ended.err == f"error: {told}"
    assert ("kernel tabular is up to date" in ended.out) == (not named)


def test_a_misspelt_kernel_that_is_not_locked(add, cli):
    """Whoever misspells a kernel without a lock is asked whether it was meant."""
    add("mine", "ipykernel\n")
    assert "did you mean `mine`?" in cli("kernels", "install", "mien").err


def test_lock_knows_a_wrong_name(add, cli):
    """To lock an unknown kernel is a wrong command: the one meant, or how a new one begins."""
    add("tabular", "ipykernel\n", "ipykernel==1.0\n")
    meant = cli("kernels", "lock", "tabulra")
    new = cli("kernels", "lock", "mine")
    assert (meant.code, new.code) == (2, 2)
    assert meant.err == "error: unknown kernel `tabulra`\n   -> did you mean `tabular`?\n"
    assert "`tabular`; a new kernel begins with kernels/NAME/requirements.in" in new.err


def test_what_cannot_be_locked_by_its_folder(add, cli):
    """A lock without requirements.in, and a name that no kernel can have, are told as such."""
    add("only", None, "ipykernel==1.0\n")
    ended = cli("kernels", "lock", "only")
    assert (ended.code, "has no requirements.in" in ended.err) == (1, True)
    add("my kernel", "ipykernel\n")
    ended = cli("kernels", "lock")
    assert (ended.code, "63 letters" in ended.err) == (1, True)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("verb", ["list", "install", "lock"])
def test_without_any_kernel(cli, verb):
    """In a project without kernels each verb says how one begins."""
    ended = cli("kernels", verb)
    assert ended.code == 0
    assert ended.out == "no kernels: a new kernel begins with kernels/NAME/requirements.in\n"


def test_list_tells_what_is_not_installed(add, root, cli, monkeypatch):
    """A locked kernel without its environment is listed with what builds it."""
    add("mine", "ipykernel\n", "ipykernel==1.0\n")
    monkeypatch.setenv("NIGHTMILL_KERNELS", str(root / "elsewhere"))
    head, mine = cli("kernels", "list").out.splitlines()
    assert head.split("  ")[-2:] == ["SHA-256 of the lock", "environment"]
    assert mine.endswith("not installed -> nightmill kernels install mine")


@pytest.mark.parametrize("verb", ["list", "install"])
def test_requirements_that_changed_since(add, cli, verb):
    """A line that the lock knows nothing of is told by day, with the command that locks it."""
    add("mine", "ipykernel\npolars>=1  # new\n", "ipykernel==1.0\n")
    add("tabular", "ipykernel\n", "ipykernel==1.0\n")
    ended = cli("kernels", verb)
    assert (ended.code, ended.err) == (0, "")
    problem = "requirements.in has changed since it was locked, and asks for `polars>=1`"
    assert f"\nwarning: kernel mine: {problem}\n   -> {ADVICE}\n" in ended.out
    assert ended.out.count("warning") == 1
