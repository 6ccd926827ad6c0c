"""What the README says is so: its commands, options, tables, links and examples."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml

from nightmill.causes import Cause
from nightmill.cli.app import app
from nightmill.spec.contract import read_contract
from nightmill.spec.inputs import Version
from nightmill.spec.notebook import read_notebook
from nightmill.spec.pipeline import PipelineSpec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = typer.main.get_command(app)
VERBS = COMMAND.commands


def fenced(language: str) -> list[str]:
    """Return the README's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "words", sorted(set(re.findall(r"nightmill ([a-z]+)\b([^`\n|]*)", README)))
)
def test_every_command_of_the_readme_exists(words):
    """A command that the README shows is a verb, with options that this verb has."""
    verb, rest = words
    assert verb in VERBS
    known = {flag for option in VERBS[verb].params for flag in option.opts}
    assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)) <= known


def test_the_cell_that_the_readme_shows_is_the_shipped_one():
    """Who types the README's `-p` meets a parameter that the notebook has."""
    (block,) = [one for one in fenced("python") if one.startswith("partition: ")]
    shown = dict(re.findall(r"^(\w+): (\w+) = ", block, re.MULTILINE))
    notebook = ROOT / "notebooks/flight_delays/score.ipynb"
    contract = read_contract(read_notebook(notebook))
    assert shown == {name: str(one.annotation) for name, one in contract.parameters.items()}
    assert set(re.findall(r"-p (\w+)=\d", README)) <= set(shown)
    assert "-p threads=2" in README


def test_options_of_run_that_the_readme_names_exist():
    """The row of `nightmill run` names options that it has."""
    row = next(line for line in README.splitlines() if line.startswith("| `nightmill run"))
    known = {flag for option in VERBS["run"].params for flag in option.opts}
    named = set(re.findall(r"(?<![\w-])--?[a-z]+", row))
    assert len(named) > 5
    assert named <= known


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_in_the_readme(verb):
    """No verb is known only to those who read the code."""
    assert f"nightmill {verb}" in README


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_in_the_docs_with_its_exit_code(cause):
    """Whoever meets an exit code finds its cause where the README says it is."""
    assert "](docs/running.md#causes)" in README
    causes = (ROOT / "docs/running.md").read_text(encoding="utf-8").split("## Causes", 1)[1]
    assert re.search(rf"^\| {cause.exit_code} \| `{cause}` \|", causes, re.MULTILINE)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_every_make_target_of_the_readme_exists(target):
    """What the README tells to make can be made."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)", README))
def test_every_link_of_the_readme_leads_to_a_file(link):
    """A file that the README links to is in the repository."""
    assert (ROOT / link).exists()


def test_every_version_is_in_the_readmes_table():
    """The table of `version:` has a row for each that pipeline.yaml may say, and no other."""
    table = README.split("| `version:` |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(get_args(Version))


def test_the_readmes_pipeline_is_a_pipeline():
    """The example of a pipeline.yaml is one that Nightmill takes."""
    (example,) = fenced("yaml")
    assert PipelineSpec.model_validate(yaml.safe_load(example)).pipeline == "flight_delays"


@pytest.mark.parametrize("source", fenced("python"))
def test_the_readmes_python_is_python(source):
    """Examples in Python can be pasted."""
    ast.parse(source)


def test_the_readme_is_short():
    """The README is read whole: what does not fit in 200 lines belongs into docs/."""
    assert len(README.splitlines()) <= 200
