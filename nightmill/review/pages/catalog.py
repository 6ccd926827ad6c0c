"""What the steps of all pipelines make and read: by pipeline.yaml, and by what they did last.

A pipeline.yaml says what is meant, and the newest attempt of a step which version it really read.
Only pipelines that whoever asks may see are looked at, so nothing tells of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from pydantic import AwareDatetime

from nightmill.errors import UsageError
from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.nights import COUNTING, by_step
from nightmill.review.pages.run_lines import lines_of, spec_of
from nightmill.review.pages.unindexed import damaged_of
from nightmill.review.specs import zone_of
from nightmill.review.visit import Visit
from nightmill.spec.graph import resolve_input
from nightmill.spec.names import label
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import Faults, shown, suggest
from nightmill.spec.summary import Summary
from nightmill.store.index_line import Line
from nightmill.store.parallel import in_parallel

_MOST_PIPELINES = 500

Key = tuple[str, str]  # pipeline, and step or output


class Reader(Fact):
    """A step that reads an output, and the version that it read last, if it has.

    `run` and `attempt` are those that made the version. `address` is the attempt that read it.
    """

    pipeline: str
    step: str
    is_meant: bool
    partition: str = ""
    run: str = ""
    attempt: int | None = None
    read_for: str = ""
    read_at: AwareDatetime | None = None
    zone: str = "UTC"
    address: str | None = None

    @property
    def name(self) -> str:
        """Pipeline and step, for people."""
        return f"{self.pipeline}.{self.step}"


@dataclass(frozen=True)
class Catalog:
    """The pipeline.yaml of each pipeline, the lines of each step, and its newest attempt.

    `left_out` counts pipelines that were not looked at, as there are more than 500. Of those in
    `damaged` the index should tell, as a step's newest attempts, and does not.
    """

    visit: Visit
    steps: Mapping[Key, list[Line]]
    specs: Mapping[str, PipelineSpec | None]
    newest: Mapping[Key, tuple[Line, Summary]]
    left_out: int
    damaged: tuple[Line, ...]

    @classmethod
    def of(cls, visit: Visit) -> Catalog:
        """Look at all pipelines that may be seen; raises StoreError."""
        asked = visit.name("pipeline")
        planned = {name for name in visit.site.specs.now() if visit.may_read(name)}
        known = sorted({*visit.pipelines(), *planned}, key=lambda one: (one != asked, one))
        names = known[:_MOST_PIPELINES]
        site, lines = visit.site, lines_of(visit.site, names)
        specs = in_parallel(lambda name: spec_of(site, name, lines[name]), names)
        steps = {(n, step): found for n in names for step, found in by_step(lines[n]).items()}
        chosen = {key: _newest(found) for key, found in steps.items()}
        summaries = site.index.summaries([line for line in chosen.values() if line])
        newest = {
            key: (line, summaries[line.prefix])
            for key, line in chosen.items()
            if line and line.prefix in summaries
        }
        return cls(
            visit,
            steps,
            dict(zip(names, specs, strict=True)),
            newest,
            left_out=len(known) - len(names),
            damaged=damaged_of(visit, filter(None, chosen.values()), summaries),
        )

    def zone(self, pipeline: str) -> str:
        """Name the time zone of a pipeline."""
        return zone_of(self.specs.get(pipeline))

    @cached_property
    def makers(self) -> Mapping[Key, str]:
        """Name the step that makes each output: as it is meant, else as it was made last."""
        made = {
            (pipeline, output): step
            for (pipeline, step), (_line, summary) in self.newest.items()
            for output in summary.outputs
        }
        meant = {
            (name, output): step
            for name, spec in self.specs.items()
            for step, found in (spec.steps.items() if spec else ())
            for output in found.outputs
        }
        return {key: (made | meant)[key] for key in sorted(made | meant)}

    def maker(self, pipeline: str, output: str) -> str:
        """Name the step that makes an output; raises UsageError where nothing is known of it."""
        step = self.makers.get((pipeline, output))
        if step is None:
            known = [name for owner, name in self.makers if owner == pipeline]
            problem = f"no step of {shown(pipeline)} makes an output {shown(output)}"
            raise UsageError(problem, advice=suggest(output, known, noun="its outputs"))
        return step

    @cached_property
    def readers(self) -> Mapping[Key, tuple[Reader, ...]]:
        """Tell who reads each output."""
        found: dict[Key, dict[Key, Reader]] = {}
        for output, reader in [*self._meant(), *self._read()]:
            known = found.setdefault(output, {})
            key = reader.pipeline, reader.step
            is_meant = reader.is_meant or (key in known and known[key].is_meant)
            known[key] = reader.model_copy(update={"is_meant": is_meant})
        return {output: tuple(one[key] for key in sorted(one)) for output, one in found.items()}

    def _meant(self) -> Iterator[tuple[Key, Reader]]:
        for spec in filter(None, self.specs.values()):
            for step, found in spec.steps.items():
                for parameter, given in found.inputs.items():
                    with suppress(Faults):  # `nightmill check` tells the author
                        source = resolve_input(self.specs, spec, parameter, given)
                        reader = Reader(pipeline=spec.pipeline, step=step, is_meant=True)
                        yield (source.pipeline, source.output), reader

    def _read(self) -> Iterator[tuple[Key, Reader]]:
        for (name, step), (line, summary) in self.newest.items():
            for given in summary.inputs.values():
                if given is None:
                    continue
                reader = Reader(
                    pipeline=name,
                    step=step,
                    is_meant=self.specs.get(name) is None,
                    partition=given.partition,
                    run=given.run,
                    attempt=given.attempt,
                    read_for=label(line.partition, line.member),
                    read_at=summary.started_at,
                    zone=self.zone(name),
                    address=self.visit.links.attempt(RUNS, line.prefix),
                )
                yield (given.pipeline, given.output), reader


def _newest(lines: list[Line]) -> Line | None:
    """Choose the newest attempt that did its work, else the newest that ended."""
    ended = [line for line in lines if line.key]
    return next((one for one in ended if one.standing in COUNTING), next(iter(ended), None))
