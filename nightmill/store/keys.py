"""The keys of the store: pure functions from names to keys, and back.

    runs/<pipeline>/<partition>/<run>/<step>[/<member>]/<attempt>/
            record.json  notebook.ipynb  progress.json  outputs/<output>/<file>  spilled/<file>
    active/<the same path>.json       a mark for as long as the attempt runs
    current/<pipeline>/<step>/<partition>[/<member>].json
    data/<pipeline>/<output>/partition=<partition>/[member=<member>/]<file>
                                      the plain address: a copy of what is current, or a Delta table
    code/<sha256>.tar.gz              what attempts ran, each bundle once
    notes/<pipeline>/<partition>/<run>/<note>.json
                                      what people wrote about a run
    index/<pipeline>/<entry>.json     the attempts that ended, the newest first (see `index_line`)
    doomed/<key or prefix>.json       a mark on what the next gc deletes

There is one pointer for each step and partition, and it holds *all* outputs of the step: a
conditional PUT changes one object, so several outputs become current together or not at all.

Names are escaped as in URLs, but with ``~`` in place of ``%``. Some readers decode percent
escapes of an ``s3://`` address (pyarrow asks for ``02:30`` when told ``02%3A30``) and others do
not; ``~`` means nothing to any of them, so one address serves every library.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote

from nightmill.errors import UsageError

RECORD = "record.json"
NOTEBOOK = "notebook.ipynb"
PROGRESS = "progress.json"
DAMAGED = f"{RECORD}.damaged"
"""Where a record that cannot be read is kept when a new one takes its place."""
OUTPUTS = "outputs"
SPILLED = "spilled"
FILES = (RECORD, NOTEBOOK, PROGRESS, DAMAGED)
"""What lies beside these folders in an attempt."""

RESERVED = ".nightmill"
"""Names that begin so are the store's own: probes, locks, unfinished files."""

_MAX_COMPONENT_BYTES = 200
_MAX_KEY_BYTES = 1024  # what S3 allows
_DIGEST_LENGTH = 32
_SHORTENED = "~~"  # cannot occur in an escaped name, where two hex digits follow each ~
_CUT = re.compile(rf"(.+)({_SHORTENED}[0-9a-f]{{{_DIGEST_LENGTH}}})", re.DOTALL)
_CHARACTER_BYTES = 12  # the most that one is escaped to, and so what a shortened name may lack

# A name may be a number, or that of a folder in here: only what comes next tells the attempt's own.
_OF_ATTEMPT = re.compile(
    rf"(runs/(?:[^/]+/){{4,5}}?[0-9]+)/({'|'.join(map(re.escape, FILES))}|"
    rf"(?:{OUTPUTS}|{SPILLED})/.+)"
)


def encode(part: str) -> str:
    """Make one safe component of a key from any text, differently for every text.

    Letters, digits and ``_ = . -`` stay (but not a leading dot). Where the result would exceed 200
    bytes it is cut and closed with a hash of the whole; such a component cannot be decoded in full.
    What `decode` makes of it has the same component again, so nothing is lost that was listed.

    Raises UsageError for text that is empty or not valid Unicode.
    """
    if not part:
        raise UsageError(
            "a name is empty", advice="give every pipeline, partition, run and step a name"
        )
    _require_unicode(part)
    cut = _CUT.fullmatch(part)
    known = _escape(cut[1]) + cut[2] if cut else ""
    if _MAX_COMPONENT_BYTES - _CHARACTER_BYTES < len(known) <= _MAX_COMPONENT_BYTES:
        return known
    escaped = _escape(part)
    if len(escaped) <= _MAX_COMPONENT_BYTES:
        return escaped
    tail = _SHORTENED + hashlib.sha256(part.encode()).hexdigest()[:_DIGEST_LENGTH]
    head = part[:_MAX_COMPONENT_BYTES]
    while len(_escape(head)) + len(tail) > _MAX_COMPONENT_BYTES:
        head = head[:-1]
    return _escape(head) + tail


def decode(component: str) -> str:
    """Give back the text that `encode` was given; of a shortened one what is left, and its hash."""
    head, mark, digest = component.partition(_SHORTENED)
    return unquote(head.replace("%", "%25").replace("~", "%")) + mark + digest


def pipeline_prefix(pipeline: str) -> str:
    """Name the prefix of everything that ran of a pipeline."""
    return f"runs/{encode(pipeline)}"


def partition_prefix(pipeline: str, partition: str) -> str:
    """Name the prefix of a partition's runs."""
    return f"{pipeline_prefix(pipeline)}/{encode(partition)}"


def run_prefix(pipeline: str, partition: str, run: str) -> str:
    """Name the prefix of a run's steps."""
    return f"{partition_prefix(pipeline, partition)}/{encode(run)}"


def run_prefix_of(attempt_prefix: str) -> str:
    """Name the prefix of the run that an attempt belongs to."""
    return "/".join(attempt_prefix.split("/")[:4])


def attempt_prefix(  # noqa: PLR0913 - every one of them is a part of the key
    pipeline: str, partition: str, run: str, step: str, attempt: int, *, member: str = ""
) -> str:
    """Name the prefix that an attempt, and nothing else, writes under."""
    inner = f"{encode(step)}/{encode(member)}" if member else encode(step)
    return f"{run_prefix(pipeline, partition, run)}/{inner}/{attempt}"


class AttemptNames(NamedTuple):
    """What the prefix of an attempt says of it; `member` is empty for a step without."""

    pipeline: str
    partition: str
    run: str
    step: str
    member: str
    attempt: int


