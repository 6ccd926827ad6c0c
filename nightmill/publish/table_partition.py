"""What one pointer publishes into a Delta table: the rows of its partition, and of its member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from nightmill.publish.delta import Table
from nightmill.publish.place import Place, is_outdated, is_overruled
from nightmill.publish.plain import former_files
from nightmill.publish.target import PublishError, Replace, State
from nightmill.spec.problems import shown
from nightmill.store.keys import data_prefix, encode
from nightmill.store.pointer import Pointer, Token

_MAX_FOLDER_BYTES = 255
_ATTEMPTS = 1000  # more of one run share the last number


@dataclass(frozen=True)
class TablePartition:
    """What one pointer publishes into a table."""

    table: Table
    place: Place

    @property
    def address(self) -> str:
        """The table's own: a partition is chosen by the reader's filter."""
        return self.table.address

    def look(self, pointer: Pointer) -> Replace | State:
        """Ask the table which commit's rows it has of this partition, and of which members.

        A newer commit's rows stay, except in a repair: the pointer is read once more before they
        go, so they are of another step's time, or of a store that was restored from a backup.
        """
        place, has_output = self.place, self.table.name in pointer.outputs
        name, number = f"nightmill/{place.partition}/{place.member}", _number(pointer.token)
        stated, members = self.table.transaction(name), self.table.members(place.partition)
        has_rows = stated == number if self.table.is_doubted else stated >= number
        is_done = (
            has_rows and not self.table.is_damaged(pointer)
            if has_output
            else place.member not in members
        )
        strange = members - {place.member, *place.members}
        state = State.CURRENT if has_output else State.NOTHING
        misleads = self.table.is_doubted and self.table.has_statistics
        former = self._former(pointer) if self.table.is_doubted or not is_done else []
        if not (strange or misleads or former) and is_done:
            return state
        others = place.others()
        is_moved = not has_output and place.is_made_elsewhere(self.table.name)
        if is_moved or is_overruled(pointer, others):
            return State.NOTHING
        self.table.require_form()
        if has_output:
            self._require_short_names()
        outdated = {one for one in strange if is_outdated(encode(one), pointer, others)}
        if is_done and not (outdated or misleads or former):
            return state
        stating = number if has_output and self.table.is_doubted else max(number, stated)
        write = partial(self.table.overwrite, pointer, (name, stating), outdated)
        mend = self.table.leave_out_statistics
        return partial(self._replace, mend if is_done and not outdated else write, former)

    def _require_short_names(self) -> None:
        """Raise PublishError for names that no folder can have: deltalake would panic."""
        place, store = self.place, self.place.store
        if store.local_path(data_prefix(place.pipeline, self.table.name)) is None:
            return  # S3 takes longer ones
        for key, name in (("partition", place.partition), ("member", place.member)):
            size = len(f"{key}={quote(name, safe='')}")
            if size > _MAX_FOLDER_BYTES:
                raise PublishError(
                    f"the {key} {shown(name)} makes a folder's name of {size} bytes, and a "
                    f"directory takes {_MAX_FOLDER_BYTES}",
                    where=self.address,
                    advice="choose a shorter name (what is no ASCII letter counts 3 or more), or "
                    "leave out `format: delta`",
                )

    def _former(self, pointer: Pointer) -> list[str]:
        """Name files of the time before there was a table: a reader of the folder sees both."""
        table = self.table
        names = (table.name, table.spec.path, table.keys())
        return list(former_files(table.store, pointer, *names))

    def _replace(self, write: Replace, former: Sequence[str]) -> None:
        write()
        for key in former:
            self.place.store.delete(key)


def _number(token: Token) -> int:
    """Make one number of a token, in the same order, that fits into 64 bits."""
    return token.order * _ATTEMPTS + min(token.attempt, _ATTEMPTS - 1)
