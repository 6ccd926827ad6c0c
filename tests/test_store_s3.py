"""The S3 store against a real server, and against networks and servers that misbehave."""

from __future__ import annotations

import hashlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from nightmill.errors import StoreConflict, StoreError
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit, read_pointer
from tests.s3_proxy import Fault, run_proxy

MIB = 2**20


@pytest.fixture
def proxy(s3_server):
    """Run a proxy before the S3 server that a test can make misbehave."""
    with run_proxy(s3_server.endpoint) as server:
        yield server


@pytest.fixture
def open_s3(s3_server, act_as, tmp_path):
    """Return a function that opens a store of this test's own, with settings of its choice."""
    prefix = uuid4().hex

    def open_it(identity="admin", *, bucket="", **settings):
        act_as(identity)
        url = s3_server.url(prefix)
        for name, value in settings.items():
            url = url.replace(f"endpoint={s3_server.endpoint}&", "") if name == "endpoint" else url
            url += f"&{name}={value}"
        return open_store(url.replace(s3_server.bucket, bucket or s3_server.bucket), base=tmp_path)

    return open_it


def head(s3_server, store, key):
    """Ask the server itself what it has of an object."""
    full = store.address(key).removeprefix(f"s3://{s3_server.bucket}/")
    return s3_server.client().head_object(Bucket=s3_server.bucket, Key=full)


def test_addresses_are_plain_s3_uris(open_s3):
    """An address is what pandas or DuckDB open; nothing of it lies on this machine."""
    store = open_s3()
    assert store.address("a/b~3A").startswith("s3://nightmill-tests/")
    assert store.address("a/b~3A").endswith("/a/b~3A")
    assert "?" not in store.address("a")
    assert store.local_path("a") is None


