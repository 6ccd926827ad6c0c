"""`nightmill check`: what it counts, what it tells once, and what it tells beside errors."""

from __future__ import annotations

import pytest

from tests.conftest import ProjectFiles

METER = """\
m:
  notebook: m.ipynb
  outputs: {band: band.parquet}
"""
ENERGY = """\
read:
  notebook: read.ipynb
  inputs: [meter.band]
"""


@pytest.fixture
def files(tmp_path):
    """Make a project of two pipelines, of which `energy` reads what `meter` makes."""
    made = ProjectFiles(tmp_path, {})
    made.write("kernels/tabular/requirements.txt", "pandas==3.1.0\n")
    made.pipeline("meter", METER, m=[("households: int = 50\nband: str = ''", "parameters")])
    made.pipeline("energy", ENERGY, read=[("band: str = ''", "parameters")])
    return made


def change(files, path: str, old: str, new: str) -> None:
    """Replace text in one file of the project."""
    text = (files.root / path).read_text()
    assert old in text
    files.write(path, text.replace(old, new))


def test_a_broken_file_is_told_once_and_first(files, cli):
    """A typo is one error at its own place, whoever reads what the broken pipeline makes."""
    change(files, "notebooks/meter/pipeline.yaml", "outputs:", "ouputs:")
    ended = cli("check", cwd=files.root)
    assert ended.code == 1
    assert ended.err.startswith("error: notebooks/meter/pipeline.yaml:5: steps.m.ouputs: ")
    assert ended.err.count("error: ") == 1


@pytest.mark.parametrize("verb", [("check", "notebooks/energy"), ("run", "energy")])
def test_who_reads_of_a_broken_pipeline_is_told_its_fault(files, cli, verb):
    """Whoever asks for the reader alone is told, once, which line of which other file to mend."""
    change(files, "notebooks/meter/pipeline.yaml", "outputs:", "ouputs:")
    ended = cli(*verb, cwd=files.root)
    assert ended.code == 1
    assert ended.err.count("error: ") == 1
    assert "needs the pipeline `meter`, which is broken: notebooks/meter/pipeline.yaml:5" in (
        ended.err
    )
    assert "-> mend that first; did you mean `outputs`?" in ended.err
