"""One suite for every backend: what `Store` promises holds in a directory and in S3 alike."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.errors import StoreConflict, StoreError, UsageError
from nightmill.store.open import open_store

HELLO_SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def keys(entries):
    return [entry.key for entry in entries]


def test_read_gives_the_bytes_that_were_written(store):
    """What was written is read back, byte for byte, with the etag that the write returned."""
    etag = store.write("a/b.json", b"\x00\xff{}")
    blob = store.read("a/b.json")
    assert (blob.data, blob.etag) == (b"\x00\xff{}", etag)


@pytest.mark.parametrize("key", ["a", "a/b", "a/b/c.json"])
def test_read_of_nothing_is_none(store, key):
    """An object that is not there reads as None, whatever else is there."""
    store.write("other", b"")
    assert store.read(key) is None


def test_write_replaces_the_whole_object(store):
    """A shorter object leaves nothing of the longer one that it replaces."""
    store.write("progress.json", b"a long first version")
    store.write("progress.json", b"short")
    assert store.read("progress.json").data == b"short"


def test_readers_see_old_or_new_but_never_a_part(store):
    """While an object is replaced again and again, every reader sees one version whole."""
    versions = [bytes([number]) * 300_000 for number in range(8)]
    store.write("k", versions[0])
    seen = []
    done = threading.Event()

    def read():
        while not done.is_set():
            seen.append(store.read("k").data)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for data in versions:
            store.write("k", data)
        done.set()
    for reader in readers:
        reader.result()
    assert seen
    assert set(seen) <= set(versions)


def test_an_empty_object_is_an_object(store):
    """No bytes are not the same as no object."""
    store.write("empty", b"")
    assert store.read("empty").data == b""
    assert keys(store.list("")) == ["empty"]


def test_conditional_write_needs_the_last_seen_etag(store):
    """A conditional write goes through on the etag last seen, and on no other."""
    first = store.write_if("k", b"1", etag=None)
    second = store.write_if("k", b"2", etag=first)
    for stale in (first, None):
        with pytest.raises(StoreConflict):
            store.write_if("k", b"3", etag=stale)
    assert store.read("k").data == b"2"
    assert store.read("k").etag == second


def test_a_conditional_write_can_stream_a_file(store, tmp_path):
    """An open file is stored whole, on the same condition as bytes, and its etag can be named."""
    content = bytes(range(256)) * 4000
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        etag = store.write_if("k", file, etag=None)
    assert (store.read("k").data, store.read("k").etag) == (content, etag)
    with (tmp_path / "file").open("rb") as file, pytest.raises(StoreConflict):
        store.write_if("k", file, etag="another")
    assert store.write_if("k", b"next", etag=etag)


def test_conditional_write_of_something_deleted_is_a_conflict(store):
    """A writer that saw an object learns that it is gone, rather than making it anew."""
    etag = store.write("k", b"1")
    store.delete("k")
    with pytest.raises(StoreConflict):
        store.write_if("k", b"2", etag=etag)
    assert store.read("k") is None


def test_one_of_16_racing_writers_wins(store):
    """Of 16 threads that write on the same etag exactly one wins, and its bytes stand."""
    # SeaweedFS makes a loser wait a second at a time, so few rounds there, and all at once.
    rounds = 2 if store.url.startswith("s3:") else 10
    etags = [
        store.write(f"race/{number}", b"start") if number % 2 else None for number in range(rounds)
    ]
    start = threading.Barrier(16 * rounds)

    def write(number, writer):
        start.wait()
        try:
            store.write_if(f"race/{number}", b"writer %d" % writer, etag=etags[number])
        except StoreConflict:
            return None
        return b"writer %d" % writer

    with ThreadPoolExecutor(16 * rounds) as pool:
        tries = [
            [pool.submit(write, number, writer) for writer in range(16)] for number in range(rounds)
        ]
    for number, attempts in enumerate(tries):
        winners = [attempt.result() for attempt in attempts if attempt.result()]
        assert winners == [store.read(f"race/{number}").data]


def test_put_file_tells_size_and_hash_of_the_bytes(store, tmp_path):
    """A stored file is described by its key, its size, and a SHA-256 of its bytes."""
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    stored = store.put_file("runs/x/outputs/scores/scores.parquet", source)
    assert stored.key == "runs/x/outputs/scores/scores.parquet"
    assert (stored.size, stored.sha256) == (5, HELLO_SHA256)
    assert store.read(stored.key).etag == stored.etag


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20, 8 * 2**20 + 1])
def test_files_come_back_as_they_went(store, tmp_path, size):
    """A file of any size, also at the edge of a part, comes back byte for byte."""
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes((b"0123456789abcdef" * (size // 16 + 1))[:size])
    stored = store.put_file("file", source)
    store.get_file("file", target, sha256=stored.sha256)
    assert stored.size == size
    assert target.read_bytes() == source.read_bytes()


def test_get_file_refuses_other_bytes_than_were_committed(store, tmp_path):
    """An object that was changed behind our back is found, and never reaches the path."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"hello")
    target.write_bytes(b"before")
    store.put_file("file", source)
    store.write("file", b"HELLO")
    with pytest.raises(StoreError, match="not those that were committed"):
        store.get_file("file", target, sha256=HELLO_SHA256)
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "source",
        "target",
    ]


