"""What two records tell, held against each other: everything but the cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nightmill.review.compare.model import Change, Fact, Facts, change_of
from nightmill.review.words import amount, number
from nightmill.spec import words
from nightmill.spec.record import (
    CheckResult,
    CheckState,
    Code,
    InputRecord,
    KernelRecord,
    OutputRecord,
    Record,
)

_SHOWN = 200
_SHORT = 12
_LEAST, _MOST = 0.00005, 10  # changes that are easy to read as percent
_VISIBLE = 0.0005
_TINY, _HUGE = 1e-150, 1e150

Files = Mapping[str, str]
"""The hashes of files by their paths."""


def gather(facts: Iterable[Fact], *, whole: bool = False) -> Facts:
    """Keep the facts that differ, or all of them, and count those that do not."""
    every = list(facts)
    differing = tuple(fact for fact in every if fact.change is not Change.SAME)
    return Facts(shown=tuple(every) if whole else differing, same=len(every) - len(differing))


def metrics(before: Record, after: Record) -> Iterator[Fact]:
    """Compare the metrics: of numbers the difference, and how large that is beside the earlier."""
    yield from _values(before.metrics, after.metrics)


def parameters(before: Record, after: Record) -> Iterator[Fact]:
    """Compare the parameters, without the addresses of inputs and outputs: each run has others."""
    names = {*before.inputs, *after.inputs, *before.outputs, *after.outputs}
    sides = [
        {
            name: value
            for name, value in one.parameters.items()
            if name not in names and f"/outputs/{name}" not in str(value)
        }
        for one in (before, after)
    ]
    yield from _values(sides[0], sides[1])


def outcome(before: Record, after: Record) -> Iterator[Fact]:
    """Compare how the attempts ended and where they ran."""
    yield _told("state", before.state.value, after.state.value)
    yield _told("cause", _cause(before), _cause(after))
    yield _told("message", _message(before), _message(after))
    yield _told("committed", _committed(before), _committed(after))
    yield _told("node pool", before.pool, after.pool)
    yield _told("warnings", _lines(before.warnings), _lines(after.warnings))


def code(
    before: Code | None, after: Code | None, *, bundles: tuple[Files, Files] = ({}, {})
) -> Iterator[Fact]:
    """Compare the source files by hash, with those that only the bundles know, and the commit."""
    known = [
        {**bundle, **({one.notebook: one.notebook_sha256} | one.modules if one else {})}
        for one, bundle in zip((before, after), bundles, strict=True)
    ]
    yield _told("git commit", _commit(before), _commit(after))
    if before and after:
        for name in _names(known[0], known[1]):
            hashes = [side.get(name) for side in known]
            short = [one and f"sha256 {one[:_SHORT]}" for one in hashes]
            change = change_of(*hashes)
            yield Fact(name=words.printable(name), change=change, before=short[0], after=short[1])


def environment(before: Record, after: Record) -> Iterator[Fact]:
    """Compare image, kernel, Python and every library."""
    images = [one.code.image if one.code else None for one in (before, after)]
    yield _told("image", images[0], images[1])
    yield _told("Nightmill", before.nightmill, after.nightmill)
    then, now = before.kernel, after.kernel
    if then and now:
        yield _told("kernel", then.name, now.name)
        yield _told("Python", then.python, now.python)
        yield _told("kernel's lock", then.lock_sha256[:_SHORT], now.lock_sha256[:_SHORT])
        yield _told("threads", _threads(then), _threads(now))
        for name in sorted({*then.libraries, *now.libraries}):
            yield _told(name, then.libraries.get(name), now.libraries.get(name))


def inputs(before: Record, after: Record) -> Iterator[Fact]:
    """Compare the versions that the inputs were resolved to."""
    for name in _names(before.inputs, after.inputs):
        then, now = before.inputs.get(name), after.inputs.get(name)
        told = _told(name, _version(then), _version(now))
        is_same_data = then and now and _hashes(then) == _hashes(now)
        if told.change is Change.CHANGED and is_same_data:
            told = told.model_copy(update={"note": "equal bytes"})
        yield told


def outputs(before: Record, after: Record) -> Iterator[Fact]:
    """Compare the outputs: their bytes by hash, their sizes, and their rows where those are known.

    What both made with equal bytes is the same.
    """
    for name in _names(before.outputs, after.outputs):
        then, now = before.outputs.get(name), after.outputs.get(name)
        hashes = [one and _hashes(one) for one in (then, now)]
        yield Fact(
            name=words.printable(name),
            change=change_of(*hashes),
            before=then and _size(then, before.rows_of(name)),
            after=now and _size(now, after.rows_of(name)),
            note=_other_bytes(then, now),
        )


def checks(before: Record, after: Record) -> Iterator[Fact]:
    """Compare how each check ended; what it observed may differ every night and is only told."""
    sides = [{_check(one): one for one in record.checks} for record in (before, after)]
    for name in _names(sides[0], sides[1]):
        then, now = (side.get(name) for side in sides)
        change = change_of(then and then.state, now and now.state)
        yield Fact(name=name, change=change, before=_finding(then), after=_finding(now))


# -- values ---------------------------------------------------------------------------------------


def _values(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Fact]:
    for name in _names(before, after):
        if name in before and name in after and not _equal(before[name], after[name]):
            yield _changed(name, before[name], after[name])
        else:
            then, now = (_value(side[name]) if name in side else None for side in (before, after))
            yield Fact(
                name=words.printable(name), change=change_of(then, now), before=then, after=now
            )


def _equal(before: Any, after: Any) -> bool:
    """Compare as JSON, in which NaN equals itself and True is no 1."""
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _changed(name: str, before: Any, after: Any) -> Fact:
    then, now = _value(before), _value(after)
    if then == now:  # they differ in digits, or in text, that a short form does not show
        then, now = _exactly(before), _exactly(after)
    fact = Fact(name=words.printable(name), change=Change.CHANGED, before=then, after=now)
    if not (_is_number(before) and _is_number(after)):
        return fact
    difference = after - before
    relative = difference / abs(before) if before else None
    note = f"{'+' if difference > 0 else ''}{number(difference)}"
    if relative is not None and _LEAST <= abs(relative) < _MOST:
        note += f" ({relative:+.2%})"
    known = {"difference": float(difference), "relative": relative, "note": note}
    return fact.model_copy(update=known)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return words.printable(words.shortened(value, _SHOWN))
    if _is_number(value):
        return number(value)
    return words.printable(words.shortened(json.dumps(value, ensure_ascii=False), _SHOWN))


def _exactly(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= _SHOWN:
        return words.printable(text)
    return words.printable(f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]}")


def _is_number(value: object) -> bool:
    """Tell a number to reckon with: no truth, no NaN, and nothing that a float cannot hold."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (value == 0 or _TINY < abs(value) < _HUGE)
    )


