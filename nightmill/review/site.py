"""What all pages share: the store, its index, who may see what, and a secret to sign with."""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nightmill.errors import NightmillError
from nightmill.review.access import Access
from nightmill.review.signing import mark_of
from nightmill.review.specs import Specs
from nightmill.store.index import Index
from nightmill.store.interface import Store
from nightmill.store.records import Records

_SESSION = "nightmill_session"


@dataclass(frozen=True)
class Site:
    """One set of pages over one store.

    Whoever serves one site from several processes gives them the same `secret`: else one makes
    forms and addresses that the others refuse. With `hosts` only requests that name one of them are
    answered. `session_cookie` names the cookie that forms are bound to.
    """

    store: Store
    access: Access
    index: Index
    records: Records
    specs: Specs
    secret: bytes = field(repr=False)
    session_cookie: str
    hosts: frozenset[str]

    @classmethod
    def open(
        cls,
        store: Store,
        access: Access,
        *,
        root: Path | None = None,
        secret: bytes | None = None,
        hosts: frozenset[str] = frozenset(),
    ) -> Self:
        """Make the pages of a store; `root` is the project on disk, if there is one."""
        return cls(
            store=store,
            access=access,
            index=Index(store),
            records=Records(store),
            specs=Specs(store, root),
            secret=secret or secrets.token_bytes(32),
            # One made at each start gives no name, or a browser would keep them all.
            session_cookie=f"{_SESSION}_{mark_of(secret)}" if secret else _SESSION,
            hosts=hosts,
        )

    def warm(self) -> None:
        """Begin to read the index, so that the first page waits for less of it."""
        threading.Thread(target=self._read_index, name="nightmill-index", daemon=True).start()

    def _read_index(self) -> None:
        with suppress(NightmillError):  # whoever asks for a page is told of it there
            for pipeline in self.index.pipelines():
                self.index.attempts(pipeline)
