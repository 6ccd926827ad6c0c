"""Executed notebooks as documents, rendered once: what has ended does not change any more.

A document is kept in a folder of temporary files under the notebook's stamp, and sent from there
the next time. Its addresses of large outputs are signed for an hour or two, so it is made anew with
every hour. While it is made it is sent already, cell by cell.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_KEPT_BYTES = 512 << 20
_CHUNK_BYTES = 256 << 10


class Streamed(StreamingResponse):
    """An answer made piece by piece, whose maker is told at once when nobody listens any more.

    Else it would keep its unfinished file until the garbage is collected.
    """

    def __init__(
        self,
        made: Iterator[str] | Iterator[bytes],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        self._made = _each(made)
        super().__init__(self._made, status_code, headers, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is made, and close its maker."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._made.close()


class Rendered:
    """Documents of this process, on disk; the oldest go where there are more than 512 MiB."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None

    def document(self, key: str, made: Iterator[str]) -> Iterator[bytes]:
        """Give the document that has this key, from disk or as it is being made.

        `made` is asked for nothing where the document is there.
        """
        path = self._place() / hashlib.sha256(key.encode()).hexdigest()
        try:
            with path.open("rb") as kept:
                while chunk := kept.read(_CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError:
            yield from self._keep(path, made)

    def _keep(self, path: Path, made: Iterator[str]) -> Iterator[bytes]:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            unfinished = Path(file.name)
            try:
                for text in made:
                    chunk = text.encode("utf-8", "replace")
                    file.write(chunk)
                    yield chunk
                file.flush()
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
        self._make_room()

    def _place(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="nightmill-review-"))
                atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            return self._folder

    def _make_room(self) -> None:
        with self._lock, suppress(OSError):
            files = [(one, one.stat()) for one in self._folder.iterdir()] if self._folder else []
            files.sort(key=lambda one: one[1].st_mtime, reverse=True)
            total = 0
            for file, stat in files:
                total += stat.st_size
                if total > _KEPT_BYTES:
                    file.unlink(missing_ok=True)


def _each(made: Iterator[str] | Iterator[bytes]) -> Generator[str | bytes]:
    yield from made
