"""A proxy before the real S3 server that misbehaves as networks and other servers do."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CHECKSUMS = ("x-amz-checksum-", "x-amz-sdk-checksum-", "x-amz-trailer")
ADDRESS = "127.0.0.1"

Canned = tuple[int, str, str]  # a status, an S3 code and a message
Answer = tuple[int, dict[str, str], bytes]


class Fault(StrEnum):
    """What may happen to a request on its way."""

    LOSE_REQUEST = "the request never arrives"
    LOSE_REPLY = "the reply never arrives"
    CUT_REPLY = "half of the reply arrives, or another share"
    DOUBLE = "the request arrives twice"
    DELAY = "the request arrives late"


@dataclass(frozen=True)
class Request:
    """A request as the proxy saw it; `number` counts them from 0."""

    number: int
    command: str
    path: str
    headers: Message

    @property
    def is_conditional(self) -> bool:
        """Whether it asks that something still be as it was."""
        return "If-None-Match" in self.headers or "If-Match" in self.headers

    @property
    def has_checksum(self) -> bool:
        """Whether it carries a checksum that S3 alone knows."""
        return any(name.lower().startswith(CHECKSUMS) for name in self.headers)


class Proxy(ThreadingHTTPServer):
    """Passes requests on to the S3 server, remembers them, and can misbehave.

    `answer(request)` may return what is answered in the server's place, `fault(request)` what
    happens on the way; `served(request)` is told when a request that loses its reply has taken
    effect. With `lies`, every ETag is replaced by one that looks like a hash and has nothing to do
    with the content.
    """

    daemon_threads = True
    request_queue_size = 64
    delay_s = 0.3
    cut_share = 0.5

    def __init__(self, upstream: str = "", *, scheme: str = "http") -> None:
        super().__init__((ADDRESS, 0), _ProxyHandler)
        self.upstream = upstream
        self.endpoint = f"{scheme}://{ADDRESS}:{self.server_port}"
        self.seen: list[Request] = []
        self.answer: Callable[[Request], Canned | None] = lambda _request: None
        self.fault: Callable[[Request], Fault | None] = lambda _request: None
        self.served: Callable[[Request], None] = lambda _request: None
        self.lies = False
        self.lock = threading.Lock()
        self.real_etags: dict[str, str] = {}

    def handle_error(self, request, client_address):
        """Say nothing: clients hang up on purpose here."""


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _handle(self):
        body = self._read_body()
        with self.server.lock:
            request = Request(len(self.server.seen), self.command, self.path, self.headers)
            self.server.seen.append(request)
        if canned := self.server.answer(request):
            self._reply(_error_answer(*canned))
            return
        match self.server.fault(request):
            case Fault.LOSE_REQUEST:
                self.close_connection = True
            case Fault.LOSE_REPLY:
                self._forward(body)
                self.server.served(request)
                self.close_connection = True
            case Fault.CUT_REPLY:
                self._reply(self._forward(body), share=self.server.cut_share)
            case Fault.DOUBLE:
                self._forward(body)
                self._reply(self._forward(body))
            case Fault.DELAY:
                time.sleep(self.server.delay_s)
                self._reply(self._forward(body))
            case None:
                self._reply(self._forward(body))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 - named by http.server

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, body: bytes) -> Answer:
        hop_by_hop = {"expect", "connection", "transfer-encoding", "content-length"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in hop_by_hop}
        if self.server.lies:
            headers = self._with_real_etags(headers, body)
        address = urlsplit(self.server.upstream).netloc
        with closing(http.client.HTTPConnection(address, timeout=30)) as upstream:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            data = answer.read()
        dropped = {"transfer-encoding", "connection"}
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
        if self.server.lies and "partNumber=" not in self.path:  # those go back in a body
            kept = {k: self._lie(v) if k.lower() == "etag" else v for k, v in kept.items()}
        return answer.status, kept, data

    def _lie(self, etag: str) -> str:
        told = f'"{hashlib.md5(b"lie" + etag.encode(), usedforsecurity=False).hexdigest()}"'
        self.server.real_etags[told] = etag
        return told

    def _with_real_etags(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """Translate the condition back, and sign anew: the signature is of the headers too."""
        names = ("If-Match", "x-amz-copy-source-if-match")
        told = {name: headers[name] for name in names if name in headers}
        if not told:
            return headers
        real = {name: self.server.real_etags.get(etag, etag) for name, etag in told.items()}
        url = self.server.upstream + self.path
        plain = {k: v for k, v in (headers | real).items() if k not in {"Authorization", "Host"}}
        request = AWSRequest(method=self.command, url=url, headers=plain, data=body)
        S3SigV4Auth(Credentials("admin", "admin-secret"), "s3", "us-east-1").add_auth(request)
        return {**request.headers, "Host": urlsplit(url).netloc}

    def _reply(self, answer: Answer, *, share: float = 1) -> None:
        status, headers, data = answer
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}"]
        length = {"Content-Length": str(len(data))}
        lines += [f"{name}: {value}" for name, value in (length | headers).items()]
        body = b"" if self.command == "HEAD" else data
        whole = "\r\n".join([*lines, "", ""]).encode() + body
        self.wfile.write(whole[: int(len(whole) * share)])
        if share < 1:
            self.close_connection = True

    def log_message(self, *_arguments):
        """Keep the test's output clean."""


def _error_answer(status: int, code: str, message: str) -> Answer:
    region = {"x-amz-bucket-region": "eu-west-1"} if status == 301 else {}
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return status, {"Content-Type": "application/xml"} | region, body


@contextmanager
def run_proxy(upstream: str, *, certificate: Path | None = None) -> Iterator[Proxy]:
    """Run a proxy before a server; it speaks TLS where it is given a certificate with its key."""
    with Proxy(upstream, scheme="https" if certificate else "http") as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def write_certificate(path: Path) -> Path:
    """Write a certificate for loopback, and its key, into one PEM file; it is its own authority."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ip_address(ADDRESS))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(addresses, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, kind, plain) + certificate.public_bytes(pem))
    return path
