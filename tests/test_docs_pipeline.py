"""What docs/pipeline.md says is so: its keys, defaults and examples are those of the models."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from nightmill.spec.check import check_pipeline
from nightmill.spec.check_kinds import Check
from nightmill.spec.kernel import KernelFile
from nightmill.spec.lint import lint_notebook
from nightmill.spec.model import Model
from nightmill.spec.notebook import read_notebook
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.project import Project
from nightmill.spec.retention import Keep
from nightmill.spec.scheduling import Alerts
from tests.conftest import notebook_json

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


# --- the keys that there are, from the models ---------------------------------------------------


def models_in(annotation: object, path: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Find the models inside an annotation, each with the path that leads there."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, path
        return
    is_mapping = get_origin(annotation) in (Mapping, dict)
    for inner in get_args(annotation)[1 if is_mapping else 0 :]:
        yield from models_in(inner, f"{path}.<>" if is_mapping else path)


def keys_below(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """List every key of a model and of those inside it, with the path that leads to it."""
    for name, one in model.model_fields.items():
        key = f"{path}{one.alias or name}"
        if issubclass(model, Check) and name in Check.model_fields:
            key = f"{path.removesuffix('.').removesuffix('.<>').rpartition('.')[0]}.<>.{name}"
        yield key, one
        for inner, where in models_in(one.annotation, key):
            yield from keys_below(inner, f"{where}.")


EVENTS = re.compile(r"^alerts\.\w+\.")  # four lists of the same: the page tells of their items once
KEYS = {EVENTS.sub("alerts.<>.", key): one for key, one in keys_below(PipelineSpec)}
KEYS |= dict(keys_below(KernelFile, "kernel.yaml."))


def read_key(key: str, value: Any) -> Any:
    """Read the value of one key as pipeline.yaml would, without the other keys beside it."""
    field, name = KEYS[key], key.rpartition(".")[2]
    one = create_model("One", __base__=Model, **{name + "_": (field.annotation, field)})
    one = one.model_validate({field.alias or name + "_": value})
    return getattr(one, name + "_")


# --- what the page says -------------------------------------------------------------------------


class Row(NamedTuple):
    """A row about a key; `key` is the whole path, with `<>` for every name of an author's own."""

    key: str
    type: str
    default: str
    example: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """A part of the page; its heading's first code says below which keys its rows stand."""

    place: str
    text: str

    def path(self, written: str) -> str:
        """Return the whole path of a key."""
        whole = f"{self.place}.{written}" if self.place else written
        return re.sub(r"<\w*>", "<>", whole)

    def rows(self) -> Iterator[Row]:
        """Read the tables whose first column is the key."""
        for table in self.text.strip().split("\n\n"):
            if table.startswith("| key |"):
                for line in table.strip().splitlines()[2:]:
                    key, *others = re.split(r"(?<!\\) \| ", line.removeprefix("| ").rstrip(" |"))
                    yield Row(self.path(key.strip("`")), *others)


def sections() -> Iterator[Section]:
    """Take the page apart at its headings."""
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _newline, text = part.partition("\n")
        place = re.search(r"`([^`]+)`", heading)
        yield Section(place[1] if place else "", text)


SECTIONS = tuple(sections())
ROWS = tuple(row for section in SECTIONS for row in section.rows())


def blocks(language: str) -> list[str]:
    """Find the fenced blocks of a language, also those within a list."""
    found = FENCE.findall(PAGE)
    return [textwrap.dedent(body) for _indent, kind, body in found if kind == language]


# --- the tables ---------------------------------------------------------------------------------


def test_every_key_has_one_row():
    """No key is known only to those who read the code, and no row names a key that is none."""
    assert sorted(row.key for row in ROWS) == sorted(KEYS)


def test_defaults_are_the_models():
    """A default in backticks is the model's, "required" has none, and "none" is nothing at all."""
    for key, _type, written, *_others in ROWS:
        field = KEYS[key]
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            assert written == "required", key
        elif default in (None, (), {}, "", Alerts(), Keep()):
            assert written == "none", key
        else:
            assert re.fullmatch("`.+`", written), key
            assert read_key(key, yaml.safe_load(written.strip("`"))) == default, key


def test_examples_of_the_tables_are_taken():
    """Each example is of its own row's key, and Nightmill takes its value."""
    for row in ROWS:
        ((name, value),) = yaml.safe_load(row.example.strip("`")).items()
        assert name == row.key.rpartition(".")[2]
        assert read_key(row.key, value) is not None


def test_rows_tell_every_word_that_is_possible():
    """A key that takes one of several words has all of them in its row."""
    for row in ROWS:
        told = set(re.findall(r"`([^`]+)`", f"{row.type} {row.meaning}"))
        assert set(words_of(KEYS[row.key].annotation)) <= told, row.key


def test_bounds_are_the_models():
    """A number of the type `1 to 60` may be one of these two, and none beyond."""
    bounded = [(row.key, re.fullmatch(r"(\d+) to (\d+)", row.type)) for row in ROWS]
    for key, low, high in [(key, int(it[1]), int(it[2])) for key, it in bounded if it]:
        assert (read_key(key, low), read_key(key, high)) == (low, high)
        for beyond in (low - 1, high + 1):
            with pytest.raises(ValidationError):
                read_key(key, beyond)


def words_of(annotation: object) -> Iterator[str]:
    """List the words of a Literal, also of one that may be left out."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (Union, UnionType):
        for inner in get_args(annotation):
            yield from words_of(inner)


# --- the examples -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_yaml_is_taken(text):
    """An example is a pipeline.yaml, or what stands in one under the keys that it begins with."""
    example = yaml.safe_load(text)
    assert PipelineSpec.model_validate({"pipeline": "p", **STEP, **example})


STEP = {"steps": {"s": {"notebook": "s.ipynb"}}}


@pytest.fixture
def own_pipeline(tmp_path):
    """Write the pipeline that the page begins with, beside the shipped kernel; return its root."""
    for name in ("kernels/tabular", "notebooks/departures"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("kernels/tabular/requirements.txt", "notebooks/flights.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    first, second, *others = blocks("python")
    folder = tmp_path / "notebooks/departures"
    (folder / "pipeline.yaml").write_text(blocks("yaml")[0])
    (folder / "count.ipynb").write_text(notebook_json([first, (second, "parameters"), *others]))
    return tmp_path


def test_the_pipeline_of_your_own_is_without_error(own_pipeline):
    """Who copies the page's first example finds nothing wrong with it by `nightmill check`."""
    project = Project.load(own_pipeline)
    project.raise_errors()
    pipeline = project.pipeline("departures")
    assert check_pipeline(pipeline) == []
    assert lint_notebook(read_notebook(pipeline.notebook("count")), "tabular") == []


def test_the_notebook_of_your_own_runs_by_hand(own_pipeline, kernel_python):
    """Its cells run with their defaults, and what they make lies where the page says."""
    folder = own_pipeline / "notebooks/departures"
    cells = "\n".join(blocks("python"))
    subprocess.run([kernel_python, "-c", cells], cwd=folder, check=True, timeout=120)
    assert (own_pipeline / ".nightmill/explore/departures.parquet").stat().st_size


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)]+)\)", PAGE))))
def test_every_link_leads_somewhere(link):
    """A link leads to a file, and to a heading that this file has."""
    name, _hash, place = link.partition("#")
    file = ROOT / "docs" / (name or "pipeline.md")
    assert file.exists()
    if place:
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert place in {anchor_of(heading) for heading in headings}


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