def test_a_multipart_upload_is_hashed_by_its_bytes(open_s3, s3_server, tmp_path):
    """The hash of a large file is of its bytes, though its etag is of no bytes at all."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * (40 * 4096))
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    store = open_s3()
    stored = store.put_file("big.parquet", source)
    assert stored.size == 40 * 2**20
    assert stored.sha256 == sha256
    assert stored.etag.strip('"').endswith("-5"), "40 MiB are five parts of 8 MiB"
    store.get_file("big.parquet", target, sha256=sha256)
    assert target.read_bytes() == source.read_bytes()

    etag = head(s3_server, store, "big.parquet")["ETag"]
    key = store.address("big.parquet").split("/", 3)[3]
    s3_server.client().upload_file(str(source), s3_server.bucket, key)  # in parts of another number
    store.get_file("big.parquet", target, sha256=sha256)
    assert stored.etag == etag


@pytest.mark.parametrize(("size", "requests"), [(0, ["PUT"]), (1000, ["PUT"]), (9 * MIB, None)])
def test_a_small_file_is_one_request(open_s3, proxy, tmp_path, size, requests):
    """Its own answer tells the etag; only after many parts somebody looks what is there."""
    source, moved = tmp_path / "source", []
    source.write_bytes(bytes(size))
    store = open_s3(endpoint=proxy.endpoint)
    stored = store.put_file("f", source, moved=moved.append)
    seen = [request.command for request in proxy.seen]
    assert seen == (requests or ["POST", "PUT", "PUT", "POST", "HEAD"])
    assert stored.etag == store.stat("f").etag
    assert (stored.size, sum(moved)) == (size, size)


@pytest.mark.parametrize(("size", "method"), [(5, "put_object"), (8 * MIB, "upload_fileobj")])
def test_a_file_that_grows_while_it_is_sent_is_described_as_sent(
    open_s3, tmp_path, monkeypatch, size, method
):
    """Size and hash are of the bytes in the store, also when the file changes meanwhile."""
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    store = open_s3()
    upload, grown = getattr(store._client, method), []

    def grow_then_upload(*arguments, **options):
        source.write_bytes(bytes(size) + b" and more")
        grown.append(True)
        return upload(*arguments, **options)

    monkeypatch.setattr(store._client, method, grow_then_upload)
    stored = store.put_file("f", source)
    assert grown
    assert stored.sha256 == hashlib.sha256(store.read("f").data).hexdigest()
    assert stored.size == len(store.read("f").data)


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("record.json", "application/json"),
        ("notebook.ipynb", "application/x-ipynb+json"),
        ("scores.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_objects_have_content_types(open_s3, s3_server, tmp_path, key, content_type):
    """Browsers and tools are told what an object is, however it was written."""
    (tmp_path / "f").write_bytes(b"{}")
    store = open_s3()
    store.write(f"a/{key}", b"{}")
    store.put_file(f"b/{key}", tmp_path / "f")
    types = {head(s3_server, store, f"{prefix}/{key}")["ContentType"] for prefix in "ab"}
    assert types == {content_type}


def test_listings_of_many_objects_are_whole(open_s3):
    """More objects than one answer holds are all listed, and named once each."""
    store = open_s3()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.write(f"p/{number:04}", b""), range(1005)))
    expected = [f"{number:04}" for number in range(1005)]
    assert [entry.key for entry in store.list("p")] == [f"p/{name}" for name in expected]
    assert store.children("p") == expected
    assert [entry.key for entry in store.list("p", start_after="p/1002")] == ["p/1003", "p/1004"]


def test_encryption_goes_with_every_upload_and_no_acl(open_s3, proxy, tmp_path):
    """SSE and key stand on single and multipart uploads; an ACL stands on none."""
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "big").write_bytes(bytes(9 * 2**20))
    proxy.answer = lambda _request: (400, "InvalidRequest", "no keys here")
    store = open_s3(endpoint=proxy.endpoint, sse="aws:kms", kms_key_id="key-1", retries=0)
    for act in (
        lambda: store.write("a", b"x"),
        lambda: store.write_if("b", b"x", etag=None),
        lambda: store.put_file("c", tmp_path / "small"),
        lambda: store.put_file("d", tmp_path / "big"),
    ):
        with pytest.raises(StoreError):
            act()
    assert [request.command for request in proxy.seen] == ["PUT", "PUT", "PUT", "POST"]
    for request in proxy.seen:
        assert request.headers["x-amz-server-side-encryption"] == "aws:kms"
        assert request.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
        assert not any("acl" in name.lower() or "grant" in name.lower() for name in request.headers)


def test_encrypted_objects_come_back(open_s3, s3_server, tmp_path):
    """With sse=AES256 the server encrypts, and everything reads as it was written."""
    source = tmp_path / "big"
    source.write_bytes(bytes(range(256)) * 40_000)
    store = open_s3(sse="AES256")
    stored = store.put_file("big", source)
    store.get_file("big", tmp_path / "target", sha256=stored.sha256)
    assert head(s3_server, store, "big")["ServerSideEncryption"] == "AES256"
    store.preflight()


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_no_checksum_is_sent_unless_asked_for(open_s3, proxy, tmp_path, method):
    """By default no checksum header is sent, which stores that are not Amazon's refuse."""
    (tmp_path / "big").write_bytes(bytes(9 * 2**20))
    for checksums, expected in (("when_required", False), ("when_supported", True)):
        proxy.seen.clear()
        store = open_s3(endpoint=proxy.endpoint, checksums=checksums)
        store.put_file("f", tmp_path / "big")
        sent = [request.has_checksum for request in proxy.seen if request.command == method]
        assert any(sent) is expected


@pytest.mark.parametrize(("status", "code"), [(400, "InvalidRequest"), (401, "Unauthorized")])
def test_refused_checksums_are_named(open_s3, proxy, status, code):
    """A store that refuses checksums, even as "unauthorized", makes us name that setting."""
    proxy.answer = lambda request: (status, code, "no") if request.has_checksum else None
    open_s3(endpoint=proxy.endpoint).preflight()
    with pytest.raises(StoreError) as raised:
        open_s3(endpoint=proxy.endpoint, checksums="when_supported").preflight()
    assert "checksums=when_required" in raised.value.advice


