"""Kernel environments: built once from their lock, found by Jupyter, rebuilt when not whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from nightmill import kernels
from nightmill.errors import KernelError
from nightmill.spec.kernel import load_kernel

# One pure package stands for ipykernel, so that real uv builds an environment in a second.
FAKE = "ipykernel_launcher.py"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Be in a project of our own, with a Jupyter data folder that is not the environment's."""
    monkeypatch.delenv("NIGHTMILL_KERNELS", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return tmp_path


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Be without an index: a folder holds the only packages that uv can find."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return folder


def make_wheel(folder, name: str, module: str, needs: str = "") -> str:
    """Build a wheel of one module with nothing but the standard library; return its lock line."""
    import hashlib  # noqa: PLC0415 - only here
    import zipfile  # noqa: PLC0415 - only here

    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{module}": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(file, content)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def lock(wheels):
    """Lock a kernel that holds only something called ipykernel."""
    return make_wheel(wheels, "ipykernel", FAKE)


def asked(root, text: str, name: str = "tiny"):
    """Write a kernel's requirements.in."""
    folder = root / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.in").write_text(text)
    return folder


def kernel(root, text: str, settings: str = "", name: str = "tiny"):
    """Write a kernel's folder and read it."""
    folder = root / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text(text)
    if settings:
        (folder / "kernel.yaml").write_text(settings)
    return load_kernel(folder)


def test_a_kernel_is_built_once(root, lock):
    """The first call builds the environment of the lock, the second finds it whole."""
    tiny = kernel(root, lock)
    with pytest.raises(KernelError, match="is not installed") as caught:
        kernels.require(tiny, root)
    assert "nightmill kernels install tiny" in caught.value.advice
    environment, built = kernels.install(tiny, root)
    assert built
    assert environment.libraries() == {"ipykernel": "1.0"}
    assert kernels.install(tiny, root) == (environment, False)
    assert kernels.require(tiny, root) == environment


def test_two_that_build_at_once_build_once(root, lock):
    """Of two processes that ask together one builds, the other waits and finds it."""
    tiny = kernel(root, lock)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(kernels.install(tiny, root)[1]))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, True]


def test_a_changed_lock_is_another_environment(root, lock, wheels):
    """A new lock gets its own environment, and the old one stays as it was."""
    old, _built = kernels.install(kernel(root, lock), root)
    changed = kernel(root, lock + make_wheel(wheels, "extra", "extra.py"))
    with pytest.raises(KernelError):
        kernels.require(changed, root)
    new, built = kernels.install(changed, root)
    assert built
    assert new.path != old.path
    assert set(new.libraries()) == {"ipykernel", "extra"}
    assert set(old.libraries()) == {"ipykernel"}


def test_an_interrupted_build_is_rebuilt(root, lock):
    """An environment without its mark is not whole: it is thrown away and built anew."""
    tiny = kernel(root, lock)
    environment, _built = kernels.install(tiny, root)
    (environment.path / "nightmill-complete").unlink()
    (environment.path / "half").write_text("")
    assert not environment.installed
    assert kernels.install(tiny, root)[1]
    assert not (environment.path / "half").exists()


def test_jupyter_finds_the_kernel(root, lock):
    """JupyterLab's own list holds the kernel, by its name for people and with its environment."""
    tiny = kernel(root, lock, "display_name: Tiny one\nenv: {GREETING: hello}\n")
    environment, _built = kernels.install(tiny, root)
    command = [sys.executable, "-m", "jupyter", "kernelspec", "list", "--json"]
    path = str(root / "prefix/share/jupyter")
    listed = subprocess.check_output(command, env={**os.environ, "JUPYTER_PATH": path}, text=True)
    spec = json.loads(listed)["kernelspecs"]["tiny"]["spec"]
    assert spec["display_name"] == "Tiny one"
    assert spec["argv"][0] == str(environment.python)
    assert spec["env"]["GREETING"] == "hello"
    assert spec["env"]["PYTHONPATH"] == ""


