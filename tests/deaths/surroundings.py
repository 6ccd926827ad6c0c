"""What surrounds a run: real limits of memory and processes, a tiny disk, a store that goes away.

Each is a context manager that gives a `Surrounding`; it skips the test where this machine cannot
make such a thing.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.s3_server import S3Server

MEMORY_BYTES = 400 << 20
PROCESSES = 200
DISK = "4m"
_JOIN = 'for place in $NM_DEATH_CGROUPS; do echo 0 > "$place"; done; exec "$@"'


@dataclass(frozen=True)
class Ground:
    """What this machine offers: a folder of the run's own, and a real S3 server."""

    folder: Path
    s3: S3Server


@dataclass(frozen=True)
class Surrounding:
    """How to start a run in it, and where its store is: `store` is "" for the project's own."""

    ground: Ground
    wrap: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    store: str = ""
    prefix: str = ""
    gate: Gate | None = None

    def read_s3(self, key: str) -> bytes | None:
        """Read an object below the store's prefix, not through the gate."""
        client, bucket = self.ground.s3.client(), self.ground.s3.bucket
        with suppress(client.exceptions.NoSuchKey):
            answer = client.get_object(Bucket=bucket, Key=f"{self.prefix}/{key}")
            return answer["Body"].read()
        return None


@contextmanager
def open_field(ground: Ground) -> Iterator[Surrounding]:
    """Change nothing."""
    yield Surrounding(ground)


@contextmanager
def memory_limit(ground: Ground) -> Iterator[Surrounding]:
    """Set a limit of memory, above which processes are killed."""
    with _cgroup("memory", {"memory.limit_in_bytes": MEMORY_BYTES}) as join:
        yield Surrounding(ground, wrap=("sh", "-c", _JOIN, "sh"), env={"NM_DEATH_CGROUPS": join})


@contextmanager
def process_limit(ground: Ground) -> Iterator[Surrounding]:
    """Set a limit on the number of processes and threads, as a pod has one."""
    with _cgroup("pids", {"pids.max": PROCESSES}) as join:
        yield Surrounding(ground, wrap=("sh", "-c", _JOIN, "sh"), env={"NM_DEATH_CGROUPS": join})


@contextmanager
def _cgroup(controller: str, limits: Mapping[str, int]) -> Iterator[str]:
    folder = Path(f"/sys/fs/cgroup/{controller}/nightmill-death-{uuid4().hex[:12]}")
    try:
        folder.mkdir()
        for name, value in limits.items():
            (folder / name).write_text(str(value))
    except OSError as error:
        pytest.skip(f"no cgroup of v1 can be made here: {error}")
    try:
        yield str(folder / "cgroup.procs")
    finally:
        folder.rmdir()


@contextmanager
def tiny_disk(ground: Ground) -> Iterator[Surrounding]:
    """Give a local disk of a few megabytes to everything that a run writes."""
    mount = ground.folder / "tiny"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield Surrounding(
            ground,
            env={"NIGHTMILL_SCRATCH": str(mount), "TMPDIR": str(mount), "NM_DEATH_OUT": str(mount)},
        )
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@contextmanager
def no_kernels(ground: Ground) -> Iterator[Surrounding]:
    """Hide the kernel, as in an image in which nobody has installed it."""
    yield Surrounding(ground, env={"NIGHTMILL_KERNELS": str(ground.folder / "nowhere")})


@contextmanager
def s3_store(ground: Ground) -> Iterator[Surrounding]:
    """Put a store in S3 behind a gate that can be shut."""
    prefix = uuid4().hex
    with Gate(ground.s3.endpoint) as gate:
        env = {
            "AWS_ACCESS_KEY_ID": "admin",
            "AWS_SECRET_ACCESS_KEY": "admin-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
            "BOTO3_ENDPOINT_URL": gate.endpoint,  # papermill's own variable
        }
        store = S3Server(gate.endpoint, ground.s3.bucket).url(prefix)
        yield Surrounding(ground, env=env, store=store, prefix=prefix, gate=gate)


@contextmanager
def s3_store_away(ground: Ground) -> Iterator[Surrounding]:
    """Take the store away from the beginning."""
    with s3_store(ground) as surrounding:
        surrounding.gate.shut()
        yield surrounding


class Gate:
    """A relay before a server: while it is shut connections are cut, and new ones refused.

    `shut_at` is a pattern: the gate shuts when a client sends something that begins so.
    """

    def __init__(self, endpoint: str) -> None:
        self.shut_at = b""
        self._upstream = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self._is_open = True
        self._listen()

    @property
    def endpoint(self) -> str:
        """The address for clients."""
        return f"http://{self._address[0]}:{self._address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.shut()

    def open(self) -> None:
        """Let connections through again, at the same address."""
        with self._lock:
            if not self._is_open:
                self._is_open = True
                self._listener = socket.create_server(self._address)
                self._listen()

    def shut(self) -> None:
        """Refuse new connections and cut those that are open."""
        with self._lock:
            self._is_open = False
            for one in (self._listener, *(end for pair in self._pairs for end in pair)):
                with suppress(OSError):  # it is closed by the thread that this wakes
                    one.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, suppress(OSError):  # shut
            while True:
                client, _address = listener.accept()
                pair = (client, socket.create_connection(self._upstream))
                with self._lock:
                    self._pairs.append(pair)
                threading.Thread(target=self._relay, args=pair, daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError), selectors.DefaultSelector() as selector:
            for one, other in ((client, server), (server, client)):
                selector.register(one, selectors.EVENT_READ, other)
            while self._passed_on(selector, client):
                pass
        with self._lock:
            self._pairs.remove((client, server))

    def _passed_on(self, selector: selectors.BaseSelector, client: socket.socket) -> bool:
        for key, _mask in selector.select():
            data = key.fileobj.recv(1 << 16)
            if key.fileobj is client and self.shut_at and re.match(self.shut_at, data):
                self.shut()
                return False
            if not data:
                return False
            key.data.sendall(data)
        return True
