"""The pods that a step may get: one on its own pool, then one on each pool that `next` leads to.

A step that ran out of memory moves on by one with each retry and gets twice the memory, as far as
the pool has it: on a bigger node with the same limit it would fail again. A pool that has no more
to give is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nightmill.airflow.pod_watch import Limits
from nightmill.cluster.platform import Platform
from nightmill.cluster.pod import Placement, place, pod_manifest
from nightmill.spec import words
from nightmill.spec.pipeline_file import Pipeline


@dataclass(frozen=True)
class Stage:
    """A pod on one pool, how long it may wait there, and what people are told of it."""

    manifest: Mapping[str, Any]
    limits: Limits
    memory: str

    @property
    def words(self) -> str:
        """The pool and the memory: `on highmem with 16 GiB`."""
        return f"on {self.limits.pool} with {self.memory}"


def make_stages(platform: Platform, pipeline: Pipeline, step: str) -> tuple[Stage, ...]:
    """Make the pods of a step, its own pool's first; raises SpecError as `place` does."""
    return tuple(
        Stage(
            manifest=pod_manifest(platform, pipeline, step, placement=placement),
            limits=Limits(
                pool=placement.pool_name,
                schedule_s=placement.pool.schedule_timeout.total_seconds(),
                startup_s=placement.pool.startup_timeout.total_seconds(),
            ),
            memory=words.chosen(placement.memory_bytes),
        )
        for placement in _placements(platform, place(platform, pipeline, step))
    )


def _placements(platform: Platform, first: Placement) -> Iterator[Placement]:
    yield first
    for name in platform.next_pools(first.pool_name):
        grown = _grown(first, platform, name)
        if grown.memory_bytes > first.memory_bytes:
            yield (first := grown)


def _grown(smaller: Placement, platform: Platform, name: str) -> Placement:
    pool = platform.pools[name]
    most = pool.largest
    wanted = max(2 * smaller.memory_bytes, pool.memory_bytes)
    return replace(
        smaller,
        pool_name=name,
        pool=pool,
        memory_bytes=min(wanted, most.memory_bytes or wanted),
        cpu_millicores=min(smaller.cpu_millicores, most.cpu_millicores or smaller.cpu_millicores),
        gpu=smaller.gpu if most.gpu is None else min(smaller.gpu, most.gpu),
    )
