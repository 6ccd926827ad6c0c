"""Whose output it is: a step, partition and member, and what else has committed for the partition.

pipeline.yaml says which members a step has, and it changes. What members have committed that it
has no more, or the step while it had none, must not stand beside what is current: a reader would
take both for data. Nor may an attempt with an older pipeline.yaml take away what a newer one made.
So the newer run decides: runs are ordered by their creation, as for the pointer itself.

It also says which step makes an output, and a step may be renamed. What the former one committed is
still what inputs mean (`store.meant`), so it is what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nightmill.store.current import pointers_of_partition
from nightmill.store.interface import Store
from nightmill.store.keys import encode, pointer_key, pointers_prefix
from nightmill.store.meant import other_steps
from nightmill.store.pointer import Pointer, read_current, read_pointer

Others = Mapping[str, Pointer]
"""Pointers by their members as keys have them; "" is that of the step while it had none."""


@dataclass(frozen=True)
class Place:
    """A partition and member of a step; `members` are those of pipeline.yaml, () for none."""

    store: Store
    pipeline: str
    step: str
    partition: str
    member: str = ""
    members: tuple[str, ...] = ()

    @property
    def own(self) -> str:
        """The member as keys have it."""
        return _component(self.member)

    @property
    def declared(self) -> frozenset[str]:
        """All members that pipeline.yaml has, as keys have them."""
        return frozenset(map(_component, self.members or ("",)))

    def read(self) -> Pointer | None:
        """Read what is current here."""
        names = (self.pipeline, self.step, self.partition)
        return read_pointer(self.store, *names, member=self.member)

    def meant(self, output: str) -> Pointer | None:
        """Read what is current of an output: another step's where this one has committed without.

        Of several that which was committed last. As of this step's own run, if that is the newer
        one: so it also replaces what an own version has left that was taken back.
        """
        own = self.read()
        if own is not None and output in own.outputs:
            return own
        found = self._former(output)
        if found is None:
            return own
        is_newer = own is not None and found.token < own.token
        return found.model_copy(update={"token": own.token}) if own and is_newer else found

    def _former(self, output: str) -> Pointer | None:
        each = (
            read_pointer(self.store, self.pipeline, step, self.partition, member=self.member)
            for step in other_steps(self.store, self.pipeline, self.step)
        )
        found = (one for one in each if one is not None and output in one.outputs)
        return max(found, key=lambda one: one.committed_at, default=None)

    def others(self) -> Others:
        """Read what is current of members that pipeline.yaml does not have, or of none."""
        prefix = f"{pointers_prefix(self.pipeline, self.step)}/{encode(self.partition)}"
        names = [name.removesuffix(".json") for name in self.store.children(prefix)]
        keys = {name: f"{prefix}/{name}.json" for name in names}
        keys[""] = pointer_key(self.pipeline, self.step, self.partition)
        found = {
            name: read_current(self.store, key).pointer
            for name, key in keys.items()
            if name not in self.declared
        }
        return {name: pointer for name, pointer in found.items() if pointer is not None}

    def is_made_elsewhere(self, output: str) -> bool:
        """Tell whether another step's current version has such an output: it may have moved."""
        found = pointers_of_partition(self.store, self.pipeline, self.partition)
        return any(one.step != self.step and output in one.outputs for one in found)


def is_overruled(pointer: Pointer, others: Others) -> bool:
    """Tell whether a newer run had members where this one's had none, or the other way round."""
    forms = [one for one in others.values() if bool(one.member) != bool(pointer.member)]
    return any(pointer.token.order < one.token.order for one in forms)


def is_outdated(member: str, pointer: Pointer, others: Others) -> bool:
    """Tell whether what a member has published is older than this pointer's run, or of none."""
    other = others.get(member)
    return other is None or other.token.order < pointer.token.order


def _component(member: str) -> str:
    return encode(member) if member else ""
