"""A project: what its files say about each other, and that one broken file hides no other."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nightmill.spec
from nightmill.errors import KernelError, SpecError, UsageError
from nightmill.spec.graph import find_cycle, ordered
from nightmill.spec.problems import each
from nightmill.spec.project import Project, find_root

EMPTY = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})


@pytest.fixture
def make(tmp_path):
    """Make a project of pipelines {folder: text}; every notebook named in them exists."""

    def _make(*kernels: str, **pipelines: str) -> Project:
        for kernel in kernels or ("tabular",):
            folder = tmp_path / "kernels" / kernel
            folder.mkdir(parents=True)
            (folder / "requirements.txt").write_text("pandas==3.1.0\n")
        for name, text in pipelines.items():
            folder = tmp_path / "notebooks" / name
            folder.mkdir(parents=True)
            (folder / "pipeline.yaml").write_text(text)
            for notebook in ("a", "b", "c", "d"):
                (folder / f"{notebook}.ipynb").write_text(EMPTY)
        return Project.load(tmp_path)

    return _make


def chain(name: str, *steps: str, top: str = "") -> str:
    """Write a pipeline; a step is `a(x, y)->z`: inputs in brackets, then its output."""
    lines = [f"pipeline: {name}", *top.splitlines(), "steps:"]
    for step in steps:
        head, _, output = step.partition("->")
        step_name, _, inputs = head.rstrip(")").partition("(")
        lines.append(f"  {step_name}:")
        lines.append(f"    notebook: {step_name}.ipynb")
        if inputs:
            lines.append(f"    inputs: [{inputs}]")
        if output:
            lines.append(f"    outputs: {{{output}: {output}.parquet}}")
    return "\n".join(lines) + "\n"


def only(project: Project) -> SpecError:
    """Give the one error of a project."""
    ((error,),) = project.errors.values()
    return error


def test_order(make):
    """Steps come after what they need, and else in the order of the file."""
    project = make(p=chain("p", "d(z, y)->w", "a->x", "b(x)->y", "c(x)->z"))
    pipeline = project.pipeline("p")
    assert project.step_order(pipeline) == ["a", "b", "c", "d"]
    assert project.upstream(pipeline, "d") == ("b", "c")
    assert project.upstream(pipeline, "a") == ()
    assert project.kernel(pipeline.spec.steps["a"]).name == "tabular"


def test_inputs_of_another_pipeline(make):
    """Another pipeline's output is by default its latest version up to the partition."""
    project = make(
        model=chain("model", "a->model"),
        p=chain("p", "b(model.model)"),
        q="pipeline: q\nsteps:\n  c:\n    notebook: c.ipynb\n"
        "    inputs: {model: {from: model, max_age: 2d}}\n",
    )
    project.raise_errors()
    for name, step in (("p", "b"), ("q", "c")):
        (source,) = project.inputs(project.pipeline(name), step)
        assert (source.pipeline, source.step, source.output) == ("model", "a", "model")
        assert (source.version, source.inclusive) == ("latest_before_partition", True)
        assert project.upstream(project.pipeline(name), step) == ()


def test_own_output_before_pipeline_name(make):
    """A bare name means an output of this pipeline where there is one."""
    project = make(
        model=chain("model", "a->model"), p=chain("p", "a->model", "b(model)", "c(p.model)")
    )
    pipeline = project.pipeline("p")
    assert [project.inputs(pipeline, s)[0].pipeline for s in ("b", "c")] == ["p", "p"]
    assert project.inputs(pipeline, "b")[0].version == "same_partition"


@pytest.mark.parametrize(
    ("mine", "other", "version"),
    [
        ("date", "date", "latest_before_partition"),
        ("text", "text", "same_partition"),
        ("date", "text", "latest"),
        ("text", "date", "latest"),
    ],
)
def test_default_version(make, mine, other, version):
    """The default version is the one that the two kinds of partitions allow."""
    project = make(
        o=chain("o", "a->x", top=f"partition: {other}"),
        p=chain("p", "b(o.x)", top=f"partition: {mine}"),
    )
    (source,) = project.inputs(project.pipeline("p"), "b")
    assert source.version == version