def test_a_commit_whose_reply_is_lost_is_made_once(open_s3, proxy):
    """The SDK repeats a conditional PUT whose reply was lost and is told 412: the commit stands."""
    dropped = []

    def drop_first(request):
        if request.is_conditional and not dropped:
            dropped.append(request)
            return Fault.LOSE_REPLY
        return None

    proxy.fault = drop_first
    store = open_s3(endpoint=proxy.endpoint)
    pointer = Pointer(
        pipeline="p",
        step="s",
        partition="d",
        run="r",
        token=Token(order=1, attempt=1),
        attempt_prefix="x",
        outputs={},
    )
    assert commit(store, pointer) == pointer
    assert len([request for request in proxy.seen if request.is_conditional]) == 2
    assert read_pointer(store, "p", "s", "d") == pointer


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (412, "PreconditionFailed"),
        (409, "ConditionalRequestConflict"),
        (404, "NoSuchKey"),
    ],
)
def test_refused_conditions_are_conflicts(open_s3, proxy, status, code):
    """All answers by which S3 refuses a condition are the one StoreConflict."""
    proxy.answer = lambda _request: (status, code, "no")
    with pytest.raises(StoreConflict):
        open_s3(endpoint=proxy.endpoint, retries=0).write_if("k", b"", etag='"e"')


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, "AccessDenied", "no"), "s3:PutObject"),
        ((403, "AccessDenied", "not authorized to perform kms:GenerateDataKey"), "kms:Generate"),
        ((403, "ExpiredToken", "old"), "expired"),
        ((403, "RequestTimeTooSkewed", "late"), "clock"),
        ((301, "PermanentRedirect", "elsewhere"), "region"),
        ((400, "AuthorizationHeaderMalformed", "expecting 'eu-west-1'"), "region"),
        ((400, "InvalidRequest", "Content-MD5 is required"), "checksums=when_supported"),
        ((400, "KeyTooLongError", "long"), "shorten"),
        ((503, "SlowDown", "busy"), "retries="),
        ((418, "Teapot", "short and stout"), "short and stout"),
        ((507, "QuotaExceeded", "full"), "quota"),
    ],
)
def test_refusals_say_what_to_do(open_s3, proxy, answer, says):
    """Whatever S3 answers becomes a StoreError with address, operation and advice."""
    proxy.answer = lambda _request: answer
    store = open_s3(endpoint=proxy.endpoint, retries=0)
    with pytest.raises(StoreError) as raised:
        store.write("record.json", b"{}")
    assert not isinstance(raised.value, StoreConflict)
    assert says in str(raised.value)
    assert raised.value.advice
    assert (raised.value.operation, raised.value.address) == ("write", store.address("record.json"))


def test_a_busy_store_is_asked_again(open_s3, proxy):
    """A store that is busy for a moment fails nothing."""
    busy = iter([True, True])
    proxy.answer = lambda _request: (503, "SlowDown", "busy") if next(busy, False) else None
    open_s3(endpoint=proxy.endpoint).write("k", b"x")
    assert len(proxy.seen) == 3


@pytest.mark.parametrize("times", [1, 3])
def test_an_object_that_is_cut_off_is_read_again(open_s3, proxy, times):
    """A reply that ends in the middle of the bytes is no object: it is asked for again."""
    store = open_s3(endpoint=proxy.endpoint)
    store.write("k", b"x" * 100_000)
    cuts = iter([Fault.CUT_REPLY] * times)
    proxy.fault = lambda _request: next(cuts, None)
    assert store.read("k").data == b"x" * 100_000
    assert [request.command for request in proxy.seen] == ["PUT", *["GET"] * (times + 1)]


def test_an_object_that_is_always_cut_off_is_an_error(open_s3, proxy):
    """What cannot be read whole in the tries that the settings allow is an error, and no object."""
    store = open_s3(endpoint=proxy.endpoint, retries=1)
    store.write("k", b"x" * 100_000)
    proxy.fault = lambda _request: Fault.CUT_REPLY
    with pytest.raises(StoreError) as raised:
        store.read("k")
    assert raised.value.advice
    assert len(proxy.seen) == 3


@pytest.mark.parametrize(
    ("identity", "secret", "says"),
    [
        ("admin", "wrong", "signature does not match"),
        ("nobody", "nothing", "access key is unknown"),
    ],
)
def test_wrong_credentials_are_named(open_s3, act_as, identity, secret, says):
    """A wrong secret and an unknown key are told apart, and neither is repeated."""
    store = open_s3()
    act_as(identity, secret)
    again = open_store(store.url, base=None)
    with pytest.raises(StoreError, match=says) as raised:
        again.read("k")
    assert secret not in str(raised.value)
    assert "AWS_ACCESS_KEY_ID" in raised.value.advice


def test_no_credentials_are_named(open_s3, monkeypatch, tmp_path):
    """Without any credentials the error says where to put them."""
    url = open_s3().url
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="no credentials"):
        open_store(url, base=tmp_path).read("k")


def test_an_unknown_profile_is_named(open_s3):
    """A profile that does not exist is an error when the store is opened."""
    with pytest.raises(StoreError, match="no such AWS profile") as raised:
        open_s3(profile="nightly")
    assert "nightly" in str(raised.value)


