"""Readers of published data while it is rewritten: never an error, never a mixture.

The readers are processes in the kernel's environment, as a data scientist's are.
"""

import json
import subprocess
import sys
import sysconfig
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from nightmill.publish.publish import publish_current
from nightmill.store.open import open_store
from tests.published import PLACE, TABLE, commit_scores, parquet, spec_with

pytestmark = pytest.mark.e2e

READER = Path(__file__).parents[1] / "reads_published.py"
LIBRARIES = ("pandas", "pyarrow", "polars", "duckdb")
SECONDS, AT_MOST = 4, 120
FEWEST = 3  # reads and different versions that a reader must have seen, for the test to say much


def table_of(order: int, rows: int) -> bytes:
    """Make a version: every row tells whose it is, and all versions have the same layout."""
    wide = {f"c{number}": np.full(rows, float(order)) for number in range(6)}
    columns = {"id": np.arange(rows), "run": np.full(rows, order), **wide}
    return parquet(columns, row_group_size=rows // 4, compression="none", use_dictionary=False)


WHERE = (sys.executable, "-m", "nightmill", "where", "flights.scores")


def counts_of(folder: Path, way: str) -> Path:
    """Name the file that tells how often somebody has read."""
    return folder / f"{way}.reads"


@pytest.fixture
def reading(kernel_python, tmp_path):
    """Return a function that starts a reader and waits until it is about to read."""
    with ExitStack() as stack:

        def start(store, way: str, rows: int) -> subprocess.Popen:
            order = {
                "way": way,
                "address": store.address(TABLE),
                "options": dict(store.library_options()),
                "packages": sysconfig.get_path("purelib"),
                "rows": rows,
                "where": [*WHERE, f"--store={store.url}"],
                "reads": str(counts_of(tmp_path, way)),
            }
            process = stack.enter_context(
                subprocess.Popen(
                    [kernel_python, READER, json.dumps(order)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout.readline() == "ready\n"
            return process

        yield start


def rewrite_while_read(store, spec, reading, ways, *, rows: int, counts: Path) -> dict[str, dict]:
    """Publish one version after the other for a while, and return what each reader saw.

    It goes on until each has read often enough to say something, on a machine however slow.
    """
    files = [counts_of(counts, way) for way in ways]
    for file in files:
        file.touch()
    commit_scores(store, 1, table_of(1, rows))
    publish_current(store, spec, **PLACE)
    readers = {way: reading(store, way, rows) for way in ways}
    order, began = 1, time.monotonic()
    while (passed := time.monotonic() - began) < AT_MOST:
        if passed > SECONDS and all(file.stat().st_size > 2 * FEWEST for file in files):
            break
        order += 1
        commit_scores(store, order, table_of(order, rows))
        (found,) = publish_current(store, spec, **PLACE)
        assert found.problem == ""
    return {way: json.loads(one.communicate(timeout=60)[0]) for way, one in readers.items()}


def check(seen: dict[str, dict]) -> None:
    """See that every reader read several versions, each whole, and met no error."""
    for way, found in seen.items():
        assert (found["errors"], found["mixed"]) == ([], []), way
        assert found["reads"] >= FEWEST, way
        assert len(found["runs"]) >= FEWEST, way


def test_tables_are_read_whole_while_they_are_rewritten(store, load_spec, reading, tmp_path):
    """A Delta table is one version at a time, in a directory and in S3, large or small."""
    spec = spec_with(load_spec, "{path: scores.parquet, format: delta}")
    ways = [f"delta, {library}" for library in LIBRARIES]
    check(rewrite_while_read(store, spec, reading, ways, rows=20_000, counts=tmp_path))


def test_files_are_read_whole_where_the_current_version_is(store, load_spec, reading, tmp_path):
    """`nightmill where` names a file that no commit changes, in a directory and in S3."""
    spec = spec_with(load_spec, "scores.parquet")
    ways = [f"where, {library}" for library in LIBRARIES]
    check(rewrite_while_read(store, spec, reading, ways, rows=20_000, counts=tmp_path))


def test_files_in_a_directory_are_read_whole_while_they_are_replaced(tmp_path, load_spec, reading):
    """Whoever has opened a file reads the bytes that it had then."""
    store, spec = open_store("store", base=tmp_path), spec_with(load_spec, "scores.parquet")
    check(rewrite_while_read(store, spec, reading, LIBRARIES, rows=20_000, counts=tmp_path))