def test_own_earlier_output(make):
    """A step may read what it made the day before; strictly before, and no edge follows."""
    text = chain("p", "a->x") + "    inputs: {x_before: {from: x, version: %s}}\n"
    project = make(p=text % "latest_before_partition", q=text.replace(": p", ": q") % "latest")
    pipeline = project.pipeline("p")
    (source,) = project.inputs(pipeline, "a")
    assert (source.inclusive, project.upstream(pipeline, "a")) == (False, ())
    assert "a -> a" in only(project).problem


CROSS = {
    # pipelines, the broken one, line, key, words of the problem, words of the advice
    "unknown input": ({"p": chain("p", "a->scores", "b(score)")}, "p", 8, "steps.b.inputs.0",
                      "no step of this pipeline makes the output `score`", "`scores`?"),
    "unknown pipeline": ({"p": chain("p", "a(mdel.x)"), "model": chain("model", "a->x")}, "p", 5,
                         "steps.a.inputs.0", "unknown pipeline `mdel`", "`model`?"),
    "unknown output there": ({"p": chain("p", "a(m.modl)"), "m": chain("m", "a->model")}, "p", 5,
                             "steps.a.inputs.0", "no step of the pipeline `m`", "`model`?"),
    "cycle": ({"p": chain("p", "a(z)->x", "b(x)->y", "c(y)->z")}, "p", None, None,
              "wait for each other: ", "previous_partition"),
    "own input": ({"p": chain("p", "a(y)->x", "b->y") + "    inputs: {c: {from: y}}\n"}, "p", 10,
                  "steps.b.inputs.c", "b -> b", ""),
    "kernel": ({"p": chain("p", "a") + "    kernel: tabulr\n"}, "p", 5, "steps.a.kernel",
               "unknown kernel `tabulr`", "`tabular`?"),
    "notebook": ({"p": "pipeline: p\nsteps:\n  s:\n    notebook: aa.ipynb\n"}, "p", 4,
                 "steps.s.notebook", "there is no notebook `aa.ipynb`", "`a.ipynb`?"),
    "after pipeline": ({"p": chain("p", "a", top="after: [q.x]")}, "p", 2, "after.0",
                       "unknown pipeline `q`", "`p`"),
    "after output": ({"p": chain("p", "a", top="after:\n- q.y"), "q": chain("q", "a->x")}, "p", 3,
                     "after.0", "makes no output `y`", "`x`"),
    "broken other": ({"p": chain("p", "a(q.x)"), "q": "pipeline: q\n"}, "p", 5,
                     "steps.a.inputs.0", "needs the pipeline `q`, which is broken: ", "mend"),
    "mixed kinds": ({"p": chain("p", "a") + "    inputs: {x: {from: q.x, version: same_partition}}",
                     "q": chain("q", "a->x", top="partition: text")}, "p", 5,
                    "steps.a.inputs.x.version", "cannot relate date partitions", "latest"),
    "age of text": ({"p": chain("p", "a") + "    inputs: {x: {from: q.x, max_age: 1d}}",
                     "q": chain("q", "a->x", top="partition: text")}, "p", 5,
                    "steps.a.inputs.x.max_age", "the partitions of `q` are text", "remove"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "broken", "line", "key", "words", "advice"), CROSS.values(), ids=CROSS
)
def test_cross_errors(make, files, broken, line, key, words, advice):
    """What one file says wrongly of another is an error at its own key."""
    project = make(**files)
    with pytest.raises(SpecError) as caught:
        project.pipeline(broken)
    error = caught.value
    assert error.file == project.root / "notebooks" / broken / "pipeline.yaml"
    assert line is None or error.line == line
    assert key is None or error.key == key
    assert words in error.problem
    assert advice in error.advice


