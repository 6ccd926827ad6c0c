"""When pipelines are due that run after outputs of others, and whose author expects them by a time.

Such a run is for the partition of the outputs, and is due once all of them are committed: what
Airflow knows as queued. Without `expect_by` nobody is expected to launch them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from nightmill.review.pages.run_lines import spec_of
from nightmill.review.site import Site
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.summary import Standing
from nightmill.store.index_line import Line

Lines = Mapping[str, tuple[Line, ...]]


def triggered_times(
    site: Site, spec: PipelineSpec, lines: Lines, since: datetime
) -> Mapping[str, datetime]:
    """Tell by partition when the outputs were made that a pipeline waits for, since a time.

    `lines` are those of the other pipelines. Times are in the pipeline's zone. Raises StoreError.
    """
    if not spec.after or spec.expect_by is None:
        return {}
    made = [_made(site, spec, reference, lines) for reference in spec.after]
    zone = ZoneInfo(spec.timezone)
    times = {name: max(one[name] for one in made) for name in set.intersection(*map(set, made))}
    return {name: at.astimezone(zone) for name, at in times.items() if at >= since}


def _made(site: Site, spec: PipelineSpec, reference: str, lines: Lines) -> Mapping[str, datetime]:
    """Tell when an output was first committed, by partition: the last member's time."""
    pipeline, _dot, output = reference.partition(".")
    found = lines.get(pipeline, ())
    upstream = spec_of(site, pipeline, found)
    step = upstream.maker(output) if upstream and upstream.partition == spec.partition else None
    if upstream is None or step is None:
        return {}
    first: dict[str, dict[str, datetime]] = {}
    for line in found:  # the newest come first
        if line.step == step and line.standing is Standing.SUCCEEDED and line.ended_at:
            first.setdefault(line.partition, {})[line.member] = line.ended_at
    members = {*upstream.steps[step].members} or {""}
    return {name: max(times.values()) for name, times in first.items() if members <= times.keys()}
