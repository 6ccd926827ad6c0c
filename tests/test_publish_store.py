"""What publishing asks of a store: looks and copies inside it, on conditions."""

import os
from uuid import uuid4

import pytest

from nightmill.errors import StoreConflict
from nightmill.store import s3_copy
from nightmill.store.interface import Stat
from nightmill.store.open import open_store
from tests.s3_proxy import run_proxy


@pytest.fixture
def source(store, tmp_path):
    """Store a small file."""
    (tmp_path / "file").write_bytes(b"hi there\n")
    return store.put_file("runs/file", tmp_path / "file")


def test_a_copy_is_whole_and_notes_its_hash(store, source):
    """What was copied has the source's bytes, and a look tells their hash without fetching them."""
    assert store.stat("data/file") is None
    store.copy_if("data/file", source, etag=None)
    assert store.read("data/file").data == b"hi there\n"
    seen = store.stat("data/file")
    assert seen == Stat(store.read("data/file").etag, source.sha256)


def test_a_copy_replaces_only_what_was_seen(store, source):
    """Neither a stale etag nor the wish for nothing lets a copy replace what is there."""
    first = store.write("data/file", b"first")
    store.write("data/file", b"second")
    for etag in (first, None):
        with pytest.raises(StoreConflict):
            store.copy_if("data/file", source, etag=etag)
    assert store.read("data/file").data == b"second"
    store.copy_if("data/file", source, etag=store.stat("data/file").etag)
    assert store.read("data/file").data == b"hi there\n"


def test_a_copy_in_a_directory_is_made_apart(tmp_path, monkeypatch):
    """Until it is whole, nothing of a copy is in the folder: polars takes every file for data."""
    store, seen = open_store("store", base=tmp_path), []
    (tmp_path / "file").write_bytes(b"x")
    source = store.put_file("runs/file", tmp_path / "file")
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda one: (seen.append(list(data.rglob("*"))), sync(one)))
    data = tmp_path / "store" / "data"
    store.copy_if("data/file", source, etag=None)
    store.copy_if("data/file", source, etag=source.sha256)
    assert seen[0] == []
    assert all(set(one) <= {data / "file"} for one in seen)
    assert len(seen) == 4  # of each copy, the file itself and its folder


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_copy_takes_only_the_bytes_that_were_stored(store, source, change):
    """A source that is gone or altered since is a conflict, and nothing is written."""
    store.delete(source.key)
    if change == "other":
        store.write(source.key, b"other")
    with pytest.raises(StoreConflict):
        store.copy_if("data/file", source, etag=None)
    assert store.stat("data/file") is None


