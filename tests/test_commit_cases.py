"""Stores that are not Amazon's: refused checksum trailers, and ETags that are no hashes.

Cases 29 and 31 of the collection: what happened to others who stored results at night.
"""

from __future__ import annotations

import hashlib
import re
from uuid import uuid4

import pytest

from nightmill.errors import FencedError, StoreConflict, StoreError
from nightmill.store.decision import prepare
from nightmill.store.keys import output_key
from nightmill.store.open import open_store
from nightmill.store.pointer import Move, commit
from nightmill.store.versions import find_versions
from tests.s3_proxy import run_proxy, write_certificate
from tests.stored_versions import (
    DAY,
    PIPELINE,
    add_version,
    current,
    make_pointer,
    prefix_of,
    read_current_bytes,
)

MIB = 1 << 20
REFUSALS = [(400, "InvalidRequest", "no"), (401, "Unauthorized", "no")]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Write the certificate of a server on loopback."""
    return write_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture(params=REFUSALS, ids=lambda refusal: str(refusal[0]))
def picky_url(request, s3_server, act_as, certificate, monkeypatch):
    """Name a store behind TLS, where alone boto3 sends trailers, that refuses every trailer."""
    act_as("admin")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with run_proxy(s3_server.endpoint, certificate=certificate) as proxy:
        proxy.answer = lambda one: request.param if "x-amz-trailer" in one.headers else None
        url = s3_server.url(uuid4().hex).replace(s3_server.endpoint, proxy.endpoint)
        yield url, proxy


@pytest.fixture
def lying(s3_server, act_as):
    """Run a proxy that tells an ETag like a hash for every object, and name a store behind it."""
    act_as("admin")
    with run_proxy(s3_server.endpoint) as proxy:
        proxy.lies = True
        prefix = uuid4().hex
        url = s3_server.url(prefix).replace(s3_server.endpoint, proxy.endpoint)
        yield open_store(url, base=None), prefix


# -- case 29 ------------------------------------------------------------------------------------


def test_refused_trailers_are_never_sent(picky_url, tmp_path):
    """As it is set up, a store that refuses trailers takes all, and holds the very same bytes."""
    url, _proxy = picky_url
    stores = open_store(url, base=tmp_path), open_store("store", base=tmp_path)
    found = []
    for store in stores:
        store.preflight()
        for name, size in (("small", 1024), ("large", 9 * MIB)):
            source = tmp_path / name
            source.write_bytes(bytes(range(256)) * (size // 256))
            stored = store.put_file(f"files/{name}", source)
            store.get_file(f"files/{name}", tmp_path / "back", sha256=stored.sha256)
            assert (tmp_path / "back").read_bytes() == source.read_bytes()
            found.append((name, stored.size, stored.sha256))
        add_version(store, 1)
        assert read_current_bytes(store)["scores"]
    assert found[:2] == found[2:]


def test_a_setting_that_is_refused_is_named_by_day(picky_url, cli):
    """`nightmill probe` finds it before the night, and blames the setting, not the credentials."""
    url, proxy = picky_url
    assert cli("probe", url).code == 0
    proxy.seen.clear()
    ended = cli("probe", f"{url}&checksums=when_supported")
    assert any("x-amz-trailer" in request.headers for request in proxy.seen), "the test tests that"
    assert ended.code == 1
    assert "checksums=when_required" in ended.err
    assert ended.err.index("checksums=when_required") < ended.err.index("credentials")


# -- case 31 ------------------------------------------------------------------------------------


def test_hashes_are_of_the_bytes_whatever_the_etag(lying, tmp_path):
    """Large or small, the record's hash is of the bytes, and an ETag like a hash is none."""
    store, _prefix = lying
    for name, size in (("small", 1024), ("large", 40 * MIB)):
        source = tmp_path / name
        source.write_bytes(bytes(range(256)) * (size // 256))
        stored = store.put_file(f"files/{name}", source)
        data = source.read_bytes()
        assert stored.sha256 == hashlib.sha256(data).hexdigest()
        assert re.fullmatch(r'"[0-9a-f]{32}"', stored.etag)
        assert stored.etag.strip('"') != hashlib.md5(data, usedforsecurity=False).hexdigest()
        store.get_file(f"files/{name}", tmp_path / "back", sha256=stored.sha256)
        assert (tmp_path / "back").read_bytes() == data


def test_the_same_bytes_are_the_same_version(lying, monkeypatch):
    """Uploaded in parts of another size the ETag differs, and the bytes count as unchanged."""
    store, _prefix = lying
    files = {"scores": {"scores.parquet": bytes(range(256)) * (12 * MIB // 256)}}
    first = add_version(store, 1, files=files)
    monkeypatch.setattr("nightmill.store.s3._PART_BYTES", 5 * MIB)
    second = add_version(store, 2, files=files)
    etags = {record.outputs["scores"].files[0].etag for record in (first, second)}
    assert len(etags) == 2
    newer, older = find_versions(store, PIPELINE, "scores", DAY)[0].found
    assert newer.digest == older.digest


def test_a_damaged_object_with_a_right_looking_etag_is_found(lying, s3_server, tmp_path):
    """Bytes that changed under a plausible ETag are noticed by whoever reads, or goes back."""
    store, prefix = lying
    first = add_version(store, 1)
    add_version(store, 2)
    (file,) = first.outputs["scores"].files
    key = output_key(prefix_of(1), "scores", file.path)
    good = store.read(key)
    bad = bytes([good.data[0] ^ 1]) + good.data[1:]
    s3_server.client().put_object(Bucket=s3_server.bucket, Key=f"{prefix}/{key}", Body=bad)
    assert re.fullmatch(r'"[0-9a-f]{32}"', store.read(key).etag)
    with pytest.raises(StoreError, match=file.sha256):
        store.get_file(key, tmp_path / "f", sha256=file.sha256)
    assert not (tmp_path / "f").exists()
    found = find_versions(store, PIPELINE, "scores", DAY)[0]
    with pytest.raises(StoreError, match="other bytes than were committed"):
        prepare(store, found.choose("run-1"), found.current, Move(kind="rollback", by="ann"))


def test_commits_are_safe_with_any_etag(lying):
    """An ETag need only change with the object: conditions hold, and older attempts are fenced."""
    store, _prefix = lying
    add_version(store, 5)
    newer = commit(store, make_pointer(6, outputs={}))
    with pytest.raises(FencedError):
        commit(store, make_pointer(5, 2, outputs={}))
    with pytest.raises(StoreConflict):
        store.write_if(newer.key, b"", etag='"00000000000000000000000000000000"')
    assert current(store) == newer
