"""A Delta Lake table of all partitions of an output; deltalake is imported here and nowhere else.

A commit's rows replace those of its partition (and member) in one transaction, which carries the
run's name. The transaction also states a number of its partition's own, made of the fencing token:
Delta's own way to recognize a write that has happened already. Of two that are made at once from
the same state, the table refuses the later, unless they are for different partitions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from nightmill.errors import StoreConflict
from nightmill.publish.columns import Columns
from nightmill.publish.rows import literal, open_rows
from nightmill.publish.target import PublishError, Replace
from nightmill.spec.outputs import OutputSpec
from nightmill.store.interface import Store
from nightmill.store.keys import data_prefix
from nightmill.store.pointer import Pointer, Token

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_ATTEMPTS = 1000  # more of one run share the last number


@dataclass
class Table:
    """The table of an output, opened when it is first needed and then only brought up to date.

    To be used by one thread at a time.
    """

    store: Store
    pipeline: str
    name: str
    spec: OutputSpec
    has_members: bool
    _open: DeltaTable | None = None

    @property
    def address(self) -> str:
        """What a reader opens."""
        return self.store.address(data_prefix(self.pipeline, self.name))

    def transaction(self, name: str) -> int:
        """Return the newest number that was stated under a name, -1 for none."""
        with self._errors():
            if self._open is not None:
                self._open.update_incremental()
            else:
                try:
                    options = dict(self.store.library_options())
                    self._open = DeltaTable(self.address, storage_options=options)
                except TableNotFoundError:
                    return -1
            stated = self._open.transaction_version(name)
        return -1 if stated is None else stated

    def overwrite(self, pointer: Pointer, transaction: Transaction) -> None:
        """Put the pointer's rows in place of its partition's, if that has not changed since.

        Raises StoreConflict when it has.
        """
        columns = {"partition": pointer.partition}
        if self.has_members:
            columns["member"] = pointer.member
        properties = CommitProperties(
            custom_metadata=_metadata(pointer),
            app_transactions=[transaction],
            # A first commit that lost would be added behind the one that won: it read no partition.
            max_commit_retries=None if self._open else 0,
        )
        output, known = pointer.outputs[self.name], self._columns()
        rows = open_rows(self.store, output, constants=columns, table=known)
        with rows as opened, self._errors():
            if self._open is None:
                self._create(opened, list(columns), properties)
            else:
                write_deltalake(
                    self._open,
                    opened,
                    mode="overwrite",
                    predicate=" AND ".join(f"{one} = {literal(columns[one])}" for one in columns),
                    schema_mode="merge" if self.spec.evolution == "add" else None,
                    commit_properties=properties,
                )

    def _columns(self) -> Columns:
        fields = json.loads(self._open.schema().to_json())["fields"] if self._open else []
        return {field["name"]: field["type"] for field in fields}

    def _create(
        self, rows: DuckDBPyRelation, columns: list[str], properties: CommitProperties
    ) -> None:
        """Make the table by its first commit, if there is still none."""
        options = dict(self.store.library_options())
        try:
            write_deltalake(
                self.address,
                rows,
                mode="error",
                partition_by=columns,
                storage_options=options,
                commit_properties=properties,
            )
        except Exception as error:
            if DeltaTable.is_deltatable(self.address, storage_options=options):
                raise CommitFailedError("somebody else has made the table meanwhile") from error
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Put what deltalake says into one line; its errors have no common base."""
        try:
            yield
        except CommitFailedError as error:
            self._open = None
            raise StoreConflict(
                _said(error), address=self.address, operation="publish", advice="try again"
            ) from error
        except Exception as error:
            self._open = None
            raise PublishError(
                f"the Delta table does not take it: {_said(error)}",
                where=self.address,
                advice="see that columns and types are those of the table (`evolution: add` lets "
                "in new columns), and that the table is whole",
            ) from error


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
        raise PublishError(_said(error), where=address, advice=advice) from error
    return [f"{prefix}/{path}" for path in found]


@dataclass(frozen=True)
class TablePartition:
    """What one pointer publishes into a table."""

    table: Table
    partition: str
    member: str = ""

    @property
    def address(self) -> str:
        """The table's own: a partition is chosen by the reader's filter."""
        return self.table.address

    def look(self, pointer: Pointer) -> Replace | None:
        """Ask the table which commit's rows it has of this partition."""
        name, number = f"nightmill/{self.partition}/{self.member}", _number(pointer.token)
        if self.table.transaction(name) >= number:
            return None
        return partial(self.table.overwrite, pointer, Transaction(name, number))


def _number(token: Token) -> int:
    """Make one number of a token, in the same order, that fits into 64 bits."""
    return token.order * _ATTEMPTS + min(token.attempt, _ATTEMPTS - 1)


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


def _said(error: Exception) -> str:
    """Give an error's own words without the stack of the library it comes from."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = lines[: next((n for n, line in enumerate(lines) if line.startswith("0: ")), 2)]
    return " ".join(filter(None, kept)).removeprefix("Generic DeltaTable error: ")[:300]
