"""How to read a stored output elsewhere: addresses and lines of Python; what changes its state."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import PurePosixPath

from nightmill.errors import UsageError
from nightmill.review.commands import Command
from nightmill.spec.outputs import PARQUET, OutputSpec
from nightmill.spec.record import FileRecord
from nightmill.store.decision import refusal
from nightmill.store.interface import Store
from nightmill.store.keys import data_partition_prefix, data_prefix, output_prefix
from nightmill.store.versions import Version, Versions

_LINES = "lines"
_KINDS: Mapping[str, str] = {
    **dict.fromkeys(PARQUET, "parquet"),
    ".csv": "csv",
    ".jsonl": _LINES,
    ".ndjson": _LINES,
}
_LIBRARIES: Mapping[str, Mapping[str, str]] = {
    "parquet": {
        "pandas": "import pandas as pd; df = pd.read_parquet({address})",
        "polars": "import polars as pl; df = pl.read_parquet({address})",
        "DuckDB": "import duckdb; rows = duckdb.read_parquet({address})",
    },
    "csv": {
        "pandas": "import pandas as pd; df = pd.read_csv({address})",
        "polars": "import polars as pl; df = pl.read_csv({address})",
        "DuckDB": "import duckdb; rows = duckdb.read_csv({address})",
    },
    _LINES: {
        "pandas": "import pandas as pd; df = pd.read_json({address}, lines=True)",
        "polars": "import polars as pl; df = pl.read_ndjson({address})",
        "DuckDB": "import duckdb; rows = duckdb.read_json({address})",
    },
}
_ALL_PARTS = "/**/*.parquet"


def reads(version: Version, address: str) -> Iterator[Command]:
    """Return the lines that read a version at an address; none for what is no table."""
    stored = version.stored
    is_folder = stored.kind == "directory"
    names = [PurePosixPath(file.path).name for file in stored.files]
    kinds = {_KINDS.get(PurePosixPath(name).suffix.lower(), "") for name in names if _is_seen(name)}
    kind = "parquet" if is_folder and "parquet" in kinds else next(iter(kinds), "")
    if is_folder and kind != "parquet":
        return
    for library, line in _LIBRARIES.get(kind, {}).items():
        whole = f"{address}{_ALL_PARTS}" if is_folder and library != "pandas" else address
        if library != "pandas" or len(kinds) == 1:  # it would take other files for Parquet
            yield Command(purpose=library, text=line.format(address=repr(whole)))


def changes(versions: Versions, version: Version, store: str) -> Iterator[Command]:
    """Return the command that makes a version current, where it may become so and is not."""
    if version.is_current:
        return
    if not refusal(version, versions.current, "rollback"):
        yield _change("rollback", "Make it current again", version, store)
    elif not refusal(version, versions.current, "promotion"):
        yield _change("promote", "Make it current, though it never was", version, store)


def stored_at(store: Store, version: Version) -> str:
    """Return the address of a version, which never changes: of its file, if it is one."""
    prefix, file = output_prefix(version.prefix, version.output), only_file(version)
    return _address(store, f"{prefix}/{file.path}" if file else prefix) or version.stored.address


def published_at(store: Store, version: Version, meant: OutputSpec) -> str:
    """Return the plain address, which readers who know nothing of versions take."""
    record = version.record
    if meant.format == "delta":
        return store.address(data_prefix(record.pipeline, version.output))
    prefix = data_partition_prefix(
        record.pipeline, version.output, record.partition, member=record.member
    )
    file = only_file(version)
    return _address(store, f"{prefix}/{PurePosixPath(file.path).name}") if file else ""


def only_file(version: Version) -> FileRecord | None:
    """Return what an output is that is one file."""
    stored = version.stored
    return stored.files[0] if stored.kind == "file" and stored.files else None


def _address(store: Store, key: str) -> str:
    """Return an address that ends in a name from a record; empty for what no store can hold."""
    with suppress(UsageError):
        return store.address(key)
    return ""


def _change(verb: str, purpose: str, version: Version, store: str) -> Command:
    record = version.record
    words = ["nightmill", verb, f"{record.pipeline}.{version.output}"]
    options = {
        "partition": record.partition,
        "member": record.member,
        "to": version.name,
        "reason": "...",
        "store": store,
    }
    words += [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return Command(purpose=purpose, text=shlex.join(words))


def _is_seen(name: str) -> bool:
    """Say whether readers of a folder look at a file."""
    return not name.startswith(("_", "."))