def attempt_names(prefix: str) -> AttemptNames:
    """Give back what `attempt_prefix` was given; raises UsageError for what is no such prefix."""
    try:
        root, *named, attempt = prefix.split("/")
        pipeline, partition, run, step, *inner = map(decode, named)
        (member,) = inner or [""]
        number = int(attempt)
    except ValueError:
        root = ""
    if root != "runs":
        raise UsageError("is no prefix of an attempt", where=repr(prefix))
    return AttemptNames(pipeline, partition, run, step, member, number)


def attempt_of(key: str) -> str | None:
    """Name the prefix of the attempt that an object belongs to; None for any other object."""
    match = _OF_ATTEMPT.fullmatch(key)
    return match[1] if match else None


def part_of(key: str) -> str:
    """Name the part of its attempt that an object is: a file, or a folder of files."""
    match = _OF_ATTEMPT.fullmatch(key)
    return match[2].partition("/")[0] if match else ""


def attempts_at(address: str) -> Iterator[str]:
    """Name the attempts that an object with this address may be of, in whatever store it lies.

    Where a store's folder, a pipeline or another name is `runs`, there may be several.
    """
    parts = address.split("/")
    for place, part in enumerate(parts):
        prefix = attempt_of("/".join(parts[place:])) if part == "runs" else None
        if prefix is not None:
            yield prefix


def active_key(attempt_prefix: str) -> str:
    """Name the mark of an attempt that runs."""
    return f"active/{attempt_prefix}.json"


def index_prefix(pipeline: str) -> str:
    """Name the prefix of the entries that tell of a pipeline's attempts."""
    return f"index/{encode(pipeline)}"


def notes_prefix(pipeline: str, partition: str, run: str) -> str:
    """Name the prefix of the notes on a run."""
    return f"notes/{encode(pipeline)}/{encode(partition)}/{encode(run)}"


def spilled_key(attempt_prefix: str, file: str) -> str:
    """Name the whole of an output that is cut in the notebook."""
    return f"{attempt_prefix}/{SPILLED}/{file}"


def code_key(sha256: str) -> str:
    """Name the bundle of source files that has this hash."""
    return f"code/{sha256}.tar.gz"


def doomed_key(key: str) -> str:
    """Name the mark on an object, or on an attempt's prefix, that is going to be deleted."""
    return f"doomed/{key}.json"


def output_prefix(attempt_prefix: str, output: str) -> str:
    """Name the prefix of an output's files."""
    return f"{attempt_prefix}/{OUTPUTS}/{encode(output)}"


def output_key(attempt_prefix: str, output: str, file: str) -> str:
    """Name a file of an output; `file` is its path inside the output and stays as it is.

    A file's name belongs to its author and to the libraries that read folders: escaping
    ``city=New%20York`` once more would change the value that a reader takes from it.
    """
    key = f"{output_prefix(attempt_prefix, output)}/{file}"
    check_key(key)
    return key


def pointers_prefix(pipeline: str, step: str) -> str:
    """Name the prefix of a step's pointers, one for each partition."""
    return f"current/{encode(pipeline)}/{encode(step)}"


def pointer_key(pipeline: str, step: str, partition: str, *, member: str = "") -> str:
    """Name the object whose replacement commits all outputs of a step for a partition."""
    inner = f"{encode(partition)}/{encode(member)}" if member else encode(partition)
    return f"{pointers_prefix(pipeline, step)}/{inner}.json"


def pointer_key_of(attempt_prefix: str) -> str:
    """Name the pointer that an attempt commits to, also where a name in its prefix was cut."""
    _root, pipeline, partition, _run, step, *member, _attempt = attempt_prefix.split("/")
    return "/".join(["current", pipeline, step, partition, *member]) + ".json"


def data_prefix(pipeline: str, output: str) -> str:
    """Name the prefix at which an output is published, for all partitions."""
    return f"data/{encode(pipeline)}/{encode(output)}"


def data_partition_prefix(pipeline: str, output: str, partition: str, *, member: str = "") -> str:
    """Name the prefix at which an output's file for one partition is published."""
    inner = f"/member={encode(member)}" if member else ""
    return f"{data_prefix(pipeline, output)}/partition={encode(partition)}{inner}"


def folder(prefix: str) -> str:
    """Return the prefix as the beginning of the keys below it: closed by a slash, or empty.

    Prefixes name whole components: ``runs/a`` does not reach into ``runs/ab``.
    """
    trimmed = prefix.rstrip("/")
    return f"{check_key(trimmed)}/" if trimmed else ""


def check_key(key: str) -> str:
    """Return the key if every backend can hold it and no component leads elsewhere.

    Raises UsageError otherwise.
    """
    _require_unicode(key)
    components = key.split("/")
    if any(part in {"", ".", ".."} for part in components):
        problem = "has an empty part, or a part . or .."
    elif any(ord(character) < ord(" ") or character == "\x7f" for character in key):
        problem = "has control characters"
    elif any(part.startswith(RESERVED) for part in components[1:]):
        problem = f"has a part that begins with {RESERVED}, which is kept for the store itself"
    elif len(key.encode()) > _MAX_KEY_BYTES:
        problem = f"has {len(key.encode())} bytes; {_MAX_KEY_BYTES} is the most a store can hold"
    else:
        return key
    raise UsageError(problem, where=f"key {key!r}", advice="rename the file or the output")


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "is not valid Unicode (a lone surrogate)", where=repr(text), advice="rename it in UTF-8"
        ) from error


def _escape(part: str) -> str:
    escaped = quote(part, safe="=").replace("~", "%7E").replace("%", "~")
    return "~2E" + escaped[1:] if escaped.startswith(".") else escaped
