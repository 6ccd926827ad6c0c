"""Reading and writing at an address: a local path or a URI such as ``s3://bucket/key``.

An input that is not there yet says which notebook makes it, and a local output gets its folder, so
that every notebook also runs by hand from its own defaults.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pyarrow import fs


def read_parquet(address: str, made_by: str) -> pd.DataFrame:
    """Read a table; raises FileNotFoundError that names the notebook `made_by`."""
    filesystem, path = _existing(address, made_by)
    with filesystem.open_input_file(path) as file:
        return pd.read_parquet(file)


def read_bytes(address: str, made_by: str) -> bytearray:
    """Read a file whole; raises FileNotFoundError that names the notebook `made_by`."""
    filesystem, path = _existing(address, made_by)
    with filesystem.open_input_file(path) as file:
        return bytearray(file.read())


def write_parquet(table: pd.DataFrame, address: str) -> None:
    """Write a table, without its index."""
    filesystem, path = _ready(address)
    with filesystem.open_output_stream(path) as file:
        table.to_parquet(file, index=False)


def write_bytes(content: bytes | bytearray, address: str) -> None:
    """Write a file whole."""
    filesystem, path = _ready(address)
    with filesystem.open_output_stream(path) as file:
        file.write(content)


def _existing(address: str, made_by: str) -> tuple[fs.FileSystem, str]:
    filesystem, path = _locate(address)
    if filesystem.get_file_info(path).type == fs.FileType.NotFound:
        raise FileNotFoundError(f"{address} is not there yet: run {made_by} first")
    return filesystem, path


def _ready(address: str) -> tuple[fs.FileSystem, str]:
    filesystem, path = _locate(address)
    if isinstance(filesystem, fs.LocalFileSystem):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    return filesystem, path


def _locate(address: str) -> tuple[fs.FileSystem, str]:
    if "://" in address:
        return fs.FileSystem.from_uri(address)
    return fs.LocalFileSystem(), address
