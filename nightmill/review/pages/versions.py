"""All versions of an output for a partition, and a look into one of them.

The attempts are found in the index; the records of those that stored the output are read, of the
newest ones only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import AwareDatetime

from nightmill.causes import Cause
from nightmill.errors import UsageError
from nightmill.review.commands import Command, terminal
from nightmill.review.links import RUNS
from nightmill.review.pages.asked import Filtered, one_of
from nightmill.review.pages.attempt_facts import CheckFact, checks_of
from nightmill.review.pages.fact import LISTED, Fact
from nightmill.review.pages.output import MoveRow, move_row
from nightmill.review.pages.run_lines import spec_of
from nightmill.review.pages.unindexed import advice_on
from nightmill.review.preview import Preview, preview
from nightmill.review.reading import changes, only_file, published_at, reads, stored_at
from nightmill.review.specs import zone_of
from nightmill.review.views import View
from nightmill.review.visit import Visit
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import shown, suggest
from nightmill.spec.record import Decision, Record
from nightmill.spec.summary import Standing, Summary
from nightmill.store.history import record_of
from nightmill.store.index_line import Line
from nightmill.store.interface import Store
from nightmill.store.keys import (
    RECORD,
    pointer_key_of,
)
from nightmill.store.parallel import in_parallel
from nightmill.store.pointer import read_current
from nightmill.store.versions import Version, Versions

_VERSIONS = 50
_LOOKED_AT = 300  # attempts of a partition, for those that stored the output
_FILES = 100

State = Literal["current", "was_current", "held", "rejected", "running", "never_current"]


class StoredFile(Fact):
    """A file of a version; size in bytes."""

    path: str
    size: int
    sha256: str


class VersionRow(Fact):
    """A version: `name` is run and attempt, `digest` the beginning of a hash of its bytes."""

    name: str
    run: str
    attempt: int
    state: State
    standing: Standing
    cause: Cause | None
    decision: Decision | None
    rows: int | None
    size: int
    digest: str
    ended_at: AwareDatetime | None
    address: str
    look: str
    is_chosen: bool


class Chosen(Fact):
    """The version that is looked into.

    `stored_at` never changes. `published_at` holds what is current, or will where nothing is yet
    (`has_current`); empty where it is not put at a plain address.
    """

    name: str
    kind: Literal["file", "directory"]
    size: int
    sha256: str
    files: tuple[StoredFile, ...]
    files_left_out: int
    stored_at: str
    published_at: str
    has_current: bool
    published_as: Literal["files", "delta"]
    checks: tuple[CheckFact, ...]
    checks_left_out: int
    preview: Preview
    reads: tuple[Command, ...]
    changes: tuple[Command, ...]


class VersionsPage(Filtered):
    """The versions of an output for a partition and member, the newest first.

    `command` lists all of them in a terminal, those too that are left out here.
    """

    pipeline: str
    output: str
    partition: str
    step: str
    member: str
    members: tuple[str, ...]
    output_address: str
    zone: str
    versions: tuple[VersionRow, ...]
    left_out: int
    command: str
    moves: tuple[MoveRow, ...]
    chosen: Chosen


def build(visit: Visit) -> VersionsPage:
    """Show the versions; raises UsageError where there is none, and StoreError."""
    pipeline, output = visit.name("pipeline"), visit.name("output")
    every = visit.site.index.attempts(pipeline)
    there = [line for line in every if line.key and line.prefix.startswith(f"{visit.prefix}/")]
    newest = _newest(visit, there, output)
    step = newest.step
    members = sorted({line.member for line in there if line.step == step})
    unclear: list[str] = []
    member = one_of(visit, "member", members, unclear) or newest.member
    own = [line for line in there if (line.step, line.member) == (step, member)]
    found = _versions(visit.site.store, output, own)
    wanted = visit.query("version")
    chosen = found.choose(wanted) if wanted else _first(found)
    pointer = found.current.pointer
    spec = spec_of(visit.site, pipeline, every)
    return VersionsPage(
        not_understood=tuple(unclear),
        pipeline=pipeline,
        output=output,
        partition=newest.partition,
        step=step,
        member=member,
        members=tuple(members),
        output_address=visit.links.page("outputs", pipeline, output),
        zone=zone_of(spec),
        versions=tuple(_row(visit, one, chosen=chosen) for one in found.found),
        left_out=max(len(own) - max(len(found.found), _VERSIONS), 0),
        command=_command(visit, newest.partition, member),
        moves=tuple(map(move_row, pointer.moves)) if pointer else (),
        chosen=_chosen(visit, spec, found, chosen),
    )


def _command(visit: Visit, partition: str, member: str) -> str:
    """Return the command that lists all versions of what is shown."""
    output = f"{visit.name('pipeline')}.{visit.name('output')}"
    options = {"partition": partition, "member": member, "store": visit.site.store.url}
    return terminal("versions", output, **options)


def _newest(visit: Visit, lines: Sequence[Line], output: str) -> Line:
    """Choose the newest of a partition's attempts that stored an output; raises UsageError.

    An output may have moved to another step since: so it is this attempt's step that counts.
    """
    looked_at = lines[:_LOOKED_AT]
    summaries = visit.site.index.summaries(looked_at)
    having = [line for line in looked_at if output in _outputs(summaries, line)]
    if having:
        return min(having, key=lambda line: (-line.order, -line.attempt, line.member))
    known = sorted({name for line in looked_at for name in _outputs(summaries, line)})
    raise UsageError(
        f"no attempt of {shown(visit.name('pipeline'))} has stored the output {shown(output)} "
        f"for {shown(visit.name('partition'))}",
        advice=advice_on(visit, visit.name("pipeline"))
        or (suggest(output, known, noun="outputs there") if known else ""),
    )


def _outputs(summaries: Mapping[str, Summary], line: Line) -> Mapping[str, object]:
    found = summaries.get(line.prefix)
    return found.outputs if found else {}


def _versions(store: Store, output: str, lines: Sequence[Line]) -> Versions:
    """Read the records of the newest attempts, and of the one that is current.

    Raises UsageError where none of them can be read.
    """
    current = read_current(store, pointer_key_of(lines[0].prefix))
    now = current.pointer.attempt_prefix if current.pointer else ""
    newest = sorted(lines, key=lambda line: (line.order, line.attempt), reverse=True)
    wanted = [*newest[:_VERSIONS], *(line for line in newest[_VERSIONS:] if line.prefix == now)]
    records = in_parallel(lambda line: _record(store, line), wanted)
    found = tuple(
        Version(record, output, line.prefix == now)
        for line, record in zip(wanted, records, strict=True)
        if record and output in record.outputs
    )
    if not found:
        raise UsageError(
            f"no record of an attempt that has stored {shown(output)} can be read here",
            where=store.address(lines[0].prefix),
            advice="`nightmill reindex --all` makes the index anew from what is there",
        )
    return Versions(found, current)


def _record(store: Store, line: Line) -> Record | None:
    blob = store.read(f"{line.prefix}/{RECORD}")
    try:
        return record_of(blob.data, line.prefix) if blob else None
    except ValueError:  # damaged, or of a later Nightmill
        return None


def _first(found: Versions) -> Version:
    """Return what is current, else the newest."""
    return next((one for one in found.found if one.is_current), found.found[0])


def _row(visit: Visit, version: Version, *, chosen: Version) -> VersionRow:
    record, links = version.record, visit.links
    names = ("outputs", record.pipeline, version.output, record.partition)
    return VersionRow(
        name=version.name,
        run=record.run,
        attempt=record.attempt,
        state=_state(version),
        standing=Standing.of(record),
        cause=record.failure.cause if record.failure else None,
        decision=record.review.decision if record.review else None,
        rows=version.rows,
        size=version.stored.size,
        digest=version.digest,
        ended_at=record.ended_at,
        address=links.attempt(RUNS, version.prefix),
        look=links.page(*names, member=record.member or None, version=version.name),
        is_chosen=version is chosen,
    )


def _state(version: Version) -> State:
    if version.is_current:
        return "current"
    if version.was_committed:
        return "was_current"
    standing = Standing.of(version.record)
    return _STATES.get(standing, "never_current")


_STATES: Mapping[Standing, State] = {
    Standing.HELD: "held",
    Standing.REJECTED: "rejected",
    Standing.RUNNING: "running",
}


def _chosen(visit: Visit, spec: PipelineSpec | None, found: Versions, version: Version) -> Chosen:
    store, record, stored = visit.site.store, version.record, version.stored
    file, at = only_file(version), stored_at(store, version)
    checks = [one for one in record.checks if one.output == version.output]
    step = spec.steps.get(record.step) if spec else None
    meant = step.outputs.get(version.output) if step else None
    current = next((one for one in found.found if one.is_current), version)
    pointer = found.current.pointer
    return Chosen(
        name=version.name,
        kind=stored.kind,
        size=stored.size,
        sha256=file.sha256 if file else "",
        files=tuple(
            StoredFile(**file.model_dump(exclude={"etag"})) for file in stored.files[:_FILES]
        ),
        files_left_out=max(len(stored.files) - _FILES, 0),
        stored_at=at,
        published_at=published_at(store, current, meant) if meant and meant.is_published else "",
        has_current=pointer is not None and version.output in pointer.outputs,
        published_as=meant.format if meant else "files",
        checks=checks_of(checks),
        checks_left_out=max(len(checks) - LISTED, 0),
        preview=preview(store, version, zone=zone_of(spec)),
        reads=tuple(reads(version, at)),
        changes=tuple(changes(found, version, store.url)),
    )


VERSIONS = View("/outputs/{pipeline:part}/{output:part}/{partition:part}", "versions.html", build)