# -- how things are told --------------------------------------------------------------------------


def _names(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*after, *before]))


def _told(name: str, before: str | None, after: str | None) -> Fact:
    then, now = (
        None if one is None else words.printable(words.shortened(one, _SHOWN))
        for one in (before, after)
    )
    return Fact(name=words.printable(name), change=change_of(before, after), before=then, after=now)


def _cause(record: Record) -> str | None:
    failure = record.failure
    if failure is None:
        return None
    return failure.cause + ("" if failure.cell is None else f" in cell {failure.cell}")


def _message(record: Record) -> str | None:
    return record.failure.message if record.failure else None


def _commit(code: Code | None) -> str | None:
    if code is None or code.git_commit is None:
        return None
    dirty = " and changes that were not committed" if code.git_dirty else ""
    return code.git_commit[:_SHORT] + dirty


def _committed(record: Record) -> str:
    return "yes" if record.committed else "no"


def _lines(warnings: tuple[str, ...]) -> str | None:
    return "; ".join(warnings) or None


def _threads(kernel: KernelRecord) -> str:
    return f"{kernel.threads} ({kernel.threads_from})"


def _version(found: InputRecord | None) -> str | None:
    if found is None:
        return None
    return f"{found.partition}, run {found.run}, attempt {found.attempt}"


def _hashes(found: InputRecord | OutputRecord) -> dict[str, str]:
    return {file.path: file.sha256 for file in found.files}


def _size(output: OutputRecord, rows: int | None) -> str:
    files = f", {len(output.files):,} files" if output.kind == "directory" else ""
    told = "" if rows is None else f"{rows:,} rows, "
    return f"{told}{amount(output.size)}{files}"


def _other_bytes(before: OutputRecord | None, after: OutputRecord | None) -> str:
    if before is None or after is None or _hashes(before) == _hashes(after):
        return ""
    growth = after.size / before.size - 1 if before.size else 0
    return f"other bytes, {growth:+.1%}" if abs(growth) >= _VISIBLE else "other bytes"


def _check(check: CheckResult) -> str:
    place = f"{check.output}.{check.column}" if check.column else check.output
    return words.printable(f"{place}: {check.check}")


def _finding(check: CheckResult | None) -> str | None:
    if check is None:
        return None
    is_good = check.state is CheckState.PASSED
    seen = words.one_line((check.observed or "") if is_good else check.message)
    return words.shortened(f"{check.state}: {seen}" if seen else check.state.value, _SHOWN)
