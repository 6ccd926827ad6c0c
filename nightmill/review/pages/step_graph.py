"""The steps of a run as a drawing: layers from left to right, and lines along which outputs go.

Pure arithmetic over the graph that pipeline.yaml tells. A line that passes a layer by takes a lane
of its own there, so that no line runs behind a step. The same steps are a list on a narrow screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from nightmill.review.pages.fact import Fact
from nightmill.spec.graph import Graph, ordered, resolve_input, upstream
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import Faults
from nightmill.spec.record import Record

WIDTH, HEIGHT = 216, 108
"""Of a step, in pixels of a reader's screen."""

_BETWEEN = 56
_BELOW = 16
_LANE = 8
_MARGIN = 2
_SWEEPS = 3


class Place(Fact):
    """Where a step is drawn."""

    step: str
    x: int
    y: int


class Drawing(Fact):
    """Where everything is, in pixels. `lines` are SVG paths."""

    width: int
    height: int
    step_width: int = WIDTH
    step_height: int = HEIGHT
    places: tuple[Place, ...]
    lines: tuple[str, ...]


def edges_of(spec: PipelineSpec) -> Graph:
    """Name for each step those that it needs first, as far as this pipeline alone tells."""
    alone = {spec.pipeline: spec}
    found: dict[str, Sequence[str]] = {}
    for name, step in spec.steps.items():
        sources = []
        for parameter, given in step.inputs.items():
            with suppress(Faults):  # of another pipeline, which makes no edge here
                sources.append(resolve_input(alone, spec, parameter, given))
        found[name] = [one for one in upstream(spec, sources) if one != name]
    return found


def edges_seen(records: Sequence[Record]) -> Graph:
    """Tell the same from what steps of one run have read of each other."""
    makers = {output: one.step for one in records for output in one.outputs}
    found: dict[str, list[str]] = {}
    for record in records:
        needs = found.setdefault(record.step, [])
        for given in record.inputs.values():
            is_own = given and (given.pipeline, given.run) == (record.pipeline, record.run)
            maker = makers.get(given.output) if given and is_own else None
            if maker and maker != record.step and maker not in needs:
                needs.append(maker)
    return {step: [one for one in needs if one in found] for step, needs in found.items()}


def draw(graph: Graph) -> Drawing:
    """Place the steps of a graph without cycles."""
    grid = _Grid.of(graph)
    heights = [_height(layer, grid) for layer in grid.layers]
    tallest = max(heights, default=0)
    points: dict[str, tuple[int, int]] = {}
    for column, layer in enumerate(grid.layers):
        y = _MARGIN + (tallest - heights[column]) // 2
        for node in layer:
            points[node] = (_MARGIN + column * (WIDTH + _BETWEEN), y)
            y += grid.height(node) + _BELOW
    columns = len(grid.layers)
    return Drawing(
        width=max(columns * WIDTH + (columns - 1) * _BETWEEN, 0) + 2 * _MARGIN,
        height=tallest + 2 * _MARGIN,
        places=tuple(
            Place(step=step, x=points[step][0], y=points[step][1]) for step in ordered(graph)
        ),
        lines=tuple(_line([points[one] for one in path]) for path in grid.paths),
    )


@dataclass(frozen=True)
class _Grid:
    """The steps in layers, with lanes for lines that pass by; `paths` lead from step to step."""

    layers: Sequence[Sequence[str]]
    paths: Sequence[Sequence[str]]
    steps: frozenset[str]

    @classmethod
    def of(cls, graph: Graph) -> _Grid:
        depth = _depths(graph)
        layers: list[list[str]] = [[] for _layer in range(max(depth.values(), default=-1) + 1)]
        for step in ordered(graph):
            layers[depth[step]].append(step)
        paths = []
        for step, needs in graph.items():
            for need in needs:
                passed = range(depth[need] + 1, depth[step])
                lanes = [f"{need}\0{step}\0{layer}" for layer in passed]
                for layer, lane in zip(passed, lanes, strict=True):
                    layers[layer].append(lane)
                paths.append([need, *lanes, step])
        return cls(_untangled(layers, paths), paths, frozenset(graph))

    def height(self, node: str) -> int:
        """How much of a layer a step takes, or a lane."""
        return HEIGHT if node in self.steps else _LANE


def _depths(graph: Graph) -> Mapping[str, int]:
    depth: dict[str, int] = {}
    for step in ordered(graph):
        depth[step] = max((depth[need] + 1 for need in graph[step]), default=0)
    return depth


def _untangled(layers: list[list[str]], paths: Sequence[Sequence[str]]) -> list[list[str]]:
    """Order each layer by where its neighbours are, there and back, so that few lines cross."""
    neighbours: dict[str, list[str]] = {}
    for one, other in (pair for path in paths for pair in pairwise(path)):
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            rank = {node: number / len(row) for row in layers for number, node in enumerate(row)}
            own = {node: _middle(node, neighbours.get(node, ()), rank) for node in layer}
            layer.sort(key=own.__getitem__)
    return layers


def _middle(node: str, neighbours: Sequence[str], rank: Mapping[str, float]) -> float:
    return sum(rank[one] for one in neighbours) / len(neighbours) if neighbours else rank[node]


def _height(layer: Sequence[str], grid: _Grid) -> int:
    return sum(grid.height(node) + _BELOW for node in layer) - _BELOW


def _line(points: Sequence[tuple[int, int]]) -> str:
    """Return a path that leaves a step on its right and enters the last one on its left."""
    return " ".join(_parts(points))


def _parts(points: Sequence[tuple[int, int]]) -> Iterator[str]:
    (x, y), *lanes, (last_x, last_y) = points
    x, y = x + WIDTH, y + HEIGHT // 2
    yield f"M{x} {y}"
    for lane_x, lane_y in lanes:
        yield _bend(x, y, lane_x, lane_y + _LANE // 2)
        x, y = lane_x + WIDTH, lane_y + _LANE // 2
        yield f"H{x}"
    yield _bend(x, y, last_x, last_y + HEIGHT // 2)


def _bend(x: int, y: int, to_x: int, to_y: int) -> str:
    middle = (x + to_x) // 2
    return f"C{middle} {y} {middle} {to_y} {to_x} {to_y}"
