"""The drawing of a run's steps: every step has a place of its own, and lines lead from maker on."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from nightmill.review.pages.step_graph import HEIGHT, WIDTH, Drawing, draw, edges_of, edges_seen
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml
from nightmill.store.open import open_store
from tests.run_records import YAML, leave, reads, record_of

MANY = tuple(map(str, range(30)))
DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d", "a")}
SHAPES = {
    "nothing": {},
    "one step": {"only": ()},
    "a chain": {"a": (), "b": ("a",), "c": ("b",)},
    "a diamond and a long line": DIAMOND,
    "steps apart": {"a": (), "b": (), "c": ()},
    "each needs all before": {f"s{n}": tuple(f"s{m}" for m in range(n)) for n in range(8)},
    "wide": {
        "a": (),
        **dict.fromkeys(map(str, range(30)), ("a",)),
        "z": tuple(map(str, range(30))),
    },
}
OPEN = re.compile(r"^M(\d+) (\d+)")
END = re.compile(r"(\d+) (\d+)$")


@pytest.fixture
def local(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


def boxes(drawing: Drawing) -> dict[str, tuple[int, int, int, int]]:
    """Give each step's left, top, right and bottom."""
    return {one.step: (one.x, one.y, one.x + WIDTH, one.y + HEIGHT) for one in drawing.places}


@pytest.mark.parametrize("graph", SHAPES.values(), ids=SHAPES.keys())
def test_no_two_steps_share_room_and_all_are_inside(graph):
    """Whatever the graph, every step is drawn once, whole, and over no other."""
    drawing = draw(graph)
    found = boxes(drawing)
    assert found.keys() == graph.keys()
    for left, top, right, bottom in found.values():
        assert left >= 0 <= top
        assert right <= drawing.width
        assert bottom <= drawing.height
    for one, other in combinations(found.values(), 2):
        is_apart_across = one[2] <= other[0] or other[2] <= one[0]
        assert is_apart_across or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("graph", SHAPES.values(), ids=SHAPES.keys())
def test_each_line_leads_from_what_is_needed_to_who_needs_it(graph):
    """A line leaves its maker in the middle of the right side and ends at its reader's left."""
    drawing = draw(graph)
    found = boxes(drawing)
    expected = {
        (found[need][2], found[need][1] + HEIGHT // 2, found[step][0], found[step][1] + HEIGHT // 2)
        for step, needs in graph.items()
        for need in needs
    }
    drawn = {
        (*map(int, OPEN.search(line).groups()), *map(int, END.search(line).groups()))
        for line in drawing.lines
    }
    assert drawn == expected


def test_a_step_is_to_the_right_of_all_it_needs():
    """The reader's eye goes from left to right, as outputs do."""
    found = boxes(draw(DIAMOND))
    assert all(found[need][2] < found[step][0] for step, needs in DIAMOND.items() for need in needs)


def test_a_line_that_passes_a_layer_by_runs_behind_no_step():
    """The line from the first to the last step has a lane beside the steps between them."""
    drawing = draw({"a": (), "b": ("a",), "c": ("b", "a")})
    (passing,) = [line for line in drawing.lines if "H" in line]
    height = int(re.search(r"(\d+) H", passing)[1])
    _left, top, _right, bottom = boxes(drawing)["b"]
    assert not top <= height <= bottom


def test_the_graph_is_that_of_the_pipeline(tmp_path):
    """Edges follow from names; inputs of other pipelines and of the day before make none."""
    file = tmp_path / "pipeline.yaml"
    more = (
        "  last: {notebook: l.ipynb, outputs: {state: s.parquet}, inputs: {"
        "before: {from: state, version: previous_partition}, out: airports.list, s: scores}}\n"
    )
    file.write_text(YAML + more)
    spec = validate(PipelineSpec, read_yaml(file))
    assert edges_of(spec) == {
        "load": [],
        "weather": [],
        "features": ["load", "weather"],
        "score": ["features"],
        "report": ["load", "score"],
        "last": ["score"],
    }


def test_without_a_pipeline_the_graph_is_what_the_steps_have_read(local):
    """Only what another step of the same run made is an edge."""
    load = leave(local, record_of("load"))
    before = reads(load, run="earlier")
    score = record_of("score", inputs={"raw": reads(load), "old": before, "none": None})
    assert edges_seen([load, score]) == {"load": [], "score": ["load"]}
