"""Bundles: the same source files always have the same name, and come back as they were."""

from __future__ import annotations

import gzip
import os
import tarfile
from io import BytesIO
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.errors import StoreError
from nightmill.spec.project import Project
from nightmill.step import kept_code
from nightmill.step.kept_code import KeptCode, bundle_code
from nightmill.store import bundle as bundles
from nightmill.store.bundle import Bundle, fetch, keep, pack, unpack
from nightmill.store.keys import code_key

FILES = {
    "notebooks/p/a.ipynb": b"{}",
    "notebooks/p/helfer é.py": "x = 'é'\n".encode(),
    "notebooks/p/sub/leer.py": b"",
    "kernels/tabular/requirements.txt": os.urandom(3000),
}
CONTENTS = st.dictionaries(
    st.text("abc/", min_size=1, max_size=12).map(lambda name: f"f/{name.strip('/') or 'x'}.py"),
    st.binary(max_size=40),
    min_size=1,
    max_size=5,
)


@pytest.fixture
def write(tmp_path):
    """Write files below a new folder, and name them as `pack` wants them."""
    made = iter(range(1000))

    def write_files(contents):
        root = tmp_path / f"tree{next(made)}"
        for name, content in contents.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return {name: root / name for name in contents}

    return write_files


def read_below(folder):
    """Return every file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_bundle_comes_back_as_it_was(store, tmp_path, write):
    """What was kept in a store is unpacked byte for byte, empty files and odd names included."""
    bundle = pack(write(FILES))
    keep(store, bundle)
    unpack(fetch(store, bundle.sha256), tmp_path / "back")
    assert read_below(tmp_path / "back") == FILES


def test_a_bundle_is_kept_once(store, write):
    """To keep what is there already changes nothing, and is no error."""
    bundle = pack(write(FILES))
    keep(store, bundle)
    first = store.read(bundle.key)
    keep(store, bundle)
    assert store.read(bundle.key) == first
    assert [entry.key for entry in store.list("code")] == [code_key(bundle.sha256)]


def test_order_times_and_modes_do_not_count(write):
    """The same content has the same name, however and whenever its files were written."""
    first = write(FILES)
    again = write(dict(reversed(FILES.items())))
    for path in again.values():
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert pack(again) == pack(first)


def test_the_name_outlives_another_compression(store, tmp_path, write):
    """A bundle that another zlib compressed differently is still what its name says."""
    bundle = pack(write(FILES))
    store.write(bundle.key, gzip.compress(bundle.archive, 1))
    unpack(fetch(store, bundle.sha256), tmp_path / "back")
    assert read_below(tmp_path / "back") == FILES


@settings(deadline=None, max_examples=40)
@given(one=CONTENTS, other=CONTENTS)
def test_other_files_have_another_name(tmp_path_factory, one, other):
    """Two sets of files share a name if, and only if, they are the same."""
    packed = []
    for contents in (one, other):
        root = tmp_path_factory.mktemp("files")
        files = {}
        for number, (name, content) in enumerate(contents.items()):
            files[name] = root / str(number)
            files[name].write_bytes(content)
        packed.append(pack(files))
    assert (packed[0].sha256 == packed[1].sha256) == (one == other)


def test_a_bundle_that_is_not_there_is_none(store):
    """Who asks for a bundle that nobody kept is told so."""
    assert fetch(store, "0" * 64) is None


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(b"another"), None])
def test_a_damaged_bundle_is_not_used(store, write, data):
    """Bytes that are not those of the name are an error: cut off, replaced, no archive at all."""
    bundle = pack(write(FILES))
    whole = gzip.compress(bundle.archive)
    store.write(bundle.key, whole[:-20] if data is None else data)
    with pytest.raises(StoreError, match="damaged"):
        fetch(store, bundle.sha256)


@pytest.mark.parametrize("name", ["../outside.py", "/tmp/outside.py", "a/../../outside.py"])
def test_no_bundle_writes_outside_its_folder(tmp_path, name):
    """Names that lead out of the folder are refused, whoever wrote the bundle."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), BytesIO())
    inner = tmp_path / "inner"
    with pytest.raises(StoreError, match="leaves its folder"):
        unpack(Bundle("", packed.getvalue()), inner)
    assert read_below(tmp_path) == {}


