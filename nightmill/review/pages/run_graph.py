"""The steps of a run as pipeline.yaml had them when it ran, also those that did not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightmill.review.links import RUNS
from nightmill.review.pages.run_steps import StepCard, StepRecords, card_of
from nightmill.review.pages.run_words import NOT_RUN, why_not
from nightmill.review.pages.step_graph import edges_of, edges_seen
from nightmill.review.visit import Visit
from nightmill.spec.graph import Graph, find_cycle, ordered
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.record import Record


@dataclass(frozen=True)
class RunGraph:
    """What each step needs; without a pipeline.yaml it is what the steps have read."""

    needs: Graph
    spec: PipelineSpec | None

    @classmethod
    def of(cls, spec: PipelineSpec | None, records: Sequence[Record]) -> RunGraph:
        """Find the graph of a run."""
        ran: Graph = {record.step: () for record in records}
        needs = {**ran, **(edges_of(spec) if spec else edges_seen(records))}
        return cls(ran if find_cycle(needs) else needs, spec)

    def members(self, step: str) -> int:
        """Count the members that a step has by pipeline.yaml."""
        known = self.spec.steps.get(step) if self.spec else None
        return len(known.members) if known else 0

    def cards(self, visit: Visit, steps: Mapping[str, StepRecords]) -> tuple[StepCard, ...]:
        """Tell every step in short, each after those that it needs."""
        reused = self._reused(visit, steps)
        found: dict[str, StepCard] = {}
        blocked: set[str] = set()
        for step in ordered(self.needs):
            needs = self.needs[step]
            if step in steps:
                found[step] = card_of(visit, steps[step], needs, self.members(step))
                continue
            run, page = reused.get(step, ("", ""))
            # Of one that was left as it was, or not asked for, nothing follows.
            states = {one: found[one].state for one in needs if one in steps or one in blocked}
            because = "" if run else why_not(needs, states)
            blocked |= {step} if because else set()
            note = f"as run {run} left it" if run else because
            found[step] = StepCard(
                step=step, state=NOT_RUN, note=note, address=page, needs=tuple(needs)
            )
        return tuple(found.values())

    def _reused(
        self, visit: Visit, steps: Mapping[str, StepRecords]
    ) -> Mapping[str, tuple[str, str]]:
        """Name the runs whose outputs of steps that did not run were read instead."""
        found: dict[str, tuple[str, str]] = {}
        for one in steps.values():
            own = (one.gravest.pipeline, one.gravest.partition)
            for given in one.gravest.inputs.values():
                if given is None or (given.pipeline, given.partition) != own:
                    continue
                maker = self.spec.maker(given.output) if self.spec else None
                if maker and maker not in steps:
                    found[maker] = (given.run, visit.links.page(RUNS, *own, given.run))
        return found