def test_a_missing_bucket_is_no_missing_object(open_s3, tmp_path):
    """In a bucket that is not there nothing is read as "not committed": it is an error."""
    store = open_s3(bucket="nightmill-missing")
    for act in (
        lambda: store.read("k"),
        lambda: store.write("k", b""),
        lambda: store.write_if("k", b"", etag=None),
        lambda: list(store.list("")),
        lambda: store.children(""),
        store.preflight,
    ):
        with pytest.raises(StoreError, match="no such bucket") as raised:
            act()
        assert not isinstance(raised.value, StoreConflict)
    with pytest.raises(StoreError, match="bucket"):
        store.get_file("k", tmp_path / "f")


def test_a_missing_right_is_named(open_s3, tmp_path):
    """Reading without the right is an error and not None; each refusal names its right."""
    (tmp_path / "f").write_bytes(b"x")
    open_s3().write("k", b"x")
    reader, writer = open_s3("reader"), open_s3("writer")
    cases = [
        (lambda: writer.read("k"), "s3:GetObject"),
        (lambda: writer.get_file("k", tmp_path / "g"), "s3:GetObject"),
        (lambda: writer.children(""), "s3:ListBucket"),
    ]
    for act, right in cases:
        with pytest.raises(StoreError, match=f"the right {right} is missing") as raised:
            act()
        assert f"grant {right}" in raised.value.advice
    reader = open_s3("reader")
    for act, right in [
        (lambda: reader.write("k", b""), "s3:PutObject"),
        (lambda: reader.put_file("k", tmp_path / "f"), "s3:PutObject"),
        (lambda: reader.delete("k"), "s3:DeleteObject"),
        (reader.preflight, "s3:PutObject"),
    ]:
        with pytest.raises(StoreError, match=f"the right {right} is missing"):
            act()
    assert reader.read("k").data == b"x"


def test_preflight_finds_a_missing_right_to_read(open_s3, s3_server):
    """A store that may be written and not read is found before the night, and left clean."""
    writer = open_s3("writer")
    with pytest.raises(StoreError, match="s3:GetObject"):
        writer.preflight()
    prefix = writer.address("k").split("/")[3]
    assert "Contents" not in s3_server.client().list_objects_v2(
        Bucket=s3_server.bucket, Prefix=f"{prefix}/"
    )


def test_a_dead_endpoint_is_an_error_in_time(open_s3):
    """Where nothing listens, the default settings end within 30 seconds and say so."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        store = open_s3(endpoint=f"http://127.0.0.1:{reserved.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(StoreError, match="endpoint does not answer") as raised:
            store.read("k")
    assert time.monotonic() - started < 30
    assert "port" in raised.value.advice


def test_a_mute_endpoint_fails_the_preflight_in_time(open_s3):
    """A preflight ends within 30 seconds on a mute endpoint, however patient the settings."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        store = open_s3(endpoint=f"http://127.0.0.1:{mute.getsockname()[1]}", retries=10)
        started = time.monotonic()
        with pytest.raises(StoreError, match="endpoint does not answer"):
            store.preflight()
    assert time.monotonic() - started < 30


def test_tls_to_a_plain_port_is_named(open_s3, proxy):
    """TLS to a server that speaks plain http is told as what it is."""
    store = open_s3(endpoint=proxy.endpoint.replace("http:", "https:"), retries=0)
    with pytest.raises(StoreError, match="TLS connection failed") as raised:
        store.read("k")
    assert "AWS_CA_BUNDLE" in raised.value.advice


def test_the_endpoint_may_come_from_the_environment(open_s3, s3_server, monkeypatch, tmp_path):
    """AWS_ENDPOINT_URL_S3 works as for every AWS tool, and the bucket goes into the path."""
    store = open_s3()
    store.write("k", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint.replace("127.0.0.1", "localhost"))
    url = f"{store.url.partition('?')[0]}?region=us-east-1"
    assert open_store(url, base=tmp_path).read("k").data == b"x"


def test_folders_made_in_a_console_are_no_children(open_s3, s3_server):
    """The empty object that a web console makes for a folder has no name among the children."""
    store = open_s3()
    store.write("runs/a", b"")
    marker = store.address("runs").split("/", 3)[3] + "/"
    s3_server.client().put_object(Bucket=s3_server.bucket, Key=marker, Body=b"")
    assert store.children("runs") == ["a"]


def test_a_bucket_root_can_be_a_store(open_s3, s3_server, tmp_path):
    """A store without prefix keeps the same promises."""
    open_s3()
    store = open_store(s3_server.url(""), base=tmp_path)
    name = uuid4().hex
    store.write(f"{name}/k", b"x")
    assert store.address(f"{name}/k") == f"s3://{s3_server.bucket}/{name}/k"
    assert [entry.key for entry in store.list(name)] == [f"{name}/k"]
    assert name in store.children("")
