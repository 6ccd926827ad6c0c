"""What the index does not tell, though it should: pages say so, and not that nothing ran.

Whoever has nothing to say of a pipeline asks here first. Those of which the index tells something
are not asked about: it is kept by whoever ran.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Self

from nightmill.review.commands import terminal
from nightmill.review.pages.fact import Fact
from nightmill.review.visit import Visit
from nightmill.spec.problems import shown
from nightmill.spec.summary import Summary
from nightmill.store.index_line import Line
from nightmill.store.parallel import in_parallel


class Unindexed(Fact):
    """Pipelines that ran without the index knowing of all of it, and how to mend that.

    `damaged` counts entries of the index that tell nothing any more.
    """

    pipelines: tuple[str, ...]
    damaged: int
    command: str

    @classmethod
    def of(cls, visit: Visit, pipelines: Iterable[str], damaged: int = 0) -> Self | None:
        """Tell of pipelines of which a page has nothing to say; None where there is nothing.

        Raises StoreError.
        """
        asked = [one for one in dict.fromkeys(pipelines) if visit.may_read(one)]
        found = zip(asked, in_parallel(visit.site.index.unindexed, asked), strict=True)
        return cls._found(visit, {name for name, partitions in found if partitions}, damaged)

    @classmethod
    def of_all(cls, visit: Visit, pipelines: Iterable[str] = (), damaged: int = 0) -> Self | None:
        """Tell likewise of these and of all pipelines that the index does not know at all."""
        return cls.of(visit, [*visit.unindexed(), *pipelines], damaged)

    @classmethod
    def _found(cls, visit: Visit, names: Collection[str], damaged: int) -> Self | None:
        if not names and not damaged:
            return None
        command = terminal("reindex", *(["--all"] if damaged else []), store=visit.site.store.url)
        return cls(pipelines=tuple(sorted(names)), damaged=damaged, command=command)


def damaged_of(visit: Visit, lines: Iterable[Line], summaries: Mapping[str, Summary]) -> int:
    """Count the attempts that have ended, and of which the index kept nothing that can be read.

    What is gone meanwhile counts not.
    """
    missing = [line for line in lines if line.key and line.prefix not in summaries]
    names = {line.pipeline for line in missing}
    known = {line.key for name in names for line in visit.site.index.attempts(name)}
    return sum(line.key in known for line in missing)


def advice_on(visit: Visit, pipeline: str) -> str:
    """Return what to do where the index knows nothing of what is asked for; empty for nothing."""
    if not visit.site.index.unindexed(pipeline):
        return ""
    return f"what ran of {shown(pipeline)} is not in the index: run `nightmill reindex`"
