"""What a replay made, held against what the original made: its end, its outputs, its metrics."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightmill.errors import StoreError
from nightmill.replay.rows import TableDifference
from nightmill.replay.stage import Replay
from nightmill.replay.tables import UnreadableTableError, compare_tables, is_table
from nightmill.spec import words
from nightmill.spec.record import FileRecord, InputRecord, OutputRecord, Record
from nightmill.step.transfer import move_each
from nightmill.store.keys import output_key, output_prefix

_CHUNK = 1 << 20
_SHOWN_FILES = 5
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Compared:
    """One thing that was compared: what, how it came out, and in which details it differs."""

    what: str
    is_equal: bool
    result: str
    details: tuple[str, ...] = ()


def compare(replay: Replay, record: Record) -> list[Compared]:
    """Compare the record of a replay, and the outputs it names, with the original's.

    Raises StoreError where the replay's own outputs cannot be read.
    """
    then = replay.original
    return [
        _outcome(then, record),
        *_inputs(then.inputs, record.inputs),
        *(_output(replay, record, name) for name in _names(then.outputs, record.outputs)),
        *_metrics(then.metrics, record.metrics),
    ]


def _names(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*then, *now]))


def _outcome(then: Record, now: Record) -> Compared:
    ends = [(one.state, *_failure(one)) for one in (then, now)]
    details = []
    if then.kernel and now.kernel and then.kernel.python != now.kernel.python:
        details.append(f"python {then.kernel.python} -> {now.kernel.python}")
    if ends[0] == ends[1]:
        return Compared("outcome", is_equal=True, result=_told(then), details=tuple(details))
    result = f"{_told(then)} -> {_told(now)}"
    details += [one.failure.message for one in (then, now) if one.failure]
    return Compared("outcome", is_equal=False, result=result, details=tuple(details))


def _failure(record: Record) -> tuple[object, ...]:
    """Return what makes two failures the same; messages name folders that are new every time."""
    failure = record.failure
    return (failure.cause, failure.cell, failure.ename) if failure else ()


def _told(record: Record) -> str:
    failure = record.failure
    if failure is None:
        return record.state.value
    place = f" in cell {failure.cell}" if failure.cell is not None else ""
    return f"{failure.cause.value}{place}"


def _inputs(
    then: Mapping[str, InputRecord | None], now: Mapping[str, InputRecord | None]
) -> Iterator[Compared]:
    """Tell of an input that was not the recorded one after all; nothing else compares then."""
    for name in _names(then, now) if now else ():
        versions = [
            one and (one.pipeline, one.output, one.partition, one.run, one.attempt)
            for one in (then.get(name), now.get(name))
        ]
        if versions[0] != versions[1]:
            yield Compared(f"input {name}", is_equal=False, result="another version was read")


# -- outputs --------------------------------------------------------------------------------------


def _output(replay: Replay, record: Record, name: str) -> Compared:
    what = f"output {name}"
    then, now = replay.original.outputs.get(name), record.outputs.get(name)
    if then is None or now is None:
        return Compared(what, is_equal=False, result="not made" if then else "not made then")
    if _hashes(then) == _hashes(now):
        return Compared(what, is_equal=True, result=f"equal bytes ({words.amount(now.size)})")
    before, after = replay.folder / "original" / name, _local(replay, name)
    try:
        _fetch(replay, name, then, before)
    except StoreError as error:
        result = f"other bytes, and the original cannot be read: {error.problem}"
        return Compared(what, is_equal=False, result=result)
    files = _files(then, now, before, after)
    if then.kind == now.kind == "file":
        before, after = before / then.files[0].path, after / now.files[0].path
    found = _tables(before, after, replay, name)
    if found is None or (found.summary == "" and _beside(files)):
        return Compared(what, is_equal=False, result="other bytes", details=_shown(files))
    if found.summary:
        return Compared(what, is_equal=False, result=found.summary, details=found.details)
    order = "equal rows in another order" if found.is_reordered else "equal rows, other bytes"
    return Compared(what, is_equal=True, result=order)


def _hashes(output: OutputRecord) -> dict[str, str]:
    return {file.path: file.sha256 for file in output.files}


def _local(replay: Replay, name: str) -> Path:
    """Return where an output of the replay lies: its store is a directory."""
    folder = replay.store.local_path(output_prefix(replay.prefix, name))
    if folder is None:
        raise TypeError(f"{replay.store.url} is no store in a directory")
    return folder


def _fetch(replay: Replay, name: str, output: OutputRecord, folder: Path) -> None:
    def fetch(file: FileRecord) -> None:
        key = output_key(replay.original_prefix, name, file.path)
        replay.source.get_file(key, folder / file.path, sha256=file.sha256)

    move_each(fetch, output.files, size=lambda file: file.size)


def _tables(before: Path, after: Path, replay: Replay, name: str) -> TableDifference | None:
    """Compare two tables; None where one of them is none."""
    if not (is_table(before) and is_table(after)):
        return None
    checks = replay.spec.checks.get(name)
    keys = [unique.key for unique in checks.unique] if checks else []
    with tempfile.TemporaryDirectory(prefix="compare-", dir=replay.folder) as work:
        try:
            return compare_tables(before, after, Path(work), keys=keys)
        except UnreadableTableError:
            return None


def _files(then: OutputRecord, now: OutputRecord, before: Path, after: Path) -> dict[str, str]:
    """Say of every file that is not the same how it differs, by its path in the output."""
    past, present = _hashes(then), _hashes(now)
    told: dict[str, str] = {}
    for path in _names(past, present):
        if path not in present:
            told[path] = f"{path} is gone"
        elif path not in past:
            told[path] = f"{path} is new"
        elif past[path] != present[path]:
            place = _first_difference(before / path, after / path)
            told[path] = f"{path} differs from byte {place:,} on"
    return told


def _beside(files: Mapping[str, str]) -> bool:
    """Tell whether a file is among them that no reader of the table reads, and somebody may."""
    return any(
        not is_table(Path(path)) and not Path(path).name.startswith(("_", ".")) for path in files
    )


def _shown(files: Mapping[str, str]) -> tuple[str, ...]:
    lines, hidden = list(files.values())[:_SHOWN_FILES], len(files) - _SHOWN_FILES
    return (*lines, *([f"and {hidden} more"] if hidden > 0 else []))


def _first_difference(one: Path, other: Path) -> int:
    """Return how many bytes two files have in common at their beginning."""
    place = 0
    with one.open("rb") as left, other.open("rb") as right:
        while (a := left.read(_CHUNK)) == (b := right.read(_CHUNK)) and a:
            place += len(a)
    shorter = min(len(a), len(b))
    return place + next((at for at in range(shorter) if a[at] != b[at]), shorter)


# -- metrics --------------------------------------------------------------------------------------


def _metrics(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Compared]:
    for name in _names(then, now):
        what = f"metric {name}"
        if name not in then or name not in now:
            result = "not reported" if name in then else "not reported then"
            yield Compared(what, is_equal=False, result=result)
        elif then[name] == now[name]:
            yield Compared(what, is_equal=True, result=f"equal ({_value(now[name])})")
        else:
            by = _apart(then[name], now[name])
            result = f"{_value(then[name])} -> {_value(now[name])}{by}"
            yield Compared(what, is_equal=False, result=result)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return words.shortened(text, _SHOWN_CHARACTERS)


def _apart(then: Any, now: Any) -> str:
    both = (then, now)
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in both):
        return f" ({now - then:+.6g})"
    return ""
