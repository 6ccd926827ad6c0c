"""`nightmill replay --open`: a copy with the run's values, in a real JupyterLab on loopback."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
from datetime import date
from pathlib import Path

import pytest

from nightmill.errors import UsageError
from nightmill.replay import lab
from nightmill.replay.interactive import InteractiveCopy
from tests.jupyter_lab import opened

DAY = "2013-03-01"
STEPS = """\
make:
  notebook: make.ipynb
  outputs: {made: made.txt}
bad:
  notebook: bad.ipynb
  inputs: {made: made, before: {from: made, version: previous_partition, optional: true}}
  outputs: {never: out/never.txt}
  env: {SETTING: of the step}
"""
PARAMETERS = """\
from datetime import date
partition: date = date(2000, 1, 1)
made: str = "made.txt"
before: str | None = "before.txt"
never: str = "never.txt"
words: list[str] = []
token: str = ""
"""
CELLS = [
    ("# Title", "markdown"),
    (PARAMETERS, "parameters"),
    "import helper\nprint('before the end')",
    "raise ValueError('the end')",
    "print('never')",
]
WORDS = ["a'b", "{x}", "é"]
TOKEN = {"TOKEN_OF_THEN": "s3cr3t-of-then"}


class Opened:
    """A failed run whose working tree has changed since, opened in JupyterLab and ended."""

    def __init__(self, project):
        self.project = project
        make = [('made: str = "m"', "parameters"), "open(made, 'w').write('bytes of then')"]
        project.pipeline("open", STEPS, make=make, bad=CELLS)
        project.write("notebooks/open/helper.py", "x = 1\n")
        values = [f"bad.words={json.dumps(WORDS)}", "bad.token=secret://TOKEN_OF_THEN"]
        given = [part for value in values for part in ("-p", value)]
        ran = project.run("run", "open", "--partition", DAY, *given, env=TOKEN)
        assert ran.code == 1, ran.out + ran.err
        self.run = project.attempts("open", "bad")[0].parts[-3]
        self.before = {
            path: path.read_bytes() for path in (project.root / "notebooks").rglob("*.*")
        }
        with opened(project, self.run, env=TOKEN) as there:
            self.lab = there
            (self.copy,) = project.root.glob(".nightmill/replays/*/bad/code/notebooks/open/bad-*")
            path = self.copy.relative_to(self.copy.parents[2]).as_posix()
            self.content = there.ask(f"contents/{path}")["content"]
            self.kernels = there.ask("kernelspecs")["kernelspecs"]
            self.version = there.ask("status")
            with pytest.raises(urllib.error.HTTPError) as refused:
                there.ask("status", token="guessed")
            self.refused = refused.value.code
            refused.value.close()
            self.code = there.end()

    @property
    def cells(self):
        """The cells of the copy, as JupyterLab serves them."""
        return self.content["cells"]

    @property
    def values(self):
        """What the cell with the run's values leaves when it runs behind the defaults."""
        names = {}
        for cell in self.cells[1:3]:
            exec(cell["source"], names)  # noqa: S102 - what a reader's first click does
        return names


@pytest.fixture(scope="module")
def there(make_project):
    """Run a pipeline that fails, open the failed step, and look around."""
    os.environ |= TOKEN  # for the cell that reads it
    yield Opened(make_project("open"))
    del os.environ["TOKEN_OF_THEN"]


def test_jupyterlab_serves_the_copy_at_the_failing_cell(there):
    """The failed step is chosen; the address names copy, token and the cell that failed."""
    failing = there.cells[4]
    assert failing["source"] == "raise ValueError('the end')"
    page = f"/lab/tree/notebooks/open/bad-{there.run}.ipynb?token="
    assert page in there.lab.url
    assert there.lab.url.endswith(f"#cell-id={failing['id']}")
    assert there.refused == 403


def test_the_copy_has_every_cell_and_one_more(there):
    """The author's cells are all there, the defaults too; the values of the run follow them."""
    sources = [cell["source"] for cell in there.cells]
    assert sources[:2] + sources[3:] == [
        cell if isinstance(cell, str) else cell[0] for cell in CELLS
    ]
    tags = [cell["metadata"].get("tags", []) for cell in there.cells]
    assert tags[1:3] == [["parameters"], ["injected-parameters"]]
    ids = [cell["id"] for cell in there.cells]
    assert len(set(ids)) == len(ids) == 6


def test_the_values_are_those_of_the_run(there):
    """Run in their order, the cells give what the step had: types, texts, paths, no secret."""
    values = there.values
    assert values["partition"] == date(2013, 3, 1)
    assert values["words"] == WORDS
    assert values["before"] is None
    assert values["token"] == TOKEN["TOKEN_OF_THEN"]
    assert TOKEN["TOKEN_OF_THEN"] not in there.copy.read_text()
    made = Path(values["made"])
    assert made.read_text() == "bytes of then"
    assert there.project.store not in made.parents
    never = Path(values["never"])
    assert never.name == "never.txt"
    assert never.parent.is_dir()
    assert not never.exists()


def test_the_copy_shows_what_the_run_said(there):
    """Outputs of the run are in the copy, the error in the failing cell, none where nothing ran."""
    outputs = [cell.get("outputs") for cell in there.cells]
    assert outputs[3][0]["text"] == "before the end\n"
    assert outputs[4][0]["ename"] == "ValueError"
    assert outputs[2] == outputs[5] == []


def test_it_runs_in_the_kernel_of_the_record(there, kernel_environment):
    """JupyterLab finds the very environment under the kernel's name."""
    spec = there.kernels["tabular"]["spec"]
    assert spec["argv"][0] == str(kernel_environment.python)
    assert there.content["metadata"]["kernelspec"]["name"] == "tabular"


def test_modules_are_beside_the_copy_and_the_sources_stay(there):
    """The copy can import what the notebook imports; the author's files are untouched."""
    assert (there.copy.parent / "helper.py").read_text() == "x = 1\n"
    now = {path: path.read_bytes() for path in (there.project.root / "notebooks").rglob("*.*")}
    assert now == there.before


def test_ctrl_c_ends_jupyterlab_and_nothing_else(there):
    """The command ends well, its server answers no more, and the copy stays."""
    assert there.code == 0
    with pytest.raises(urllib.error.URLError):
        there.lab.ask("status")
    assert there.copy.is_file()


def test_without_jupyterlab_the_copy_is_made_and_the_way_told(monkeypatch):
    """The error names the copy, and how to get JupyterLab."""
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError) as raised:
        lab.require_lab(InteractiveCopy(Path("folder/copy.ipynb")))
    assert raised.value.where == "folder/copy.ipynb"
    assert "nightmill[lab]" in raised.value.advice


def test_several_steps_are_asked_about(there):
    """Where it is not plain which one is meant, the candidates are named."""
    (record,) = there.project.attempts("open", "make")
    shutil.copytree(record, record.parents[1] / "more" / "1")
    text = (record.parents[1] / "more/1/record.json").read_text()
    (record.parents[1] / "more/1/record.json").write_text(
        text.replace('"step": "make"', '"step": "more"').replace("succeeded", "failed")
    )
    ended = there.project.run("replay", there.run, "--open", env=TOKEN)
    assert ended.code == 2
    assert "which one is to be opened: make, " in ended.err
    assert "add --step" in ended.err
