"""Outputs as Airflow assets: what a step makes, what a pipeline waits for, and of which partition.

An asset is named `pipeline.output`; its URI is the plain address of the output's data, without
what a store's URL says after the question mark. From Airflow 3.2 on each event carries the
partition as Airflow's own partition key, and a pipeline that runs `after:` others runs once for
each partition that all of them have made. Before, Airflow may fold several events into one run,
which then is for the latest of their partitions. (A DAG of your own that waits for such an asset
needs a `PartitionedAssetTimetable` as well: Airflow wakes no other for events that have a key.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow import sdk
from airflow.sdk import Asset, AssetAll

from nightmill.spec.record import Record
from nightmill.spec.steprun import StepRun

_TIMETABLE = getattr(sdk, "PartitionedAssetTimetable", None)  # None before Airflow 3.2


def output_asset(store: str, root: Path, pipeline: str, output: str) -> Asset:
    """Name an output for Airflow; `root` is where a relative path of a store begins."""
    uri = f"{_plain_address(store, root)}/data/{pipeline}/{output}"
    return Asset(name=f"{pipeline}.{output}", uri=uri)


def after_schedule(assets: Iterable[Asset]) -> Any:
    """Make the schedule of a pipeline that runs when all of these have a partition."""
    waited_for = list(assets)
    return waited_for if _TIMETABLE is None else _TIMETABLE(assets=AssetAll(*waited_for))


def announce(
    context: Mapping[str, Any],
    outlets: Iterable[Any],
    run: StepRun | Record,
    result: Mapping[str, Any],
) -> None:
    """Tell those who wait for the outputs which partition was committed, and where it is."""
    outputs = result.get("outputs") or {}
    for asset in outlets:
        event = context["outlet_events"][asset]
        event.extra = {
            "partition": run.partition,
            "run": run.run,
            "record": result.get("record"),
            "address": outputs.get(asset.name.partition(".")[2]),
        }
        if hasattr(event, "add_partitions"):
            event.add_partitions(run.partition)


def _plain_address(store: str, root: Path) -> str:
    parts = urlsplit(store)
    if parts.scheme == "s3":
        return f"s3://{parts.netloc}{parts.path.rstrip('/')}"
    path = parts.path if parts.scheme == "file" else store
    return (root / path).as_uri()
