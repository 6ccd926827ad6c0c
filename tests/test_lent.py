"""What a notebook may do to its inputs: nothing that others read changes without a word."""

from __future__ import annotations

import os

import pytest

from nightmill.step import lent as lent_module
from nightmill.step import staging
from nightmill.step.lent import HarmedInputError, Lent
from nightmill.store.inputs import ResolvedInput, Version
from nightmill.store.open import open_store
from tests.stored_versions import DAY, PIPELINE, STEP, make_pointer, prefix_of, store_outputs
from tests.test_inputs import source

FILES = {f"{number:03d}.txt": b"committed" for number in range(300)}
STEPS = """
make: {notebook: make.ipynb, outputs: {parts: parts/}}
use: {notebook: use.ipynb, inputs: {parts: parts}, outputs: {out: out.txt}}
"""
MAKE = [
    ("parts: str = 'd'\ncount: int = 1", "parameters"),
    "for n in range(count): open(f'{parts}/{n}', 'w').write('committed')",
]
USE = [
    ("parts: str = 'd'\nout: str = 'o'\nact: str = ''", "parameters"),
    "import os, shutil\nopen(out, 'w').write('x')\nexec(act)",
]
OVERWRITE = "os.chmod(f'{parts}/0', 0o644); open(f'{parts}/0', 'w').write('overwritten')"


@pytest.fixture
def lend(tmp_path):
    """Return a function that stages a folder in a directory store, and what was lent of it."""

    def stage(files=FILES):
        store = open_store("store", base=tmp_path)
        outputs = store_outputs(store, prefix_of(1), {"scores": files})
        pointer = make_pointer(1, outputs=outputs)
        version = Version(pointer, outputs["scores"])
        lent = Lent()
        resolved = ResolvedInput(source(output="scores"), {"": version})
        folder = staging.stage(store, resolved, tmp_path / "inputs/model", lent=lent)
        return tmp_path.joinpath(folder), lent

    return stage


def test_a_small_input_is_a_copy(lend):
    """A notebook may do to a small input whatever it likes: nothing of the store is in its way."""
    folder, lent = lend({"a/1.txt": b"committed", "2.txt": b"committed"})
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 2
    for file in files:
        assert not file.is_symlink()
        assert os.access(file, os.W_OK)
        file.write_bytes(b"mine")
    lent.check()


def test_what_is_large_is_read_where_it_lies_and_may_be_touched(lend, monkeypatch):
    """Links lead to the committed bytes; reading and touching them is no harm, nor hashes twice."""
    folder, lent = lend()
    link = folder / "000.txt"
    assert link.is_symlink()
    assert link.read_bytes() == b"committed"
    hashed = []
    real = lent_module.file_sha256
    monkeypatch.setattr(lent_module, "file_sha256", lambda path: hashed.append(path) or real(path))
    lent.check()
    assert hashed == []
    os.utime(link, (1, 1))
    lent.check()
    assert hashed == [link.resolve()]


def test_links_that_are_removed_or_replaced_are_no_harm(lend):
    """Whoever removes, renames or replaces an input on its path does that to a link."""
    folder, lent = lend()
    paths = [folder / f"{number:03d}.txt" for number in range(3)]
    stored = [path.resolve() for path in paths]
    paths[0].unlink()
    paths[1].rename(folder / "moved")
    (folder / "new").write_bytes(b"mine")
    (folder / "new").rename(paths[2])
    lent.check()
    assert [path.read_bytes() for path in stored] == [b"committed"] * 3


@pytest.mark.parametrize("harm", ["write", "same_size", "remove", "replace"])
def test_changed_bytes_in_the_store_are_noticed(lend, harm):
    """Written through, removed or replaced: the error names input, version, file and the remedy."""
    folder, lent = lend()
    stored = (folder / "007.txt").resolve()
    stored.chmod(0o644)
    match harm:
        case "write":
            (folder / "007.txt").write_bytes(b"overwritten")
        case "same_size":
            (folder / "007.txt").write_bytes(b"COMMITTED")
        case "remove":
            stored.unlink()
        case "replace":
            (stored.parent / "new").write_bytes(b"x")
            (stored.parent / "new").rename(stored)
    with pytest.raises(HarmedInputError) as caught:
        lent.check()
    error = caught.value
    assert error.where == "input model"
    assert f"committed files of {PIPELINE}.scores {DAY} (run run-1)" in error.problem
    command = f"`nightmill run {PIPELINE} --partition {DAY} --step {STEP} --rerun`"
    assert error.advice.endswith(f"make the input again: {command}; changed: {stored}")


@pytest.fixture(scope="module")
def steps(make_project):
    """Make a project of a step that makes a folder, and one that reads it."""
    project = make_project()
    project.pipeline("p", STEPS, make=MAKE, use=USE)
    return project


def run(project, day: str, act: str, *, count: int = 1):
    """Make the input anew, and run the step that reads it; return how the two ended."""
    made = project.run(
        "run", "p", "--partition", day, "--step", "make", "--rerun", "-p", f"make.count={count}"
    )
    assert made.code == 0, made.err
    return project.run("run", "p", "--partition", day, "--step", "use", "-p", f"use.act={act}")


def test_a_notebook_that_destroys_its_copies_destroys_nothing(steps):
    """A notebook that overwrites and removes a small input succeeds, and the store is whole."""
    ended = run(steps, "2013-01-01", f"{OVERWRITE}; shutil.rmtree(parts)")
    assert ended.code == 0, ended.out + ended.err
    (file,) = steps.store.glob("runs/p/2013-01-01/*/make/1/outputs/parts/0")
    assert file.read_text() == "committed"


def test_a_notebook_that_changes_committed_bytes_does_not_succeed(steps):
    """It fails with check_failed and what to do, is not tried again, and nothing is committed."""
    ended = run(steps, "2013-01-02", OVERWRITE, count=300)
    record = steps.record("p", "use")
    assert ended.code == 1
    assert (record["failure"]["cause"], record["committed"]) == ("check_failed", False)
    told = record["failure"]["message"]
    assert "input parts: the notebook changed committed files of p.parts 2013-01-02" in told
    assert "`nightmill run p --partition 2013-01-02 --step make --rerun`" in told
    assert record["outputs"] == {}
    assert record["warnings"] == []


def test_a_notebook_that_fails_as_well_is_told_both(steps):
    """What a cell raised stays the cause; a warning tells of the bytes that are gone."""
    run(steps, "2013-01-03", f"{OVERWRITE}; 1 / 0", count=300)
    record = steps.record("p", "use")
    assert record["failure"]["cause"] == "notebook_error"
    (warning,) = record["warnings"]
    assert "the notebook changed committed files of p.parts 2013-01-03" in warning
