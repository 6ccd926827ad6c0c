"""Which attempts may go: the rules of `keep:`, and all that stands against them.

A pure decision but for the pointers, which are read only where a rule would let something go. It
deletes nothing; `collect` acts on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from nightmill.errors import NightmillError
from nightmill.spec.retention import Keep
from nightmill.spec.units import SECONDS
from nightmill.store.interface import Store
from nightmill.store.keys import (
    NOTEBOOK,
    OUTPUTS,
    SPILLED,
    attempt_names,
    attempts_at,
    pointer_key_of,
)
from nightmill.store.pointer import read_current
from nightmill.store.survey import StoredAttempt, Told

YOUNG = timedelta(days=1)
"""What was written to within a day stays, whatever the rules say: somebody may be at work."""


@dataclass(frozen=True)
class Circumstances:
    """What the decision depends on beside the attempts: rules by pipeline, marks, the time.

    A pipeline without rules keeps everything.
    """

    rules: Mapping[str, Keep]
    running: Collection[str]
    now: datetime


@dataclass
class Verdict:
    """Why each attempt may go, by its prefix; and what went wrong, by the key of a pointer.

    `held` are those that rules would let go, and that stay since a record is unreadable.
    """

    doomed: dict[str, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def judge(store: Store, attempts: Mapping[str, StoredAttempt], given: Circumstances) -> Verdict:
    """Decide which attempts nothing and nobody needs any more."""
    verdict = Verdict()
    for (pipeline, key), those in _by_pointer(attempts).items():
        keep = given.rules.get(pipeline)
        outdated = dict(_outdated(those, keep, given)) if keep else {}
        if outdated:
            _spare_current(store, key, outdated, verdict)
        verdict.doomed |= outdated
    noted = _noted(store, attempts, verdict) if verdict.doomed else {}
    if noted is None or any(one.is_unreadable for one in attempts.values()):
        _hold_versions(attempts, verdict)
    _spare_pinned(attempts, verdict, given, noted or {})
    return verdict


def is_current(store: Store, prefix: str) -> bool:
    """Ask the pointer whether an attempt's outputs are current, now."""
    pointer = read_current(store, pointer_key_of(prefix)).pointer
    return pointer is not None and pointer.attempt_prefix == prefix


def in_days(span: timedelta) -> str:
    """Write a span as pipeline.yaml does, in the largest unit of which it is a whole number."""
    seconds = span.total_seconds()
    unit = next((one for one in "dhm" if seconds and not seconds % SECONDS[one]), "s")
    return f"{seconds / SECONDS[unit]:.10g}{unit}"


def old_parts(
    attempts: Mapping[str, StoredAttempt], doomed: Collection[str], given: Circumstances
) -> Iterator[tuple[StoredAttempt, str, timedelta]]:
    """Find the parts of attempts that stay which outlived an age of their own, and say which."""
    for prefix, one in attempts.items():
        keep = given.rules.get(attempt_names(prefix).pipeline)
        has_ended = one.told is not None and one.told.has_ended and prefix not in given.running
        if keep is None or not has_ended or prefix in doomed or given.now - one.touched < YOUNG:
            continue
        for part, size, span in (
            (NOTEBOOK, one.notebook, keep.notebooks),
            (SPILLED, one.spilled, keep.spilled),
        ):
            if size.objects and span is not None and given.now - one.ended_at > span:
                yield one, part, span


def _by_pointer(
    attempts: Mapping[str, StoredAttempt],
) -> Mapping[tuple[str, str], list[StoredAttempt]]:
    """Group the attempts by their pipeline and the pointer they commit to."""
    found: dict[tuple[str, str], list[StoredAttempt]] = defaultdict(list)
    for prefix, one in attempts.items():
        found[attempt_names(prefix).pipeline, pointer_key_of(prefix)].append(one)
    return found


def _outdated(
    those: list[StoredAttempt], keep: Keep, given: Circumstances
) -> Iterator[tuple[str, str]]:
    """Name those of a step and partition that outlived the rules, and which one."""
    committed = sorted(one.told.token for one in those if one.told and one.told.committed)
    enough = set(committed[-keep.versions :])
    for one in those:
        if one.prefix in given.running or given.now - one.touched < YOUNG or one.is_unreadable:
            continue
        age = given.now - one.ended_at
        if one.told is None:
            yield one.prefix, "no record"
        elif one.told.is_held:  # somebody has yet to decide, however long that takes
            continue
        elif not one.told.committed and age > keep.failed:
            yield one.prefix, f"never committed, older than {in_days(keep.failed)}"
        elif one.told.committed and age > keep.runs and one.told.token not in enough:
            reason = f"replaced, older than {in_days(keep.runs)}"
            yield one.prefix, f"{reason}, not of the newest {keep.versions}"


def _spare_current(store: Store, key: str, outdated: dict[str, str], verdict: Verdict) -> None:
    try:
        pointer = read_current(store, key).pointer
    except NightmillError as error:
        verdict.problems[key] = str(error)
        outdated.clear()
        return
    if pointer is not None:
        outdated.pop(pointer.attempt_prefix, None)


def _noted(
    store: Store, attempts: Mapping[str, StoredAttempt], verdict: Verdict
) -> dict[str, tuple[str, ...]] | None:
    """Read in the pointers what those current attempts have read that have no record.

    None where a pointer cannot be read: then nobody knows.
    """
    found: dict[str, tuple[str, ...]] = {}
    for prefix, one in attempts.items():
        if one.told is not None or prefix in verdict.doomed:
            continue
        key = pointer_key_of(prefix)
        try:
            pointer = read_current(store, key).pointer
        except NightmillError as error:
            verdict.problems[key] = str(error)
            return None
        if pointer is not None and pointer.attempt_prefix == prefix:
            found[prefix] = tuple(chain.from_iterable(map(_noted_in, pointer.inputs.values())))
    return found


def _noted_in(note: str) -> Iterator[str]:
    """Name the attempts that a line of a pointer may mean (see `inputs.version_notes`)."""
    return attempts_at(note.replace("#", f"/{OUTPUTS}/"))


def _hold_versions(attempts: Mapping[str, StoredAttempt], verdict: Verdict) -> None:
    """Keep every version: nobody knows which of them an unreadable record has read."""
    for prefix in list(verdict.doomed):
        told = attempts[prefix].told
        if told and told.committed:
            verdict.held.append(prefix)
            del verdict.doomed[prefix]


def _spare_pinned(
    attempts: Mapping[str, StoredAttempt],
    verdict: Verdict,
    given: Circumstances,
    noted: Mapping[str, tuple[str, ...]],
) -> None:
    """Keep what those read that stay, and what these have read in their turn.

    What a record does not tell any more is `noted` in the pointer.
    """
    staying = [one for one in attempts.values() if one.prefix not in verdict.doomed]
    while staying:
        one = staying.pop()
        pins = noted.get(one.prefix, ())
        if one.told and _pins(one, one.told, given):
            pins = one.told.pins
        staying += [attempts[pin] for pin in pins if verdict.doomed.pop(pin, None)]


def _pins(one: StoredAttempt, told: Told, given: Circumstances) -> bool:
    keep = given.rules.get(attempt_names(one.prefix).pipeline)
    replays = keep.replays if keep else None
    return not told.has_ended or replays is None or given.now - one.ended_at <= replays
