"""A real S3 server for tests: on loopback for most, on the cluster's bridge for pods."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "nightmill-tests"
START_TIMEOUT_S = 60
PORTS = ("s3", "master", "filer", "volume", "admin")


@dataclass(frozen=True)
class S3Server:
    """A running S3 server: its endpoint, and an identity for each set of rights.

    `admin` may do everything; `reader` may read and list; `writer` may only write and delete.
    Every identity's access key is its name, and the secret is its name and "-secret".
    """

    endpoint: str
    bucket: str = BUCKET

    def url(self, prefix: str, **settings: object) -> str:
        """Name a store below a prefix of the bucket."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        base = f"s3://{self.bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"
        return f"{base}&{query}" if query else base

    @property
    def credentials(self) -> dict[str, str]:
        """The environment in which AWS's tools act as the admin, and look nowhere else."""
        return {
            "AWS_ACCESS_KEY_ID": "admin",
            "AWS_SECRET_ACCESS_KEY": "admin-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(self):
        """Make a plain client of the admin's, to look at what is really there."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="admin",
            aws_secret_access_key="admin-secret",
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
            ),
        )


def _free_ports(address: str, count: int) -> list[int]:
    """Find free ports of an address; all are held until the last is found, so they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((address, 0))
        return [each.getsockname()[1] for each in sockets]


def _identities() -> str:
    rights = {
        "admin": ["Admin", "Read", "List", "Tagging", "Write"],
        "reader": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        "writer": [f"Write:{BUCKET}"],
    }
    return json.dumps(
        {
            "identities": [
                {
                    "name": name,
                    "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}],
                    "actions": actions,
                }
                for name, actions in rights.items()
            ]
        }
    )


def _command(directory: Path, address: str, ports: dict[str, int]) -> list[str]:
    weed = Path(sys.executable).with_name("weed")
    identities = directory / "identities.json"
    identities.write_text(_identities())
    # Every port is given, and every socket lies in the directory: several servers run side by side.
    return [
        str(weed),
        "mini",
        f"-dir={directory}",
        f"-ip={address}",
        f"-ip.bind={address}",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-s3.autoCreateBucket=false",
        f"-s3.config={identities}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={directory}/s3.sock",
        f"-filer.localSocket={directory}/filer.sock",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]


class ServerProcess:
    """The server's process, which can be killed and started again over the same data."""

    def __init__(self, directory: Path, address: str) -> None:
        names = [*(f"{name}.port" for name in PORTS), *(f"{name}.port.grpc" for name in PORTS)]
        ports = dict(zip(names, _free_ports(address, len(names)), strict=True))
        self.server = S3Server(f"http://{address}:{ports['s3.port']}")
        self._command = _command(directory, address, ports)
        self._log = directory / "log"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and return when it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._last_words()
            try:
                self._try()
            except (BotoCoreError, ClientError):
                time.sleep(0.1)  # a poll with a deadline
            else:
                return
        pytest.fail(f"the S3 server was not ready in {START_TIMEOUT_S} s:\n{self._last_words()}")

    def kill(self) -> None:
        """End it by SIGKILL, as a machine that is lost would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _try(self) -> None:
        client = self.server.client()
        try:
            client.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if not error.response["Error"]["Code"].startswith("BucketAlready"):
                raise
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"")

    def _last_words(self) -> str:
        return self._log.read_text()[-4000:]


@contextmanager
def run_server_process(address: str) -> Iterator[ServerProcess]:
    """Run a server that can be killed on free ports of an address of this machine."""
    directory = Path(tempfile.mkdtemp(prefix="nm-s3-"))  # short: socket paths have 107 characters
    process = ServerProcess(directory, address)
    try:
        process.start()
        yield process
    finally:
        process.kill()  # nothing of it is kept, so it need not tidy up
    shutil.rmtree(directory)


@contextmanager
def run_s3_server(address: str) -> Iterator[S3Server]:
    """Run a server on free ports of an address of this machine; nothing of it is kept."""
    with run_server_process(address) as process:
        yield process.server
