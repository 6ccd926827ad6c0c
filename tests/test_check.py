"""`nightmill check`: what it counts, what it tells once, and what it tells beside errors."""

from __future__ import annotations

import pytest

from nightmill.errors import SpecError
from nightmill.spec.problems import each
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
    change(files, "notebooks/meter/pipeline.yaml", "outputs:", "outputz:")
    ended = cli("check", cwd=files.root)
    assert ended.code == 1
    assert ended.err.startswith("error: notebooks/meter/pipeline.yaml:5: steps.m.outputz: ")
    assert ended.err.count("error: ") == 1


@pytest.mark.parametrize("verb", [("check", "notebooks/energy"), ("run", "energy")])
def test_who_reads_of_a_broken_pipeline_is_told_its_fault(files, cli, verb):
    """Whoever asks for the reader alone is told, once, which line of which other file to mend."""
    change(files, "notebooks/meter/pipeline.yaml", "outputs:", "outputz:")
    ended = cli(*verb, cwd=files.root)
    assert ended.code == 1
    assert ended.err.count("error: ") == 1
    assert "needs the pipeline `meter`, which is broken: notebooks/meter/pipeline.yaml:5" in (
        ended.err
    )
    assert "-> mend that first; did you mean `outputs`?" in ended.err


FIFTY = "pipeline: meter\nparameters: {households: fifty}\n"
TWICE = "outputs: {band: band.parquet}\n  n: {notebook: n.ipynb, inputs: [band]}\n"
ONCE = {
    # file, old and new text; line of the one error
    "a missing notebook": (
        "meter/pipeline.yaml", "m.ipynb", "mm.ipynb",
        "notebooks/meter/pipeline.yaml:4: steps.m.notebook: there is no notebook `mm.ipynb`",
    ),
    "no Python among the parameters": (
        "meter/m.ipynb", "int = 50", "int = = 50",
        "notebooks/meter/m.ipynb, cell 1, line 1: no valid Python: ",
    ),
    "no Python elsewhere": (
        "energy/read.ipynb", "band: str = ''", "print(",
        "notebooks/energy/read.ipynb, cell 1, line 1: no valid Python: ",
    ),
    "one value for two steps": (
        "meter/pipeline.yaml", "pipeline: meter\n", FIFTY,
        "notebooks/meter/m.ipynb, cell 1, line 1: households: wanted int, got the text `fifty`",
    ),
    "a misspelt value": (
        "meter/pipeline.yaml", "    outputs:", "    parameters: {household: 5}\n    outputs:",
        "notebooks/meter/m.ipynb, cell 1: household: unknown parameter `household`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "told"), ONCE.values(), ids=ONCE)
def test_one_fault_is_one_error(files, cli, file, old, new, told):
    """Whatever an author got wrong is told once, with a path as one would type it."""
    change(files, "notebooks/meter/pipeline.yaml", "outputs: {band: band.parquet}\n", TWICE)
    files.write("notebooks/meter/n.ipynb", (files.root / "notebooks/meter/m.ipynb").read_bytes())
    change(files, f"notebooks/{file}", old, new)
    ended = cli("check", cwd=files.root)
    assert ended.code == 1
    said = ended.err + ended.out
    assert said.count("error: ") == 1
    assert f"error: {told}" in said
    assert str(files.root) not in said
    assert "?;" not in said
    assert said.endswith(": 1 error, 0 remarks\n")


def test_what_was_looked_at_is_counted(files, cli):
    """A broken pipeline counts as one that was checked."""
    change(files, "notebooks/meter/pipeline.yaml", "outputs:", "outputz:")
    assert cli("check", cwd=files.root).out == "checked 2 pipelines, 1 step: 1 error, 0 remarks\n"


POOLED = ("    notebook: m.ipynb\n", "    notebook: m.ipynb\n    pool: gpuu\n")
POOLS = "pools: {cpu: {selector: {a: b}, largest: {cpu: 1, memory: 1Gi}}}\ndefault_pool: cpu\n"
PODS = "store: s3://b/p\nlauncher: kubernetes\naccess: {in_cluster: true}\n"


def test_a_pool_that_no_environment_has_is_a_remark(files, cli, monkeypatch):
    """On this machine an unknown pool is only remarked on; a pool of an overlay is known."""
    monkeypatch.delenv("NIGHTMILL_ENV", raising=False)
    change(files, "notebooks/meter/pipeline.yaml", *POOLED)
    assert "0 remarks" in cli("check", cwd=files.root).out  # without a platform.yaml
    files.write("dags/platform.yaml", f"store: .nightmill/store\n{POOLS}")
    ended = cli("check", cwd=files.root)
    assert ended.code == 0
    told = "warning: notebooks/meter/pipeline.yaml, line 5: steps.m.pool: unknown pool `gpuu`\n"
    assert ended.out.startswith(f"{told}   -> pools of dags/platform.yaml: `cpu`\n")
    assert ended.out.endswith("0 errors, 1 remark\n")
    more = "pools: {gpu: {selector: {a: b}, largest: {cpu: 1, memory: 1Gi}}}\n"
    files.write("dags/platform.prod.yaml", more)
    assert "did you mean `gpu`?" in cli("check", cwd=files.root).out
    files.write("dags/platform.prod.yaml", more.replace("gpu", "gpuu"))
    assert "0 remarks" in cli("check", cwd=files.root).out


def test_a_pool_that_pods_lack_is_an_error(files, cli, monkeypatch):
    """Where steps run in pods, what has no node is an error, as it is for Airflow."""
    monkeypatch.delenv("NIGHTMILL_ENV", raising=False)
    change(files, "notebooks/meter/pipeline.yaml", *POOLED)
    files.write("dags/platform.yaml", PODS + POOLS)
    ended = cli("check", cwd=files.root)
    assert ended.code == 1
    assert "pipeline.yaml:5: steps.m.pool: unknown pool `gpuu`" in ended.err
    assert ended.out.endswith("1 error, 0 remarks\n")


def test_a_broken_platform_is_an_error(files, cli, monkeypatch):
    """A platform.yaml that is wrong takes every DAG away, so a check tells it."""
    monkeypatch.delenv("NIGHTMILL_ENV", raising=False)
    files.write("dags/platform.yaml", "store: .nightmill/store\nlauncher: lokal\n")
    ended = cli("check", cwd=files.root)
    assert ended.code == 1
    assert "dags/platform.yaml:2: launcher: `lokal`" in ended.err


SHAPES = {
    "outputs as a list": ("    outputs: [band]", "`outputs: {band: band.<ending>}`"),
    "outputs as files": ("    outputs: [band.csv, b.csv]", "`outputs: {band: band.csv}`"),
    "outputs as a file": ("    outputs: band.csv", "`outputs: {band: band.csv}`"),
    "inputs as text": ("    inputs: band", "`inputs: [output]`"),
    "checks as a list": ("    checks: [band]", '`checks: {<output>: {rows: ">0"}}`'),
    "a check as a list": ("    checks: {band: [rows]}", "known keys: `rows`, `columns`,"),
    "columns as text": ("    checks: {band: {not_null: a}}", "`not_null: {<name>: ...}`"),
    "parameters as a list": ("    parameters: [top]", "`parameters: {top: <value>}`"),
    "members as text": ("    members: north", "`members: [north, south]`"),
    "a step as text": ("  b: b.ipynb", "`{notebook: b.ipynb}`"),
    "an address to alert": ("alerts: me@x.org", "`alerts: {failure: [{notifier: airflow."),
    "an alert as text": ("alerts: {failure: [me@x.org]}", "notifier: `{notifier: airflow."),
    "a tag without brackets": ("tags: night", "`[night]`"),
}


@pytest.mark.parametrize(("line", "advice"), SHAPES.values(), ids=SHAPES)
def test_a_wrong_shape_is_told_with_the_right_one(load_spec, line, advice):
    """Text or a list in place of keys and values, or of a list, comes with what to write."""
    with pytest.raises(SpecError) as caught:
        load_spec(f"pipeline: p\nsteps:\n  a:\n    notebook: a.ipynb\n{line}\n")
    (error,) = each(caught.value)
    assert error.line == 5
    assert error.problem.startswith("expected ")
    assert advice in error.advice


def test_unknown_keys_come_with_all_that_are_known(load_spec):
    """Up to 15 keys are all named; of more the nearest, and the page that has them all."""
    with pytest.raises(SpecError) as caught:
        load_spec("pipeline: p\nzzz: 1\nsteps: {a: {notebook: a.ipynb, checks: {b: {zzz: 1}}}}\n")
    top, check = (error.advice for error in each(caught.value))
    assert top.startswith("known keys: ")
    assert top.endswith(", ...; all of them are in docs/pipeline.md")
    assert top.count("`") == 10
    assert check.count("`") == 20
    assert check.endswith("`sql`, `pandera`")


@pytest.mark.parametrize("steps", ["[make.ipynb]", "make.ipynb"])
def test_steps_without_names_are_told_with_them(load_spec, steps):
    """A list of notebooks in place of steps comes with how a step is written."""
    with pytest.raises(SpecError) as caught:
        load_spec(f"pipeline: p\nsteps: {steps}\n")
    assert caught.value.advice == "write `steps: {make: {notebook: make.ipynb}}`"
