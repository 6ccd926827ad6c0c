"""Tables as bytes, and what the tests of publishing have in common."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from nightmill.spec.pipeline import PipelineSpec
from nightmill.store.interface import Store
from tests.stored_versions import DAY, STEP, add_version

FILES = """
pipeline: flights
steps:
  score:
    notebook: score.ipynb
    outputs: {scores: scores.parquet, plots: plots/}
"""
DELTA = FILES.replace("scores: scores.parquet", "scores: {path: scores.parquet, format: delta}")
PLACE = {"step": STEP, "partition": DAY}
PLAIN = f"data/flights/scores/partition={DAY}/scores.parquet"
TABLE = "data/flights/scores"


def parquet(columns: Mapping[str, object], **options: object) -> bytes:
    """Write columns as the bytes of a Parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), file, **options)
    return file.getvalue()


def scores(order: int, rows: int = 3) -> bytes:
    """Make the scores of a run: every row tells whose they are."""
    return parquet({"id": pa.array(range(rows), pa.int64()), "run": [order] * rows})


def commit_scores(store: Store, order: int, data: bytes | None = None, **names: object) -> None:
    """Let a run commit scores."""
    add_version(store, order, files={"scores": {"scores.parquet": data or scores(order)}}, **names)


def spec_with(load_spec, output: str, *, members: str = "") -> PipelineSpec:
    """Declare the scores in another way."""
    text = FILES.replace("scores: scores.parquet", f"scores: {output}")
    return load_spec(text + (f"    members: {members}\n" if members else ""))
