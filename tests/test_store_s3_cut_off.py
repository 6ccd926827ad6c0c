"""Answers of S3 whose connection breaks, in their headers or later: never a wrong value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nightmill.errors import StoreConflict, StoreError
from nightmill.store.interface import Store
from nightmill.store.open import open_store
from tests.s3_proxy import Fault, run_proxy

LARGE = bytes(range(256)) * (9 * 4096)  # 9 MiB are two parts
RETRIES = 2
SHARES = [number / 20 for number in range(1, 20)]


@dataclass(frozen=True)
class Scene:
    """A store behind a proxy that cuts answers, and the same store without it."""

    store: Store
    real: Store
    folder: Path

    def sent(self, data: bytes) -> Path:
        """Make a file of these bytes."""
        path = self.folder / "sent"
        path.write_bytes(data)
        return path

    def fetched(self, key: str, sha256: str | None = None) -> bytes:
        """Download an object; whatever was refused has left no file."""
        path = self.folder / uuid4().hex
        try:
            self.store.get_file(key, path, sha256=sha256)
        except StoreError:
            assert not path.exists()
            raise
        return path.read_bytes()

    def of_file(self, key: str) -> Any:
        """Tell of an object what `put_file` tells."""
        data, stat = self.real.read(key).data, self.real.stat(key)
        return len(data), hashlib.sha256(data).hexdigest(), stat.etag

    def put_file(self, key: str, data: bytes) -> Any:
        """Upload bytes as a file."""
        stored = self.store.put_file(key, self.sent(data))
        return stored.size, stored.sha256, stored.etag


Act = Callable[[Scene], Any]


@dataclass(frozen=True)
class Operation:
    """What is done, what it returns where all is well, and how many requests that takes."""

    act: Act
    truth: Act
    requests: int = 1
    may_conflict: bool = False


def _get_parts(scene: Scene) -> bytes:
    if scene.real.stat("large") is None:
        scene.real.put_file("large", scene.sent(LARGE))
    return scene.fetched("large")


def _copy(scene: Scene) -> str:
    data = uuid4().hex.encode()
    source = scene.real.put_file("source", scene.sent(data))
    with suppress(StoreConflict):  # its own first try was the one that won
        scene.store.copy_if("copy", source, etag=scene.real.stat("copy").etag)
    return source.sha256


OPERATIONS = {
    "read": Operation(lambda s: s.store.read("small"), lambda s: s.real.read("small")),
    "read nothing": Operation(lambda s: s.store.read("none"), lambda _: None),
    "read empty": Operation(lambda s: s.store.read("empty"), lambda s: s.real.read("empty")),
    "stat": Operation(lambda s: s.store.stat("copy"), lambda s: s.real.stat("copy")),
    "stat nothing": Operation(lambda s: s.store.stat("none"), lambda _: None),
    "get": Operation(lambda s: s.fetched("small"), lambda _: b"hello"),
    "get parts": Operation(_get_parts, lambda _: LARGE, requests=2),
    "list": Operation(lambda s: list(s.store.list("")), lambda s: list(s.real.list(""))),
    "list pages": Operation(
        lambda s: list(s.store.list("many", at_once=2)),
        lambda s: list(s.real.list("many")),
        requests=2,
    ),
    "children": Operation(lambda s: s.store.children(""), lambda s: s.real.children("")),
    "remnants": Operation(
        lambda s: list(s.store.remnants()), lambda s: list(s.real.remnants()), requests=2
    ),
    "write": Operation(
        lambda s: s.store.write("written", b"hello"), lambda s: s.real.read("written").etag
    ),
    "write new": Operation(
        lambda s: s.store.write_if(f"new/{uuid4().hex}", b"hello", etag=None),
        lambda s: s.real.read("small").etag,
        may_conflict=True,
    ),
    "put": Operation(lambda s: s.put_file("put", b"hello"), lambda s: s.of_file("put")),
    "put parts": Operation(
        lambda s: s.put_file("parts", LARGE), lambda s: s.of_file("parts"), requests=5
    ),
    "copy": Operation(_copy, lambda s: s.real.stat("copy").sha256),
    "delete": Operation(lambda s: s.store.delete("deleted"), lambda s: s.real.read("deleted")),
}


@pytest.fixture
def proxy(s3_server):
    """Run a proxy before the S3 server that cuts answers."""
    with run_proxy(s3_server.endpoint) as server:
        yield server


@pytest.fixture
def scene(s3_server, s3_url, proxy, tmp_path):
    """Fill a store, and open it a second time behind the proxy."""
    real = open_store(s3_url, base=tmp_path)
    url = s3_url.replace(s3_server.endpoint, proxy.endpoint) + f"&retries={RETRIES}"
    one = Scene(open_store(url, base=tmp_path), real, tmp_path)
    for key in ("small", "many/0", "many/1", "many/2", "deleted"):
        real.write(key, b"hello")
    real.write("empty", b"")
    real.copy_if("copy", real.put_file("source", one.sent(b"hello")), etag=None)
    return one


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_answer_that_breaks_off_is_asked_for_again(scene, proxy, name):
    """Wherever it breaks off, one such answer changes nothing; a condition may be refused."""
    operation = OPERATIONS[name]
    assert operation.act(scene) == operation.truth(scene)
    assert len(proxy.seen) == operation.requests, "each of them is cut below"
    shares = SHARES[::4] if operation.requests > 2 else SHARES
    for share, which in product(shares, range(operation.requests)):
        cut = len(proxy.seen) + which
        proxy.cut_share = share
        proxy.fault = lambda one, cut=cut: Fault.CUT_REPLY if one.number == cut else None
        try:
            assert operation.act(scene) == operation.truth(scene), (share, which)
        except StoreConflict:
            assert operation.may_conflict, (share, which)


@pytest.mark.parametrize("name", OPERATIONS)
def test_answers_that_always_break_off_are_an_error(scene, proxy, name):
    """What cannot be had whole in the tries that the settings allow is an error, and no value."""
    operation = OPERATIONS[name]
    proxy.fault = lambda _one: Fault.CUT_REPLY
    for proxy.cut_share in SHARES:
        with suppress(StoreError):
            assert operation.act(scene) == operation.truth(scene), proxy.cut_share


def test_an_error_says_that_answers_were_cut_off(scene, proxy):
    """Whoever reads it learns that the network is to blame, not the object."""
    proxy.cut_share = 0.3
    proxy.fault = lambda _one: Fault.CUT_REPLY
    for act in (lambda: scene.store.read("small"), lambda: scene.store.stat("small")):
        first = len(proxy.seen)
        with pytest.raises(StoreError, match="answers were cut off") as raised:
            act()
        assert "firewall" in raised.value.advice
        assert len(proxy.seen) - first == RETRIES + 1