def test_get_file_of_nothing_is_an_error_and_leaves_nothing(store, tmp_path):
    """Fetching an object that is not there is a StoreError, and makes no file."""
    with pytest.raises(StoreError) as raised:
        store.get_file("runs/none", tmp_path / "into" / "target")
    assert raised.value.address == store.address("runs/none")
    assert not list((tmp_path / "into").glob("*"))


def test_put_file_of_nothing_names_the_file(store, tmp_path):
    """A source that is not there is named; the store is not blamed."""
    with pytest.raises(StoreError) as raised:
        store.put_file("file", tmp_path / "missing")
    assert raised.value.address == str(tmp_path / "missing")
    assert store.read("file") is None


def test_list_is_recursive_sorted_and_complete(store):
    """A listing has every object below the prefix, in order, with its size and a zoned time."""
    for key in ("runs/b/2", "runs/a/10", "runs/a/2", "runs/a/x/é", "current/a"):
        store.write(key, key.encode())
    entries = list(store.list("runs"))
    assert keys(entries) == ["runs/a/10", "runs/a/2", "runs/a/x/é", "runs/b/2"]
    assert [entry.size for entry in entries] == [9, 8, 11, 8]
    assert all(abs(datetime.now(UTC) - entry.modified) < timedelta(minutes=5) for entry in entries)


def test_a_prefix_names_whole_components(store):
    """Listing ``runs/a`` does not reach into ``runs/ab``; a closing slash makes no difference."""
    for key in ("runs/a/1", "runs/ab/1", "runs/a.json"):
        store.write(key, b"")
    assert keys(store.list("runs/a")) == keys(store.list("runs/a/")) == ["runs/a/1"]
    assert store.children("runs/a") == store.children("runs/a/") == ["1"]


def test_list_resumes_behind_a_key(store):
    """A listing that starts after any of its keys is the rest of the whole listing."""
    for key in ("a/1", "a/2/x", "a/2/y", "b", "c/1"):
        store.write(f"p/{key}", b"")
    whole = keys(store.list("p"))
    for place, key in enumerate(whole):
        assert keys(store.list("p", start_after=key)) == whole[place + 1 :]


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_a_listing_is_whole_however_few_come_at_once(store, at_once):
    """Who asks for a few at a request gets all of them, if they go on reading."""
    names = [f"a/{number}" for number in range(5)]
    for name in names:
        store.write(name, b"")
    assert keys(store.list("a", at_once=at_once)) == names
    assert keys(store.list("a", at_once=at_once, start_after="a/2")) == names[3:]


def test_children_are_the_next_names(store):
    """Objects and prefixes next below a prefix are named once each, sorted, without slash."""
    for key in ("p/b/1", "p/b/2", "p/a.json", "p/c/d/e", "q"):
        store.write(key, b"")
    assert store.children("p") == ["a.json", "b", "c"]
    assert store.children("") == ["p", "q"]
    assert store.children("nothing") == []
    assert list(store.list("nothing")) == []