def test_cycle_is_spelled_out(make):
    """A cycle is told as a path that ends where it began, at the line of one of its inputs."""
    project = make(p=chain("p", "a(z)->x", "b(x)->y", "c(y)->z", "d(x)"))
    error = only(project)
    path = error.problem.partition(": ")[2].split(" -> ")
    assert path[0] == path[-1]
    assert list(pairwise(path)) in [
        [("a", "b"), ("b", "c"), ("c", "a")],
        [("b", "c"), ("c", "a"), ("a", "b")],
        [("c", "a"), ("a", "b"), ("b", "c")],
    ]
    assert error.line == {"a": 5, "b": 9, "c": 13}[path[1]]


def test_cycle_over_pipelines(make):
    """Pipelines that wait for each other's same partition are an error, earlier days are not."""
    text = "pipeline: {0}\nsteps:\n  a:\n    notebook: a.ipynb\n    outputs: {{x: x}}\n"
    text += "    inputs: {{y: {{from: {1}.x, version: {2}}}}}\n"
    project = make(
        p=text.format("p", "q", "same_partition"),
        q=text.format("q", "p", "same_partition"),
        r=text.format("r", "s", "previous_partition"),
        s=text.format("s", "r", "same_partition"),
    )
    error = only(project)
    assert error.problem.endswith(("p -> q -> p", "q -> p -> q"))
    assert (error.line, error.key) == (6, "steps.a.inputs.y")


def test_earlier_days_make_no_cycle(make):
    """Two pipelines may read each other as long as one of them looks back."""
    text = "pipeline: {0}\nsteps:\n  a:\n    notebook: a.ipynb\n    outputs: {{x: x}}\n"
    text += "    inputs: {{y: {{from: {1}.x, version: {2}}}}}\n"
    make(
        r=text.format("r", "s", "previous_partition"),
        s=text.format("s", "r", "same_partition"),
    ).raise_errors()


def test_after_makes_an_edge(make):
    """`after` both ways round is a cycle too."""
    project = make(
        p=chain("p", "a->x", top="after: [q.x]"), q=chain("q", "a->x", top="after: [p.x]")
    )
    assert "the pipelines wait for each other" in only(project).problem


def test_same_name(make):
    """Two folders with one pipeline name are an error in both files, each naming the other."""
    project = make(p=chain("p", "a"), q=chain("p", "a"))
    assert [error.line for (error,) in project.errors.values()] == [1, 1]
    with pytest.raises(SpecError, match="has the same name `p`"):
        project.pipeline("p")


def test_kernel_missing(make):
    """With several kernels a step must say which; what there is is listed."""
    project = make("tabular", "torch", p=chain("p", "a"))
    error = only(project)
    assert (error.line, error.problem) == (3, "`kernel` is missing")
    assert error.advice == "kernels: `tabular`, `torch`"
    with pytest.raises(KernelError):
        project.kernel(project.pipelines["p"].spec.steps["a"])


@pytest.mark.parametrize("named", ["", "    kernel: mine\n"], ids=["the only one", "by its name"])
def test_a_kernel_that_is_not_locked(make, tmp_path, named):
    """A step whose kernel was never locked is told so, at its line, with what locks it."""
    project = make(p=chain("p", "a") + named)
    for lock in tmp_path.glob("kernels/*/requirements.txt"):
        lock.unlink()
    (tmp_path / "kernels" / "mine").mkdir(parents=True)
    (tmp_path / "kernels" / "mine" / "requirements.in").write_text("ipykernel\n")
    error = only(Project.load(project.root))
    assert error.problem == "kernel mine is not locked yet"
    assert error.advice == "run `nightmill kernels lock mine`"
    assert error.key == "steps.a.kernel"


