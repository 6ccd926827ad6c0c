"""What may be published into a Delta table: the table before, and what a run commits for it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from deltalake import DeltaTable

from nightmill.publish.publish import publish_current
from nightmill.spec.pipeline import PipelineSpec
from nightmill.store.interface import Store
from nightmill.store.pointer import commit
from tests.published import FILES, PLACE, TABLE, parquet
from tests.stored_versions import DAY, STEP, make_pointer, prefix_of, store_outputs

BEFORE = "2013-02-28"
OLD, NEW, NEWER = 1, 2, 9  # orders of runs
PART_BYTES = 5 << 20  # deltalake uploads what is larger in parts

Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class Case:
    """A publish of what the run NEW has committed for DAY.

    Where it `is_first`, there is no table; else the table has the rows of OLD for DAY and the day
    before. It `withdraws` where NEW has no such output. If it `has_members`, OLD had one for DAY
    that there is no more. What `is_large` is uploaded in parts. With `upkeep`, the publish also
    writes a checkpoint, and deletes older files of the log.
    """

    name: str
    is_first: bool = False
    withdraws: bool = False
    has_members: bool = False
    upkeep: bool = False
    is_large: bool = False

    @property
    def place(self) -> Mapping[str, str]:
        """What is to be published."""
        return PLACE | {"member": "a"} if self.has_members else PLACE

    def declare(self, members: str = "[a]") -> str:
        """Write the pipeline.yaml."""
        text = FILES.replace("scores: scores.parquet", "scores: {path: s.parquet, format: delta}")
        return text + f"    members: {members}\n" if self.has_members else text

    def plant(self, store: Store, load) -> None:
        """Publish the table as it was before, and commit what is to be published now."""
        if not self.is_first:
            spec = load(self.declare("[a, c]"))
            places = [(BEFORE, "a"), (DAY, "a"), (DAY, "c")]
            for day, member in places if self.has_members else [(BEFORE, ""), (DAY, "")]:
                self._commit(store, OLD, day, member)
                self._publish(store, spec, day, member)
        if self.upkeep:
            _ask_for_upkeep(store)
        self._commit(store, NEW, withdraws=self.withdraws)

    def commit_newer(self, store: Store) -> None:
        """Commit what a run after that has made."""
        self._commit(store, NEWER)

    def old(self) -> Rows:
        """Say what the table has before the publish."""
        before = self._rows(OLD, BEFORE, "a") + self._rows(OLD, DAY, "ac")
        return [] if self.is_first else sorted(before)

    def new(self, order: int = NEW) -> Rows:
        """Say what the table has once a run's rows are published."""
        others = [] if self.is_first else self._rows(OLD, BEFORE, "a")
        own = [] if self.withdraws and order == NEW else self._rows(order, DAY, "a")
        return sorted(others + own)

    def _rows(self, order: int, day: str, members: str) -> Rows:
        columns = self._columns(order)
        rows = list(zip(*columns.values(), [day] * len(columns["id"]), strict=True))
        return [(*row, one) for row in rows for one in members] if self.has_members else rows

    def _columns(self, order: int) -> dict[str, list[object]]:
        size = PART_BYTES // 2 if self.is_large and order == NEW else 9
        content = random.Random(order).randbytes(size)  # noqa: S311 - only cannot be compressed
        return {"id": [1, 2, 3], "run": [order] * 3, "content": [content] * 3}

    def _commit(
        self, store: Store, order: int, day: str = DAY, member: str = "", *, withdraws: bool = False
    ) -> None:
        member = member or self.place.get("member", "")
        data = parquet(self._columns(order), use_dictionary=False)
        files = {"plots": {"a.png": b"a"}} | ({} if withdraws else {"scores": {"s.parquet": data}})
        prefix = prefix_of(order, member=member).replace(DAY, day)
        names = {"partition": day, "member": member, "attempt_prefix": prefix}
        commit(store, make_pointer(order, outputs=store_outputs(store, prefix, files), **names))

    def _publish(self, store: Store, spec: PipelineSpec, day: str, member: str) -> None:
        (found,) = publish_current(store, spec, step=STEP, partition=day, member=member)
        assert found.problem == ""


FIRST = Case("first", is_first=True)
REPLACES = Case("replaces", is_large=True)
WITHDRAWS = Case("withdraws", withdraws=True)
MEMBERS = Case("members", has_members=True)
UPKEEP = Case("upkeep", upkeep=True)
CASES = (FIRST, REPLACES, WITHDRAWS, MEMBERS, UPKEEP)


def _ask_for_upkeep(store: Store) -> None:
    """Have every second version make a checkpoint, after which no older log is needed."""
    table = DeltaTable(store.address(TABLE), storage_options=dict(store.library_options()))
    table.alter.set_table_properties(
        {
            "delta.checkpointInterval": "2",
            "delta.logRetentionDuration": "interval 0 seconds",
            "delta.enableExpiredLogCleanup": "true",
        }
    )