def test_changed_settings_reach_an_installed_kernel(root, lock):
    """A new kernel.yaml with the same lock needs no new environment, and counts at once."""
    kernels.install(kernel(root, lock, "display_name: Old\nenv: {A: '1'}\n"), root)
    changed = kernel(root, lock, "display_name: New\nenv: {A: '2'}\n")
    environment, built = kernels.install(changed, root)
    assert not built
    for place in (environment.jupyter_path, root / "prefix/share/jupyter"):
        spec = json.loads((place / "kernels/tiny/kernel.json").read_text())
        assert spec["display_name"] == "New"
    assert spec["env"]["A"] == "2"


def test_a_kernel_s_variables_do_not_override_a_step_s(root, lock):
    """Jupyter lets a kernelspec win over the environment, so a step's kernelspec has none of them.

    The step sets the kernel's variables and then its own; JupyterLab gets the kernel's.
    """
    environment, _built = kernels.install(kernel(root, lock, "env: {A: '1'}\n"), root)
    spec = json.loads((environment.jupyter_path / "kernels/tiny/kernel.json").read_text())
    assert spec["env"] == {"PYTHONNOUSERSITE": "1", "PYTHONPATH": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no ipykernel"),
        ("ipykernel==9.9 --hash=sha256:" + "0" * 64 + "\n", "ipykernel"),
        ("ipykernel==1.0\n", "hash"),
        ("ipykernel==1.0 --hash=sha256:" + "0" * 64 + "\n", "[Hh]ash"),
        ("this is no lock !!\n", "requirement"),
    ],
    ids=["empty", "no such version", "no hash", "wrong hash", "nonsense"],
)
def test_a_lock_that_cannot_be_installed(root, lock, text, words):
    """A broken lock is an error with uv's own words, and never an environment."""
    assert lock
    tiny = kernel(root, text)
    with pytest.raises(KernelError, match=words) as caught:
        kernels.install(tiny, root)
    assert "kernels/tiny" in caught.value.where
    assert "`nightmill kernels lock tiny`" in caught.value.advice
    assert not kernels.environment(tiny, root).installed


@pytest.mark.parametrize("named", [["tiny"], []], ids=["by its name", "with all others"])
@pytest.mark.usefixtures("lock")
def test_a_new_kernel_needs_only_its_requirements(root, cli, named):
    """From a folder with nothing but requirements.in, lock and install make a kernel."""
    (root / "notebooks").mkdir()
    asked(root, "ipykernel\n")
    ended = cli("kernels", "lock", *named, cwd=root)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "kernel tiny locked: kernels/tiny/requirements.txt\n"
    assert cli("kernels", "install", *named).code == 0
    assert "tiny-py" in cli("kernels", "list").out


def test_a_lock_holds_what_others_bring(root, lock, wheels):
    """A lock has the hashes of all that is needed: ipykernel may come with another package."""
    make_wheel(wheels, "notebooks", "notebooks.py", needs="ipykernel")
    made = kernels.lock(asked(root, "notebooks\n"))
    assert lock.split("--hash=")[1].strip() in made.read_text()
    assert set(kernels.install(load_kernel(made.parent), root)[0].libraries()) == {
        "ipykernel",
        "notebooks",
    }


@pytest.mark.parametrize(
    ("text", "words", "advice"),
    [
        ("ipykernel\nno-such-package\n", "no-such-package", "correct requirements.in, or"),
        ("extra\n", "brings ipykernel", "add the line `ipykernel`"),
        ("", "brings ipykernel", "add the line `ipykernel`"),
        ("ipykernel-kin\n", "brings ipykernel", "add the line `ipykernel`"),
    ],
    ids=["unknown package", "no ipykernel", "empty", "almost ipykernel"],
)
@pytest.mark.parametrize("before", ["ipykernel==1.0\n", None], ids=["old lock", "no lock"])
def test_requirements_that_cannot_be_locked(root, lock, wheels, text, words, advice, before):
    """They are what is to be corrected, and the lock stays as it was."""
    assert lock
    make_wheel(wheels, "extra", "extra.py")
    make_wheel(wheels, "ipykernel_kin", "kin.py")
    folder = asked(root, text)
    if before:
        (folder / "requirements.txt").write_text(before)
    with pytest.raises(KernelError, match=words) as caught:
        kernels.lock(folder)
    assert caught.value.advice.startswith(advice)
    assert "nightmill kernels lock" not in caught.value.advice
    made = folder / "requirements.txt"
    assert (made.read_text() if made.exists() else None) == before
