"""Reads published data again and again, until standard input ends, and tells what it saw.

A script of its own that runs in the kernel's environment, where readers work: polars and pandas
are there. deltalake is the runner's, and comes behind the kernel's own libraries. Its one argument
is JSON: `way`, `address`, `options` (object_store's names), `packages` (the runner's), `where` (the
command that tells the address of what is current) and `reads` (a file that grows by each read).
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

ORDER = json.loads(sys.argv[1])
sys.path.append(ORDER["packages"])

import duckdb  # noqa: E402 - polars looks for deltalake when it is imported
import pandas as pd  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.dataset as ds  # noqa: E402
from pyarrow.fs import LocalFileSystem, S3FileSystem  # noqa: E402

ADDRESS, OPTIONS = ORDER["address"], ORDER["options"]


def current():
    """Ask where the current version is."""
    return subprocess.run(ORDER["where"], check=True, capture_output=True, text=True).stdout.strip()


def filesystem(address):
    """Open the file system that pyarrow reads from, and the path on it."""
    if not OPTIONS:
        return LocalFileSystem(), address
    opened = S3FileSystem(
        access_key=OPTIONS["aws_access_key_id"],
        secret_key=OPTIONS["aws_secret_access_key"],
        endpoint_override=OPTIONS["aws_endpoint"].removeprefix("http://"),
        scheme="http",
        region=OPTIONS["aws_region"],
    )
    return opened, address.removeprefix("s3://")


def dataset(address=ADDRESS):
    """Open a file, or a folder as a dataset of Hive's style."""
    opened, path = filesystem(address)
    return ds.dataset(path, filesystem=opened, format="parquet", partitioning="hive")


def table():
    """Open the Delta table."""
    from deltalake import DeltaTable  # noqa: PLC0415 - only some readers need the runner's library

    return DeltaTable(ADDRESS, storage_options=OPTIONS or None)


def by_duckdb(source):
    """Let DuckDB read what Arrow opened: its own S3 and Delta readers are downloads."""
    with duckdb.connect() as connection:
        connection.register("published", source)
        return connection.sql("SELECT * FROM published").to_arrow_table()


def by_duckdb_itself():
    """Let DuckDB find and read the files."""
    with duckdb.connect() as connection:
        return connection.read_parquet(
            f"{ADDRESS}/*/*.parquet", hive_partitioning=True
        ).to_arrow_table()


def by_pandas(address=ADDRESS):
    """Let pandas read a file or folder."""
    opened, path = filesystem(address)
    return pa.Table.from_pandas(pd.read_parquet(path, filesystem=opened))


def by_polars(address=f"{ADDRESS}/"):
    """Let polars read a file or folder."""
    options = {"storage_options": OPTIONS} if OPTIONS else {}
    found = pl.scan_parquet(address, hive_partitioning=True, **options)
    return found.collect().to_arrow()


WAYS = {
    "pandas": by_pandas,
    "pyarrow": lambda: dataset().to_table(),
    "polars": by_polars,
    "duckdb": lambda: by_duckdb(dataset()) if OPTIONS else by_duckdb_itself(),
    "where, pandas": lambda: by_pandas(current()),
    "where, pyarrow": lambda: dataset(current()).to_table(),
    "where, polars": lambda: by_polars(current()),
    "where, duckdb": lambda: by_duckdb(dataset(current())),
    "delta, pandas": lambda: pa.Table.from_pandas(table().to_pandas()),
    "delta, pyarrow": lambda: table().to_pyarrow_table(),
    "delta, polars": lambda: pl.read_delta(ADDRESS, storage_options=OPTIONS or None).to_arrow(),
    "delta, duckdb": lambda: by_duckdb(table().to_pyarrow_dataset()),
}


def main() -> None:
    """Read until told to stop; print how often, which runs were seen, and what was wrong."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    reads, runs, mixed, errors = 0, set(), [], []
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    while not over.is_set():
        try:
            found = WAYS[ORDER["way"]]()
        except Exception as error:  # noqa: BLE001 - that there is none is what is tested
            errors.append(f"{type(error).__name__}: {str(error)[:200]}")
            continue
        reads += 1
        with Path(ORDER["reads"]).open("a") as counted:
            counted.write(".")
        ids, seen = found["id"].to_pylist(), set(found["run"].to_pylist())
        if sorted(ids) != list(range(ORDER["rows"])) or len(seen) != 1:
            mixed.append([len(ids), sorted(seen)])
        runs |= seen
    result = {"reads": reads, "runs": sorted(runs), "mixed": mixed[:9], "errors": errors[:9]}
    print(json.dumps(result | {"bad": len(mixed) + len(errors)}), flush=True)  # noqa: T201 - as above
    os._exit(0)  # deltalake's threads may outlive it, and then its end is noisy


main()