def test_one_broken_file_hides_nothing(make):
    """A broken pipeline.yaml raises when it is asked for, and others work."""
    project = make(p=chain("p", "a"), q="pipeline: q\nsteps: {}\n", r="a: [\n", s="ownr: x\n")
    assert project.pipeline("p").name == "p"
    for name, line in (("q", 2), ("r", 2), ("s", 1)):
        with pytest.raises(SpecError) as caught:
            project.pipeline(name)
        assert caught.value.line == line
        assert Path(caught.value.file).parent.name == name
    with pytest.raises(SpecError) as caught:
        project.raise_errors()
    files = [Path(error.file).parent.name for error in each(caught.value)]
    assert files == ["q", "r", "s", "s", "s"]


def test_a_broken_file_is_no_error_of_who_reads_it(make):
    """Only the broken file has an error; readers keep their graph, and are told the cause once."""
    text = chain("p", "b(x, q.y, q.z)", "a->x", top="after: [q.y]")
    project = make(p=text, q=chain("q", "a->y", "b->z") + "    outputz: {}\n")
    assert [file.parent.name for file in project.errors] == ["q"]
    assert project.step_order(project.pipelines["p"]) == ["a", "b"]
    with pytest.raises(SpecError) as caught:
        project.pipeline("p")
    (error,) = each(caught.value)
    cause = f"{project.root}/notebooks/q/pipeline.yaml:9: steps.b.outputz: unknown key `outputz`"
    assert (error.line, error.key) == (2, "after.0")
    assert error.problem == f"needs the pipeline `q`, which is broken: {cause}"
    assert error.advice == "mend that first; did you mean `outputs`?"


def test_unknown_pipeline(make):
    """A misspelt pipeline is the fault of who typed it, and the right name is offered."""
    project = make(flight_delays=chain("flight_delays", "a"), other="broken")
    with pytest.raises(UsageError, match="did you mean `flight_delays`") as caught:
        project.pipeline("flight_delay")
    assert caught.value.exit_code == 2


def test_broken_kernel(make, tmp_path):
    """A broken kernel.yaml is one error, not one for each step that uses the kernel."""
    make(p=chain("p", "a") + "    kernel: tabular\n")
    (tmp_path / "kernels" / "tabular" / "kernel.yaml").write_text("displayname: x\n")
    project = Project.load(tmp_path)
    error = only(project)
    assert (error.line, error.advice) == (1, "did you mean `display_name`?")
    assert project.pipeline("p").name == "p"


def test_empty_project(tmp_path):
    """A folder without pipelines is a project without pipelines."""
    project = Project.load(tmp_path)
    assert (project.pipelines, project.errors) == ({}, {})


def test_find_root(tmp_path):
    """The root is found from any folder inside the project, and missed with advice outside."""
    deep = tmp_path / "notebooks" / "p"
    deep.mkdir(parents=True)
    assert find_root(deep) == find_root(tmp_path) == tmp_path.resolve()
    with pytest.raises(UsageError, match="no project here"):
        find_root(Path(tmp_path.anchor))


@given(
    edges=st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6
    )
)
def test_any_graph(edges):
    """A graph has either a cycle whose every edge exists, or an order that respects all edges."""
    full = {name: edges.get(name, []) for name in "abcdef"}
    cycle = find_cycle(full)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(before in full[after] for before, after in pairwise(cycle))
    else:
        order = ordered(full)
        assert sorted(order) == list("abcdef")
        assert all(order.index(b) < order.index(a) for a in full for b in full[a])


def test_airflow_can_parse_with_it():
    """Loading the room brings in no Jupyter, no store and no Airflow, wherever it is imported."""
    rooms = Path(nightmill.spec.__file__).parent.glob("*.py")
    modules = ", ".join(f"nightmill.spec.{path.stem}" for path in rooms if path.stem[0] != "_")
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    tops = {name.partition(".")[0] for name in loaded.stdout.split()}
    assert not tops & {
        "nbformat",
        "jupytext",
        "papermill",
        "nbclient",
        "boto3",
        "airflow",
        "IPython",
    }


def test_modules_are_small():
    """No module of the room grows beyond 300 lines, and none imports another room."""
    for path in Path(nightmill.spec.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("nightmill."):
                assert node.module.split(".")[1] in ("spec", "errors", "causes"), path
