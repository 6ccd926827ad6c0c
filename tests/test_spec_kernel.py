"""Kernels: a folder with a lock is one."""

from __future__ import annotations

import hashlib

import pytest

from nightmill.errors import KernelError, SpecError
from nightmill.spec.kernel import find_kernel, load_kernel, load_kernels


@pytest.fixture
def add(tmp_path):
    """Add a kernel folder with files."""

    def _add(name: str, **files: str):
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file.replace("_", ".")).write_text(text)
        return folder

    return _add


def test_load(tmp_path, add):
    """A folder with a lock is a kernel; the hash is of the lock's bytes."""
    add("tabular", requirements_txt="pandas==3.1.0\n", kernel_yaml="display_name: Tables\n")
    add("plain", requirements_txt="")
    add("unlocked", requirements_in="pandas\n")
    kernels = load_kernels(tmp_path)
    assert list(kernels) == ["plain", "tabular"]
    tabular = kernels["tabular"]
    assert tabular.lock_sha256 == hashlib.sha256(b"pandas==3.1.0\n").hexdigest()
    assert tabular.lock == tmp_path / "kernels" / "tabular" / "requirements.txt"
    assert (tabular.display_name, tabular.env) == ("Tables", {})
    assert kernels["plain"].display_name == "plain"


def test_env(add):
    """kernel.yaml may set environment variables."""
    folder = add("k", requirements_txt="", kernel_yaml='env: {MPLBACKEND: agg, N: "1"}\n')
    assert load_kernel(folder).env == {"MPLBACKEND": "agg", "N": "1"}


def test_bad_settings(add):
    """A fault in kernel.yaml names its file and line."""
    folder = add("k", requirements_txt="", kernel_yaml="display_name: K\nenv: {N: 1}\n")
    with pytest.raises(SpecError) as caught:
        load_kernel(folder)
    assert (caught.value.file, caught.value.line) == (folder / "kernel.yaml", 2)


@pytest.mark.parametrize("name", ["my kernel", "k" * 64, "-k", "caf\u00e9"])
def test_bad_name(add, name):
    """A name that Jupyter does not take is an error that says what it takes."""
    with pytest.raises(KernelError, match="63 letters"):
        load_kernel(add(name, requirements_txt=""))


def test_lock_is_a_folder(add):
    """A lock that cannot be read is told as such."""
    folder = add("k")
    (folder / "requirements.txt").mkdir()
    with pytest.raises(KernelError, match="its lock cannot be read"):
        load_kernel(folder)


def test_find(tmp_path, add):
    """An unknown kernel is told with the nearest name, or with all there are."""
    add("tabular", requirements_txt="")
    kernels = load_kernels(tmp_path)
    assert find_kernel(kernels, "tabular") is kernels["tabular"]
    with pytest.raises(KernelError, match="did you mean `tabular`"):
        find_kernel(kernels, "Tabula")
    with pytest.raises(KernelError, match="kernels: `tabular`"):
        find_kernel(kernels, "torch")
    with pytest.raises(KernelError, match="kernels: none"):
        find_kernel({}, "torch")
