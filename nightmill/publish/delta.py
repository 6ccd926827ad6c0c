"""A Delta Lake table of all partitions of an output; deltalake is imported here and nowhere else.

A commit's rows replace those of its partition (and member) in one transaction, which carries the
run's name. The transaction also states a number of its partition's own, made of the fencing token:
Delta's own way to recognize a write that has happened already. Of two that are made at once from
the same state, the table refuses the later, unless they are for different partitions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from nightmill.errors import NightmillError, StoreConflict
from nightmill.publish.columns import has_no_type
from nightmill.publish.inventory import TableFile, damaged_files, table_files
from nightmill.publish.names import Columns
from nightmill.publish.rows import open_rows
from nightmill.publish.said import said, translated
from nightmill.publish.target import PublishError
from nightmill.spec.outputs import OutputSpec
from nightmill.spec.sql import literal
from nightmill.store.interface import Store
from nightmill.store.keys import data_prefix
from nightmill.store.pointer import Pointer

_NO_STATISTICS = {"delta.dataSkippingNumIndexedCols": "0"}
"""A log writes decimals as floats, and infinity as null: who filters by that loses rows."""


@dataclass
class Table:
    """The table of an output, opened when it is first needed and then only brought up to date.

    One that `is_doubted` is compared with the files that are there, by one listing. To be
    used by one thread at a time.
    """

    store: Store
    pipeline: str
    name: str
    spec: OutputSpec
    has_members: bool
    is_doubted: bool = False
    _open: DeltaTable | None = None
    _listed: tuple[int, tuple[TableFile, ...]] | None = None
    _damaged: frozenset[str] | None = None

    @property
    def address(self) -> str:
        """What a reader opens."""
        return self.store.address(self._prefix)

    @property
    def _prefix(self) -> str:
        return data_prefix(self.pipeline, self.name)

    def transaction(self, name: str) -> int:
        """Return the newest number that was stated under a name, -1 for none."""
        with self._errors():
            if self._open is not None:
                self._open.update_incremental()
            else:
                self._listed = self._damaged = None
                try:
                    options = dict(self.store.library_options())
                    self._open = DeltaTable(self.address, storage_options=options)
                except TableNotFoundError:
                    return -1
            stated = self._open.transaction_version(name)
        return -1 if stated is None else stated

    def members(self, partition: str) -> frozenset[str]:
        """Name the members that have rows of a partition; "" stands for a table without."""
        return frozenset(one.member for one in self._files() if one.partition == partition)

    def keys(self) -> frozenset[str]:
        """Name the files that the table is made of."""
        return frozenset(one.key for one in self._files())

    def is_damaged(self, pointer: Pointer) -> bool:
        """Tell whether the table lacks files that it names, or all rows of the pointer."""
        if not self.is_doubted:
            return False
        place = (pointer.partition, pointer.member)
        files = [one for one in self._files() if (one.partition, one.member) == place]
        if self._damaged is None:
            self._damaged = damaged_files(self.store, self._prefix, self._files())
        if files:
            return any(one.key in self._damaged for one in files)
        with self._rows(pointer) as rows, self._errors():  # an output may have none itself
            return bool(rows.limit(1).fetchall())

    @property
    def has_statistics(self) -> bool:
        """Tell whether readers skip files by what the table's log says of their values."""
        made = self._open.metadata().configuration if self._open else _NO_STATISTICS
        return not _NO_STATISTICS.items() <= made.items()

    def leave_out_statistics(self) -> None:
        """Have readers overlook what the log says of values, and writers say nothing of them.

        Raises StoreConflict where the table has changed since it was looked at.
        """
        if self._open is None or not self.has_statistics:
            return
        with self._errors():
            seen = self._open.version()
            self._open.alter.set_table_properties(_NO_STATISTICS)
            if self._open.version() != seen + 1:
                raise CommitFailedError("the table has changed meanwhile")

    def require_form(self) -> None:
        """Raise PublishError for a table that was made with members, if there are none now."""
        made = self._open.metadata().partition_columns if self._open else self._keys
        if made == self._keys:
            return
        known = {("partition",): "without members", ("partition", "member"): "with members"}
        how, now = known.get(tuple(made)), "has members now" if self.has_members else "has none now"
        problem = f"the table was made for a step {how}, and the step {now}"
        raise PublishError(
            problem if how else f"the table is partitioned by {made}, and not by {self._keys}",
            where=self.address,
            advice="rename the output, or move the table away and run `nightmill repair`",
        )

    def overwrite(
        self, pointer: Pointer, transaction: tuple[str, int], outdated: Collection[str] = ()
    ) -> None:
        """Put the pointer's rows in place of its partition's, if that has not changed since.

        Also in place of the rows of outdated members; none where it has no such output. Raises
        StoreConflict when it has changed.
        """
        properties = CommitProperties(
            custom_metadata=_metadata(pointer),
            app_transactions=[Transaction(*transaction)],
            # A first commit that lost would be added behind the one that won: it read no partition.
            max_commit_retries=None if self._open else 0,
        )
        members = ", ".join(literal(one) for one in (pointer.member, *sorted(outdated)))
        predicate = f"partition = {literal(pointer.partition)}" + (
            f" AND member IN ({members})" if self.has_members else ""
        )
        self.leave_out_statistics()
        with self._rows(pointer) as rows, self._errors():
            if self._open is None:
                self._create(rows, properties)
            else:
                write_deltalake(
                    self._open,
                    rows,
                    mode="overwrite",
                    predicate=predicate,
                    schema_mode="merge" if self._may_change else None,
                    commit_properties=properties,
                )

    @property
    def _keys(self) -> list[str]:
        """What the table is partitioned by."""
        return ["partition", "member"] if self.has_members else ["partition"]

    @contextmanager
    def _rows(self, pointer: Pointer) -> Iterator[Any]:
        """Give the rows that a pointer stands for; none where it has no such output."""
        output = pointer.outputs.get(self.name)
        if output is None and self._open is not None:
            yield self._open.schema().to_arrow().empty_table()
        elif output is not None:
            texts = {"partition": pointer.partition, "member": pointer.member}
            constants = {key: texts[key] for key in self._keys}
            known, may_add = self._columns(), self.spec.evolution == "add"
            with open_rows(
                self.store, output, constants=constants, table=known, may_add=may_add
            ) as opened:
                yield opened

    def _files(self) -> tuple[TableFile, ...]:
        """Name the files that the opened table's state is made of."""
        if self._open is None:
            return ()
        if self._listed is None or self._listed[0] != self._open.version():
            actions = self._open.get_add_actions(flatten=True)
            self._listed = self._open.version(), table_files(actions, self._prefix)
        return self._listed[1]

    def _columns(self) -> Columns:
        fields = json.loads(self._open.schema().to_json())["fields"] if self._open else []
        return {field["name"]: field["type"] for field in fields}

    @property
    def _may_change(self) -> bool:
        """Whether a commit may add to the schema: a type for a column that has had none, always."""
        return self.spec.evolution == "add" or any(map(has_no_type, self._columns().values()))

    def _create(self, rows: Any, properties: CommitProperties) -> None:
        """Make the table by its first commit, if there is still none."""
        options = dict(self.store.library_options())
        try:
            write_deltalake(
                self.address,
                rows,
                mode="error",
                partition_by=self._keys,
                configuration=_NO_STATISTICS,
                storage_options=options,
                commit_properties=properties,
            )
        except Exception as error:
            if self._is_made():
                raise CommitFailedError("somebody else has made the table meanwhile") from error
            raise

    def _is_made(self) -> bool:
        """Tell whether there is a table; not by `is_deltatable`, for which all threads wait."""
        try:
            DeltaTable(self.address, storage_options=dict(self.store.library_options()))
        except (DeltaError, OSError):
            return False
        return True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Put what deltalake says into one line; its errors have no common base."""
        try:
            yield
        except CommitFailedError as error:
            self._open = None
            raise StoreConflict(
                said(error), address=self.address, operation="publish", advice="try again"
            ) from error
        except NightmillError:
            raise
        except Exception as error:
            self._open = None
            raise translated(error, self.address) from error


def unneeded_files(store: Store, prefix: str, older_than: timedelta) -> list[str]:
    """Name the files below a table's prefix that its state needs no more, or never knew.

    Replaced for so long, or written so long ago by a publish that was cut off. Raises PublishError
    for what is no table that can be read.
    """
    address, options = store.address(prefix), dict(store.library_options())
    try:
        found = DeltaTable(address, storage_options=options).vacuum(
            retention_hours=math.ceil(older_than / timedelta(hours=1)),
            enforce_retention_duration=False,  # ours may be shorter than the table's own week
            dry_run=True,
            full=True,
        )
    except Exception as error:
        advice = "look at the table; `nightmill repair` publishes what is committed"
        raise PublishError(said(error), where=address, advice=advice) from error
    return [f"{prefix}/{path}" for path in found]


def _metadata(pointer: Pointer) -> dict[str, str]:
    """Say in the table's history whose rows these are."""
    return {
        "nightmill.pipeline": pointer.pipeline,
        "nightmill.step": pointer.step,
        "nightmill.partition": pointer.partition,
        "nightmill.member": pointer.member,
        "nightmill.run": pointer.run,
        "nightmill.attempt": str(pointer.attempt),
        "nightmill.token": f"{pointer.token.order}:{pointer.token.attempt}",
        "nightmill.commit": pointer.commit_id,
    }