def test_deleted_objects_are_gone(store):
    """A deleted object is neither read nor listed; deleting it twice is deleting it once."""
    store.write("p/a/1", b"")
    store.write("p/b", b"")
    store.delete("p/a/1")
    store.delete("p/a/1")
    assert store.read("p/a/1") is None
    assert keys(store.list("")) == ["p/b"]


def test_a_prefix_is_no_object(store):
    """A name under which other objects lie reads as None itself."""
    store.write("a/b", b"")
    assert store.read("a") is None


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\0", "a\n", "\ud800", "a/.nightmill-x"],
)
def test_keys_that_lead_elsewhere_are_refused(store, tmp_path, key):
    """A key that could leave the store's root, or hide in it, reaches no backend."""
    (tmp_path / "file").write_bytes(b"")
    for act in (
        store.read,
        store.delete,
        store.address,
        store.local_path,
        lambda key: store.write(key, b""),
        lambda key: store.write_if(key, b"", etag=None),
        lambda key: store.put_file(key, tmp_path / "file"),
        lambda key: store.get_file(key, tmp_path / "other"),
    ):
        with pytest.raises(UsageError):
            act(key)
    assert list(store.list("")) == []


@pytest.mark.parametrize("name", ["a b", "é", "+%:~=&?#", "city=New%20York", "😀", "a" * 240])
def test_any_file_name_is_kept_as_it_is(store, name):
    """File names of outputs survive in keys, listings and children, whatever is in them."""
    store.write(f"p/{name}", b"x")
    assert store.read(f"p/{name}").data == b"x"
    assert keys(store.list("p")) == [f"p/{name}"]
    assert store.children("p") == [name]


def test_preflight_leaves_nothing_behind(store):
    """A store that grants all rights passes, and the probe is gone afterwards."""
    store.preflight()
    assert list(store.list("")) == []
    assert not [entry for entry in store.list(".nightmill") if "preflight" in entry.key]


def test_preflight_finds_a_store_that_ignores_conditions(store, monkeypatch):
    """Where conditional writes are accepted without the condition, the store is refused."""
    monkeypatch.setattr(
        type(store), "write_if", lambda self, key, data, **_condition: self.write(key, data)
    )
    with pytest.raises(StoreError, match="against its condition"):
        store.preflight()


def test_preflight_finds_a_store_that_changes_bytes(store, monkeypatch):
    """Where other bytes come back than were written, the store is refused."""
    write = type(store).write
    monkeypatch.setattr(type(store), "write", lambda self, key, data: write(self, key, data + b"!"))
    with pytest.raises(StoreError, match="other bytes"):
        store.preflight()
    assert not [entry for entry in store.list(".nightmill") if "preflight" in entry.key]


def test_preflight_finds_a_store_that_lists_late(store, monkeypatch):
    """Where a fresh object is missing from the listing, the store is refused."""
    monkeypatch.setattr(type(store), "list", lambda *_arguments, **_options: iter(()))
    with pytest.raises(StoreError, match="not listed"):
        store.preflight()


def test_preflight_finds_a_store_that_keeps_what_is_deleted(store, monkeypatch):
    """Where a deleted object is still there, the store is refused."""
    monkeypatch.setattr(type(store), "delete", lambda *_arguments: None)
    with pytest.raises(StoreError, match="still there"):
        store.preflight()


def test_the_url_opens_the_same_store(store, tmp_path):
    """Another process that is given the store's URL sees the same objects."""
    store.write("k", b"x")
    again = open_store(store.url, base=tmp_path / "elsewhere")
    assert again.read("k").data == b"x"
    assert again.url == store.url


def test_both_backends_store_the_same_bytes(tmp_path, s3_url):
    """The same file has the same size and hash in a directory and in S3."""
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 5000)
    in_directory = open_store("store", base=tmp_path).put_file("f", source)
    in_s3 = open_store(s3_url, base=tmp_path).put_file("f", source)
    assert in_directory.sha256 == in_s3.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert in_directory.size == in_s3.size == 1_280_000
