"""Whether a lock still holds what requirements.in asks for."""

from __future__ import annotations

import builtins

import pytest

from nightmill.spec.requirements import unmet
from tests.conftest import REPOSITORY

LOCK = r"""
# a lock as uv writes it
ipykernel==7.1.0 ; python_version >= '3' \
    --hash=sha256:00 \
    --hash=sha256:11
    # via -r requirements.in
scikit-learn==1.8.0rc1 --hash=sha256:22
torch==2.9.0+cpu
own @ https://example.org/own-1.0-py3-none-any.whl
only-old==1.0 ; python_version < '3'
twice==1.0 ; python_version < '3'
twice==2.0 ; python_version >= '3'
by-hand==1.*
./beside
"""


@pytest.fixture
def ask(tmp_path):
    """Return a function that tells what the lock does not hold of a requirements.in."""

    def _ask(asked: str, overrides: str | None = None) -> list[str]:
        (tmp_path / "requirements.in").write_text(asked)
        (tmp_path / "requirements.txt").write_text(LOCK)
        if overrides is not None:
            (tmp_path / "overrides.txt").write_text(overrides)
        return unmet(tmp_path)

    return _ask


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "# nothing\n\n   \n",
        "ipykernel",
        "IPyKernel  # makes it a kernel",
        "ipykernel[test]>=7,<8",
        "ipykernel \\\n  >=7",
        "scikit_learn>=1.7",
        "torch==2.9.0",
        "own>=3\nown @ https://example.org/own-2.0-py3-none-any.whl",
        "ipykernel @ git+https://example.org/ipykernel",
        "by.hand>=9",
        "twice>=2",
        "absent ; python_version < '3'",
        "absent ; extra == 'some'",
        "-r other.in\n-c constraints.txt\n--pre\n-e ./beside",
        "git+https://example.org/absent\nhttps://example.org/absent.whl\n./absent",
        "${ABSENT}\nnot a requirement !!",
    ],
)
def test_a_lock_that_holds_all(ask, asked):
    """Nothing is said of what a lock holds, or of what only uv could tell."""
    assert ask(asked) == []


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("ipykernel\nabsent", ["absent"]),
        ("absent[extra]>=2 ; python_version >= '3'", ["absent>=2"]),
        ("absent @ https://example.org/absent-1.0-py3-none-any.whl", ["absent"]),
        ("ipykernel>=8", ["ipykernel>=8"]),
        ("ipykernel  # absent\nnone # too", ["none"]),
        ("only_old", ["only_old"]),
        ("\ufeffnone\r\ntorch\r\n", ["none"]),
        ("twice<2", ["twice<2"]),
        ("one\\\n>=1\ntwo", ["one>=1", "two"]),
    ],
)
def test_what_a_lock_lacks(ask, asked, told):
    """A package that is new, and a version that the lock does not have, are named."""
    assert ask(asked) == told


def test_what_is_overridden(ask):
    """Overrides decide what is locked, whatever requirements.in asks for."""
    assert ask("ipykernel>=9\nabsent\nnone", "ipykernel==7.1.0\nabsent ; python_version < '3'") == [
        "none"
    ]


def test_the_shipped_kernels():
    """Every kernel of this repository is locked as its requirements.in asks."""
    folders = [file.parent for file in REPOSITORY.glob("kernels/*/requirements.in")]
    assert folders
    assert [unmet(folder) for folder in folders] == [[] for _ in folders]


def test_without_the_runner(ask, monkeypatch):
    """Where the library that reads requirements is missing nothing is said, and nothing breaks."""
    real = builtins.__import__

    def without(name: str, *others: object, **more: object) -> object:
        if name.startswith("packaging"):
            raise ModuleNotFoundError(name)
        return real(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert ask("absent") == []