@pytest.mark.parametrize("large_bytes", [1 << 20, 256 << 20])
def test_a_store_that_was_moved_is_copied_from(
    s3_url, s3_server, tmp_path, monkeypatch, large_bytes
):
    """Bytes that came into S3 in other parts have another etag, and are the same all the same."""
    monkeypatch.setattr(s3_copy, "_LARGE_BYTES", large_bytes)
    store, content = open_store(s3_url, base=tmp_path), bytes(range(256)) * ((9 << 20) // 256)
    (tmp_path / "file").write_bytes(content)
    source = store.put_file("runs/file", tmp_path / "file")
    put_whole(s3_server, store, source.key, content)
    assert store.read(source.key).etag != source.etag
    store.write("data/file", b"old")
    with pytest.raises(StoreConflict):
        store.copy_if("data/file", source, etag=None)
    assert store.read("data/file").data == b"old"
    store.copy_if("data/file", source, etag=store.stat("data/file").etag)
    assert store.read("data/file").data == content
    assert store.stat("data/file").sha256 == source.sha256
    put_whole(s3_server, store, source.key, content[:-1] + b"!")
    with pytest.raises(StoreConflict):
        store.copy_if("data/other", source, etag=None)
    assert store.stat("data/other") is None


def put_whole(s3_server, store, key: str, content: bytes) -> None:
    """Put an object by one request, as another tool might."""
    full = store.address(key).removeprefix(f"s3://{s3_server.bucket}/")
    s3_server.client().put_object(Bucket=s3_server.bucket, Key=full, Body=content)


def test_nobody_has_noted_the_hash_of_what_somebody_wrote(s3_url, tmp_path):
    """In S3 what is no copy of ours has no hash that a look could tell: it never counts as one."""
    store = open_store(s3_url, base=tmp_path)
    store.write("data/file", b"x")
    assert store.stat("data/file").sha256 is None


def test_a_large_file_is_copied_in_parts(s3_url, tmp_path, monkeypatch):
    """A file too large for one request is copied in parts, on the same conditions or not at all."""
    monkeypatch.setattr(s3_copy, "_LARGE_BYTES", 1 << 20)
    monkeypatch.setattr(s3_copy, "_PART_BYTES", 5 << 20)
    content = bytes(range(256)) * ((12 << 20) // 256) + b"end"
    (tmp_path / "large").write_bytes(content)
    store = open_store(s3_url, base=tmp_path)
    source = store.put_file("runs/large", tmp_path / "large")
    store.write("data/file", b"old")
    with pytest.raises(StoreConflict):
        store.copy_if("data/file", source, etag=None)
    assert store.read("data/file").data == b"old"
    assert list(store.remnants()) == []  # the upload was aborted, so nobody pays for its parts
    store.copy_if("data/file", source, etag=store.stat("data/file").etag)
    assert store.read("data/file").data == content
    assert store.stat("data/file").sha256 == source.sha256


def test_a_failing_abort_hides_no_conflict(s3_server, act_as, tmp_path, monkeypatch):
    """Whoever may not abort uploads is still told that somebody else was first."""
    monkeypatch.setattr(s3_copy, "_LARGE_BYTES", 4)
    act_as("admin")
    with run_proxy(s3_server.endpoint) as proxy:
        url = s3_server.url(uuid4().hex).replace(s3_server.endpoint, proxy.endpoint)
        store = open_store(url, base=tmp_path)
        (tmp_path / "file").write_bytes(b"hi there\n")
        source = store.put_file("runs/file", tmp_path / "file")
        store.write("data/file", b"first")
        denied = (403, "AccessDenied", "no")
        proxy.answer = lambda one: denied if one.command == "DELETE" else None
        with pytest.raises(StoreConflict):
            store.copy_if("data/file", source, etag=None)
        assert [one.command for one in proxy.seen].count("DELETE") == 1
    direct = open_store(url.replace(proxy.endpoint, s3_server.endpoint), base=tmp_path)
    (left,) = direct.remnants()
    assert left.upload  # gc aborts it


def options(url: str, tmp_path) -> dict[str, str]:
    """Give a library's options but for timeouts."""
    found = open_store(url, base=tmp_path).library_options()
    return {name: value for name, value in found.items() if "timeout" not in name}


KEYS = {"aws_access_key_id": "admin", "aws_secret_access_key": "admin-secret"}


def test_libraries_open_the_same_store(act_as, monkeypatch, tmp_path):
    """Endpoint, region, encryption and credentials are those that the store itself uses."""
    act_as("admin")
    url = "s3://bucket/p?region=eu-west-1&sse=aws:kms&kms_key_id=k&endpoint=http://127.0.0.1:9"
    always = {"aws_region": "eu-west-1", "aws_conditional_put": "etag", **KEYS}
    assert options(url, tmp_path) == {
        **always,
        "aws_endpoint": "http://127.0.0.1:9",
        "aws_allow_http": "true",
        "aws_virtual_hosted_style_request": "false",
        "aws_server_side_encryption": "aws:kms",
        "aws_sse_kms_key_id": "k",
    }
    assert options("s3://bucket/p?region=eu-west-1", tmp_path) == always
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    assert options("s3://bucket?region=eu-west-1", tmp_path) == {**always, "aws_session_token": "t"}


def test_a_profile_gives_libraries_its_own_keys(act_as, monkeypatch, tmp_path):
    """A library that knows no profiles gets the keys of the one that the store's URL names."""
    act_as("nobody")
    (tmp_path / "credentials").write_text(
        "[night]\naws_access_key_id = admin\naws_secret_access_key = admin-secret\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    found = options("s3://bucket?region=eu-west-1&profile=night", tmp_path)
    assert {name: found[name] for name in KEYS} == KEYS


def test_a_directory_needs_no_options(tmp_path):
    """A path is all that a library needs."""
    assert open_store("store", base=tmp_path).library_options() == {}
