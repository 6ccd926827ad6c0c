"""The pipeline.yaml behind a run: the one that it had, and the one that is there now."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest

from nightmill.review import specs as module
from nightmill.review.specs import Specs
from nightmill.store.keys import code_key
from nightmill.store.open import open_store
from tests.reviewed_nights import keep_code

YAML = "pipeline: {name}\ntimezone: {zone}\nsteps:\n  s: {{notebook: s.ipynb}}\n"
TOKYO = YAML.format(name="p", zone="Asia/Tokyo")


@pytest.fixture
def store(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


def test_the_file_as_a_run_had_it(store, tmp_path):
    """It is read from the code that the run kept, once."""
    bundle = keep_code(store, tmp_path, TOKYO)
    specs = Specs(store, None)
    assert specs.ran("p", bundle).timezone == "Asia/Tokyo"
    store.delete(code_key(bundle))
    assert specs.ran("p", bundle).timezone == "Asia/Tokyo"


def test_code_that_tells_nothing(store, tmp_path):
    """Code that was not kept, or of another pipeline, tells nothing of this one."""
    specs = Specs(store, None)
    assert specs.ran("p", None) is None
    assert specs.ran("p", "0" * 64) is None
    assert specs.ran("other", keep_code(store, tmp_path, TOKYO)) is None


def archive(files):
    """Pack files as a bundle is packed."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        archive({"pipeline.yaml": b"pipeline: p\nsteps: ["}),
        archive({"pipeline.yaml": b"\xff\xfe"}),
        archive({"pipeline.yaml": b"pipeline: p\nsteps: {s: {notebook: s.ipynb, later: 1}}"}),
        archive({"pipeline.yaml": TOKYO.encode() + b"#" * (1 << 20)}),
        archive({"../pipeline.yml": TOKYO.encode()}),
        archive({}),
        b"no archive at all",
    ],
)
def test_code_that_cannot_be_read(content, store):
    """A page that tells of many runs does not end over one whose code is damaged or too new."""
    name = hashlib.sha256(content).hexdigest()
    store.write(code_key(name), gzip.compress(content))
    assert Specs(store, None).ran("p", name) is None


def test_code_that_is_no_bundle(store):
    """Neither over one that is not even packed."""
    store.write(code_key("1" * 64), b"nothing")
    assert Specs(store, None).ran("p", "1" * 64) is None


def project(root, **zones):
    """Write a project with a pipeline in each zone."""
    for name, zone in zones.items():
        folder = root / "notebooks" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pipeline.yaml").write_text(YAML.format(name=name, zone=zone), encoding="utf-8")
        (folder / "s.ipynb").write_text("{}", encoding="utf-8")


def zones(specs):
    """Tell the zones of the pipelines that are there now."""
    return {name: spec.timezone for name, spec in specs.now().items()}


def test_the_project_as_it_is(store, tmp_path, monkeypatch):
    """It is read again after some seconds, and not for each page."""
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    project(tmp_path, p="Asia/Tokyo")
    specs = Specs(store, tmp_path)
    assert zones(specs) == {"p": "Asia/Tokyo"}
    project(tmp_path, p="Asia/Kolkata", q="UTC")
    assert zones(specs) == {"p": "Asia/Tokyo"}
    clock[0] += 11
    assert zones(specs) == {"p": "Asia/Kolkata", "q": "UTC"}


def test_a_project_with_a_broken_pipeline(store, tmp_path):
    """It hides no other; and where there is no project there is nothing to tell."""
    project(tmp_path, p="Asia/Tokyo", q="Nowhere/At_All")
    assert zones(Specs(store, tmp_path)) == {"p": "Asia/Tokyo"}
    assert zones(Specs(store, None)) == {}
    assert zones(Specs(store, tmp_path / "missing")) == {}


def test_what_is_not_in_a_project(store, tmp_path):
    """A pipeline is elsewhere where a project is there without it; without one nobody knows."""
    project(tmp_path, p="Asia/Tokyo")
    specs = Specs(store, tmp_path)
    assert (specs.is_elsewhere("p"), specs.is_elsewhere("q")) == (False, True)
    assert not Specs(store, None).is_elsewhere("q")
    assert not Specs(store, tmp_path / "missing").is_elsewhere("q")


def test_why_a_pipeline_is_broken(store, tmp_path):
    """It is told in one line, and the folder of the project is not; none is elsewhere meanwhile."""
    project(tmp_path, p="Asia/Tokyo", q="Nowhere/At_All")
    specs = Specs(store, tmp_path)
    assert list(specs.broken()) == ["q"]
    assert specs.broken()["q"].startswith("notebooks/q/pipeline.yaml:2: timezone: ")
    assert not specs.is_elsewhere("other")
    assert Specs(store, None).broken() == {}
