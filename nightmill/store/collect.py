"""Deletes what nothing needs any more, in two acts: a mark now, the deletion a day later.

`judge` says what may go. What is deleted goes whole, its record last; a gc that was stopped is
continued by the next one, since the mark is taken away only after all the rest. Attempts may run
and commit meanwhile: see `doomed` for why nothing they need goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property, partial

from nightmill.errors import FencedError, NightmillError
from nightmill.spec.retention import Keep
from nightmill.store.active import marked_prefixes
from nightmill.store.doomed import absolve, doom, doomed
from nightmill.store.interface import Backend, Entry, Remnant
from nightmill.store.keys import NOTEBOOK, RECORD, attempt_names, attempt_of, decode, part_of
from nightmill.store.orphans import orphans
from nightmill.store.retention import (
    YOUNG,
    Circumstances,
    Verdict,
    in_days,
    is_current,
    judge,
    old_parts,
)
from nightmill.store.survey import Size, StoredAttempt, Survey, each, survey
from nightmill.store.unnamed_code import Taken, batches, named_by
from nightmill.store.unowned import measure, unowned_data, withdraw

GRACE = timedelta(days=1)
_NEEDED, _GONE = "needed after all", "gone"


class Fate(StrEnum):
    """What was done with something, or would be."""

    TO_MARK = "to be marked"
    MARKED = "marked"
    WAITING = "marked, waiting"
    TO_DELETE = "to be deleted"
    DELETED = "deleted"
    TO_ABSOLVE = "mark to be taken back"
    ABSOLVED = "mark taken back"
    LEFT = "left alone"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Collected:
    """One thing that a gc found: what it is, its key or prefix, why, and what became of it."""

    what: str
    key: str
    why: str
    fate: Fate
    size: Size = field(default_factory=Size)
    pipeline: str = ""


@dataclass(frozen=True)
class Order:
    """What a gc is to do: rules by pipeline, and whether it acts or only tells.

    A pipeline without rules keeps everything. `grace` lies between mark and deletion.
    """

    rules: Mapping[str, Keep]
    by: str
    acts: bool = False
    grace: timedelta = GRACE
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


def collect(store: Backend, order: Order) -> Iterator[Collected]:
    """Find, and if so ordered delete, what nothing needs; tell of each thing as it is done.

    What cannot be deleted stops nothing else. Raises StoreError where the store cannot be listed.
    """
    running = frozenset(marked_prefixes(store))
    found = survey(store)
    gc = _Collection(store, order, found, running, doomed(store))
    yield from gc.bundles()  # soon after the survey, which knows who needs them
    yield from gc.attempts()
    yield from gc.orphans()
    yield from gc.absolved()
    yield from gc.parts()
    yield from gc.published()
    yield from gc.remnants()
    yield from gc.told()


@dataclass(frozen=True)
class _Collection:
    """One gc after it has looked at everything."""

    store: Backend
    order: Order
    found: Survey
    running: frozenset[str]
    marks: Mapping[str, datetime]
    deleted: set[str] = field(default_factory=set)

    @cached_property
    def verdict(self) -> Verdict:
        """Which attempts may go."""
        given = Circumstances(self.order.rules, self.running, self.order.now)
        return judge(self.store, self.found.attempts, given)

    def attempts(self) -> Iterator[Collected]:
        """Mark attempts, or delete those that were marked before."""
        yield from each(self._attempt, self.verdict.doomed.items())

    def orphans(self) -> Iterator[Collected]:
        """Delete what the index tells, and people noted, of attempts that are gone."""
        left = self.found.attempts.keys() - self.deleted
        told = (one for name in self.order.rules for one in orphans(self.store, name, left))
        old = (one for one in told if self._is_old(one[1].modified))
        yield from each(self._orphan, old)

    def bundles(self) -> Iterator[Collected]:
        """Mark, or delete, the code that no attempt names; none while a record is unreadable."""
        those = self.found.attempts.values()
        named = named_by(those)
        if not any(one.is_unreadable for one in those):
            old = (one for one in self.store.list("code") if self._is_old(one.modified))
            for some in batches(one for one in old if one.key not in named):
                yield from self._unnamed(some)
        for key in named & self.marks.keys():
            yield self._absolve(Collected("code bundle", key, _NEEDED, Fate.LEFT, Size(1)))
        for key in self._marked_below("code/") - named:
            if self.store.stat(key) is None:  # stopped between its deletion and the mark's
                yield self._absolve(Collected("code bundle", key, _GONE, Fate.LEFT))

    def absolved(self) -> Iterator[Collected]:
        """Take back the marks on attempts that are needed after all, or gone."""
        for key in self.marks.keys() - self.verdict.doomed.keys():
            one = self.found.attempts.get(key)
            if one and attempt_names(key).pipeline in self.order.rules:
                yield self._absolve(_of_attempt(one, _NEEDED))
            elif one is None and key.startswith("runs/"):
                yield self._absolve(Collected("attempt", key, _GONE, Fate.LEFT))

    def parts(self) -> Iterator[Collected]:
        """Delete executed notebooks and spilled outputs that have an age of their own."""
        given = Circumstances(self.order.rules, self.running, self.order.now)
        old = old_parts(self.found.attempts, self.verdict.doomed, given)
        yield from each(self._part, old)

    def published(self) -> Iterator[Collected]:
        """Mark, or delete, published partitions that no pointer stands for; spare the others."""
        unowned = set(unowned_data(self.store, self.order.rules))
        for key in sorted(unowned | self._marked_below("data/")):
            if decode(key.split("/")[1]) not in self.order.rules:
                continue
            size, newest = measure(self.store, key)
            thing = Collected("published data", key, "no pointer", Fate.LEFT, size)
            if newest and key in unowned:
                if self._is_old(newest):
                    yield self._mark_or_delete(thing, partial(withdraw, self.store))
            elif key in self.marks:
                yield self._absolve(replace(thing, why=_NEEDED if newest else _GONE))

    def remnants(self) -> Iterator[Collected]:
        """Delete what unfinished writes left, uploads and files, once nobody can be at work."""
        for one in self.store.remnants():
            if self._is_old(one.started):
                yield self._remnant(one)

    def told(self) -> Iterator[Collected]:
        """Tell what somebody else must see to."""
        for key, problem in self.verdict.problems.items():
            yield Collected("pointer", key, problem, Fate.PROBLEM)
        for prefix in self.verdict.held:
            why = "an unreadable record may name it as its input"
            yield replace(_of_attempt(self.found.attempts[prefix], why), fate=Fate.LEFT)
        for one in self.found.attempts.values():
            if one.is_unreadable:
                yield _of_attempt(one, "its record is damaged, or of a later Nightmill")
        for prefix in sorted(self.running):
            if self._is_stale(prefix):
                yield Collected("mark of a run", prefix, "see `nightmill sweep`", Fate.LEFT)
        if self.found.strays:
            size = Size(self.found.strays, 0)
            yield Collected("other files", "runs", "of no attempt", Fate.LEFT, size)

    def _marked_below(self, folder: str) -> set[str]:
        return {key for key in self.marks if key.startswith(folder) and key not in self.deleted}

    def _attempt(self, doomed_one: tuple[str, str]) -> Collected:
        prefix, why = doomed_one
        thing = _of_attempt(self.found.attempts[prefix], why)
        return self._mark_or_delete(thing, self._delete_attempt)

    def _unnamed(self, some: Sequence[Entry]) -> Iterator[Collected]:
        taken = Taken(self.store, self.deleted)
        done = list(each(partial(self._bundle, taken), some))
        needed = taken.needed(self.found)
        for one in done:
            if one.key in needed:
                back = partial(taken.put_back, one.key)
                yield self._act(replace(one, why=_NEEDED), Fate.ABSOLVED, back)
            elif one.fate is Fate.DELETED:
                yield self._act(one, Fate.DELETED, partial(absolve, self.store, one.key))
            else:
                yield one

    def _bundle(self, taken: Taken, entry: Entry) -> Collected:
        size = Size(1, entry.size)
        thing = Collected("code bundle", entry.key, "no attempt names it", Fate.LEFT, size)
        return self._mark_or_delete(thing, taken.take)

    def _mark_or_delete(self, thing: Collected, delete: Callable[[str], None]) -> Collected:
        key = thing.key
        if key not in self.marks:
            mark = partial(doom, self.store, key, thing.why, by=self.order.by)
            return self._act(thing, Fate.MARKED, mark)
        if not self._is_due(key):
            return replace(thing, fate=Fate.WAITING)
        return self._act(thing, Fate.DELETED, partial(delete, key))

    def _absolve(self, thing: Collected) -> Collected:
        return self._act(thing, Fate.ABSOLVED, partial(absolve, self.store, thing.key))

    def _delete_attempt(self, prefix: str) -> None:
        if is_current(self.store, prefix):  # since the survey: its mark came too late
            raise FencedError("has become current since")
        self._delete_files(prefix, lambda part: part != RECORD)
        self.store.delete(f"{prefix}/{RECORD}")
        absolve(self.store, prefix)
        self.deleted.add(prefix)

    def _orphan(self, told: tuple[str, Entry]) -> Collected:
        (what, entry), why = told, "its attempt is gone"
        thing = Collected(what, entry.key, why, Fate.LEFT, Size(1, entry.size))
        return self._act(thing, Fate.DELETED, partial(self.store.delete, entry.key))

    def _delete_files(self, prefix: str, is_meant: Callable[[str], bool]) -> None:
        for entry in self.store.list(prefix):
            # Attempt 1 of a member may lie below an attempt of a step that had no members then.
            if attempt_of(entry.key) == prefix and is_meant(part_of(entry.key)):
                self.store.delete(entry.key)

    def _part(self, meant: tuple[StoredAttempt, str, timedelta]) -> Collected:
        one, part, span = meant
        is_notebook = part == NOTEBOOK
        thing = replace(
            _of_attempt(one, f"older than {in_days(span)}"),
            what="executed notebook" if is_notebook else "spilled outputs",
            size=one.notebook if is_notebook else one.spilled,
        )
        delete = partial(self._delete_files, one.prefix, lambda found: found == part)
        return self._act(thing, Fate.DELETED, delete)

    def _remnant(self, one: Remnant) -> Collected:
        what = "unfinished upload" if one.upload else "unfinished file"
        thing = Collected(what, one.key, "older than 1d", Fate.LEFT, Size(1, one.size))
        return self._act(thing, Fate.DELETED, partial(self.store.discard, one))

    def _is_stale(self, prefix: str) -> bool:
        one = self.found.attempts.get(prefix)
        return one is None or bool(one.told and one.told.has_ended) or self._is_old(one.touched)

    def _is_old(self, moment: datetime) -> bool:
        return self.order.now - moment >= YOUNG

    def _is_due(self, key: str) -> bool:
        since = self.marks.get(key)
        return since is not None and self.order.now - since >= self.order.grace

    def _act(self, thing: Collected, fate: Fate, act: Callable[[], None]) -> Collected:
        if not self.order.acts:
            return replace(thing, fate=_INTENDED[fate])
        try:
            act()
        except FencedError as error:
            return replace(thing, why=str(error), fate=Fate.LEFT)
        except NightmillError as error:
            return replace(thing, why=str(error), fate=Fate.PROBLEM)
        return replace(thing, fate=fate)


_INTENDED = {
    Fate.MARKED: Fate.TO_MARK,
    Fate.DELETED: Fate.TO_DELETE,
    Fate.ABSOLVED: Fate.TO_ABSOLVE,
}


def _of_attempt(one: StoredAttempt, why: str) -> Collected:
    pipeline = attempt_names(one.prefix).pipeline
    return Collected("attempt", one.prefix, why, Fate.LEFT, one.whole, pipeline)
