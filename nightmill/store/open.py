"""Opens the store that a URL or a path names; the one place that knows both backends."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nightmill.errors import StoreError
from nightmill.store.directory import DirectoryStore
from nightmill.store.interface import Backend


def open_store(url: str, *, base: Path, hasty: bool = False) -> Backend:
    """Open ``s3://bucket/prefix?...``, ``file:///path`` or a path, relative paths below `base`.

    `hasty` is for whoever serves people: a store that is silent is told within seconds. No
    connection is made yet. Raises StoreError for any other scheme, or a malformed URL.
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", url)
    if match is None:
        return DirectoryStore(base / _path(url))
    scheme = match[1].lower()
    if scheme == "file":
        return DirectoryStore(_file_url_path(url))
    if scheme == "s3":
        # Only here, so that a store in a directory does not pay for importing boto3.
        from nightmill.store.s3 import S3Store  # noqa: PLC0415 - see above
        from nightmill.store.s3_settings import S3Settings  # noqa: PLC0415 - see above

        return S3Store(S3Settings.parse(url), hasty=hasty)
    # The scheme alone: the rest of a foreign URL may hold a password.
    raise StoreError(
        "there is no store of this kind",
        address=f"{scheme}://...",
        operation="open",
        advice="use s3://bucket/prefix, or a path such as .nightmill/store",
    )


def _path(text: str) -> Path:
    if text.strip() and "\0" not in text:
        return Path(text).expanduser()
    raise StoreError(
        "the address of the store is empty or no path",
        address=repr(text),
        operation="open",
        advice="use s3://bucket/prefix, or a path such as .nightmill/store",
    )


def _file_url_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc in {"", "localhost"} and not (parts.query or parts.fragment):
        return _path(unquote(parts.path))
    raise StoreError(
        "a file URL has three slashes and then only a path",
        address="file://...",
        operation="open",
        advice="write file:///absolute/path, or the path alone",
    )
