"""A look into a stored output: its first rows, its picture, or the head of its text.

What was stored is a stranger's. Tables are read by a locked database (`rows`), pictures are shown
only if their first bytes are those of a picture, as a data: address that runs nothing, and all else
is text. Whatever cannot be shown says why. One file is looked at, of a bounded size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from nightmill.errors import NightmillError, StoreError, UsageError
from nightmill.review.confined import require_inside
from nightmill.review.render.pictures import address, inspect
from nightmill.review.rows import (
    DELIMITED,
    JSON,
    Rows,
    UnreadableRowsError,
    first_rows,
    is_table,
)
from nightmill.spec.outputs import PARQUET
from nightmill.spec.record import FileRecord
from nightmill.spec.words import amount
from nightmill.store.interface import Store
from nightmill.store.keys import output_prefix
from nightmill.store.versions import Version

_TABLE_BYTES = 64 << 20
_IMAGE_BYTES = 2 << 20
_TEXT_BYTES = 1 << 20
_TEXT_CHARACTERS = 4000

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_PIXELS = 40_000_000  # four bytes each in the browser
_TEXTS = (
    ".cfg", ".html", ".ini", ".json", ".log", ".md", ".sql", ".svg", ".toml", ".txt", ".xml",
    ".yaml", ".yml",
)  # fmt: skip


class Preview(BaseModel):
    """What is seen of a file, one of `rows`, `image` and `text`; `note` says what is not."""

    model_config = ConfigDict(frozen=True)

    file: str = ""
    rows: Rows | None = None
    image: str = ""
    text: str = ""
    note: str = ""


def preview(store: Store, version: Version, *, zone: str = "UTC") -> Preview:
    """Look into a version of an output: into its file, or the first Parquet file of its folder."""
    file = _chosen(version.stored.files)
    if file is None:
        return Preview(note="The folder is empty.")
    key = f"{output_prefix(version.prefix, version.output)}/{file.path}"
    try:
        require_inside(store, key)
        return _look(store, key, file, zone)
    except NightmillError as error:
        return Preview(file=file.path, note=_why(error))


def _chosen(files: Sequence[FileRecord]) -> FileRecord | None:
    """Choose what is looked at: readers of folders leave out what begins with _ or a dot."""
    seen = [one for one in files if not _is_hidden(PurePosixPath(one.path))]
    tables = (one for one in seen if PurePosixPath(one.path).suffix.lower() in PARQUET)
    return next(tables, next(iter([*seen, *files]), None))


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _look(store: Store, key: str, file: FileRecord, zone: str) -> Preview:
    suffix = PurePosixPath(file.path).suffix.lower()
    if not file.size:
        return Preview(file=file.path, note="The file is empty.")
    if suffix in _IMAGES:
        return _image(store, key, file)
    if is_table(file.path):
        return _table(store, key, file, zone)
    if suffix in _TEXTS:
        return _text(store, key, file)
    kind = f"{suffix} file" if suffix else "file without an ending"
    return Preview(file=file.path, note=f"There is no preview of a {kind}.")


def _table(store: Store, key: str, file: FileRecord, zone: str) -> Preview:
    if file.size > _TABLE_BYTES:
        return _too_large(file, _TABLE_BYTES)
    suffix = PurePosixPath(file.path).suffix.lower()
    with _on_disk(store, key, file) as path:
        try:
            rows = first_rows(path, PurePosixPath(file.path).name, zone=zone)
        except UnreadableRowsError as error:
            if suffix in JSON:
                return _text(store, key, file)
            if suffix not in DELIMITED or file.size > _TEXT_BYTES:
                raise
            head = _text(store, key, file)
            return head.model_copy(update={"note": f"{_why(error)} {head.note}".rstrip()})
    if len(rows.rows) == 1 and suffix == ".json":
        return _text(store, key, file)  # one object is no table
    return Preview(file=file.path, rows=rows)


def _image(store: Store, key: str, file: FileRecord) -> Preview:
    if file.size > _IMAGE_BYTES:
        return _too_large(file, _IMAGE_BYTES)
    data = _read(store, key)
    picture = inspect(data)
    if picture is None:
        return Preview(file=file.path, note="The file is not the picture that its name says.")
    if picture.pixels > _PIXELS:
        size = f"{picture.width:,} by {picture.height:,} pixels"
        return Preview(file=file.path, note=f"The picture claims {size}: open it elsewhere.")
    return Preview(file=file.path, image=address(data, picture.kind))


def _text(store: Store, key: str, file: FileRecord) -> Preview:
    if file.size > _TEXT_BYTES:
        return _too_large(file, _TEXT_BYTES)
    text = _read(store, key).decode("utf-8", "replace")
    note = "" if len(text) <= _TEXT_CHARACTERS else f"The first {_TEXT_CHARACTERS:,} characters."
    return Preview(file=file.path, text=text[:_TEXT_CHARACTERS], note=note)


def _read(store: Store, key: str) -> bytes:
    blob = store.read(key)
    if blob is None:
        raise _gone(store, key)
    return blob.data


def _gone(store: Store, key: str) -> StoreError:
    advice = "restore it, or run its step again"
    return StoreError(
        "the file is gone", address=store.address(key), operation="read", advice=advice
    )


@contextmanager
def _on_disk(store: Store, key: str, file: FileRecord) -> Iterator[Path]:
    """Give the file on this machine: itself where it lies here, else a checked copy."""
    path = store.local_path(key)
    if path is not None:
        if not path.is_file():
            raise _gone(store, key)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nightmill-preview-") as folder:
        copy = Path(folder, "file")
        store.get_file(key, copy, sha256=file.sha256)
        yield copy


def _too_large(file: FileRecord, most: int) -> Preview:
    note = f"The file has {amount(file.size)}; up to {amount(most)} are shown here."
    return Preview(file=file.path, note=note)


def _why(error: NightmillError) -> str:
    advice = f" {error.advice[0].upper()}{error.advice[1:]}." if error.advice else ""
    is_own = isinstance(error, UnreadableRowsError | UsageError)
    subject = "The file" if is_own else "Of the store:"
    return f"{subject} {error.problem}.{advice}"