def test_what_is_too_large_is_left_out(write, monkeypatch):
    """Neither a large file nor many of them make a large bundle; what is missing is named."""
    monkeypatch.setattr(bundles, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(bundles, "MAX_BYTES", 250)
    sizes = {"a.py": 100, "b.py": 101, "c.py": 100, "d.py": 51, "e.py": 50}
    files = write({name: b"x" * size for name, size in sizes.items()})
    bundle = pack(files)
    assert bundle.left_out == ("b.py", "d.py")
    assert bundle.sha256 == pack({name: files[name] for name in ("a.py", "c.py", "e.py")}).sha256


# -- what a step keeps --------------------------------------------------------------------------

STEPS = """
one:
  notebook: one.ipynb
  kernel: tabular
  inputs: {model: {from: other.model, version: latest}}
two:
  notebook: two.ipynb
  kernel: slim
"""


@pytest.fixture
def plain(project):
    """Make a project with two pipelines and two kernels; nothing of it is run."""
    cells = [("model: str = 'm'", "parameters"), "1"]
    project.pipeline("main", STEPS, one=cells, two=["2"])
    project.pipeline("other", "s: {notebook: s.ipynb, kernel: slim, outputs: {model: m}}", s=["3"])
    project.pipeline("apart", "s: {notebook: s.ipynb, kernel: slim}", s=["4"])
    project.write("kernels/slim/requirements.txt", "ipykernel\n")
    project.write("notebooks/main/helper.py", "x = 1\n")
    project.write("notebooks/main/lib/inner.py", "y = 1\n")
    project.write("notebooks/shared.py", "z = 1\n")
    project.write("notebooks/main/large.csv", "data\n")
    return project


def bundled(project, step="one"):
    """Bundle a step of the pipeline `main`."""
    loaded = Project.load(project.root)
    return bundle_code(loaded, loaded.pipeline("main"), step)


def test_a_step_keeps_all_that_decides_what_it_does(plain, tmp_path):
    """Notebook, modules, pipeline.yaml, pipelines it names, kernel: no more and no less."""
    code, bundle = bundled(plain)
    assert code.bundle == bundle.sha256
    unpack(bundle, tmp_path / "back")
    names = {
        "kernels/tabular/kernel.yaml",
        "kernels/tabular/requirements.txt",
        "notebooks/main/helper.py",
        "notebooks/main/lib/inner.py",
        "notebooks/main/one.ipynb",
        "notebooks/main/pipeline.yaml",
        "notebooks/other/pipeline.yaml",
        "notebooks/shared.py",
    }
    assert read_below(tmp_path / "back") == {
        name: (plain.root / name).read_bytes() for name in names
    }


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("notebooks/main/one.ipynb", True),
        ("notebooks/main/helper.py", True),
        ("notebooks/main/pipeline.yaml", True),
        ("notebooks/other/pipeline.yaml", True),
        ("kernels/tabular/requirements.txt", True),
        ("kernels/tabular/kernel.yaml", True),
        ("notebooks/main/two.ipynb", False),
        ("notebooks/apart/pipeline.yaml", False),
        ("notebooks/main/large.csv", False),
        ("kernels/slim/requirements.txt", False),
    ],
)
def test_a_change_counts_where_it_can_change_the_step(plain, path, counts):
    """A bundle has another name after a change of what the step uses, and of nothing else."""
    before = bundled(plain)[1].sha256
    file = plain.root / path
    file.write_bytes(file.read_bytes() + b"\n")
    assert (bundled(plain)[1].sha256 != before) == counts


class DeafStore:
    """A store that takes nothing: it refuses, or does not answer before it is told to."""

    def __init__(self, answer=None):
        self.answer = answer

    def write_if(self, key, _data, **_condition):
        """Refuse to write, now or later."""
        if self.answer is not None:
            self.answer.wait(30)
        raise StoreError("access denied", address=key, operation="write_if")


def test_a_store_that_refuses_the_code_costs_a_warning():
    """The run goes on; the warning says what a replay will need instead."""
    kept = KeptCode(DeafStore(), Bundle("0" * 64, b""))
    (warning,) = kept.finish()
    assert "access denied" in warning
    assert "a replay needs git" in warning


def test_nobody_waits_long_for_the_code(monkeypatch):
    """A store that hangs holds the run up for seconds at most."""
    monkeypatch.setattr(kept_code, "_PATIENCE_S", 0.05)
    answer = Event()
    kept = KeptCode(DeafStore(answer), Bundle("0" * 64, b""))
    try:
        assert any("does not answer" in warning for warning in kept.finish())
    finally:
        answer.set()


def test_what_was_left_out_is_warned_of(store):
    """A file that is too large to be kept is named in the record's warnings."""
    (warning,) = KeptCode(store, Bundle("0" * 64, b"", ("notebooks/p/big.py",))).finish()
    assert warning.startswith("notebooks/p/big.py was not kept")
