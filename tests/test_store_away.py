"""A store in a directory that is away for a while: an error, never an empty store."""

from __future__ import annotations

import io

import pytest

from nightmill.errors import StoreError
from nightmill.store.directory import DirectoryStore
from nightmill.store.index import Index
from nightmill.store.open import open_store
from tests.many_runs import attempts, write
from tests.review_client import get, open_client

FLIGHTS = [one for one, _n in zip(attempts(), range(60), strict=False)]
FLIGHTS = [one for one in FLIGHTS if one.record.pipeline == "flights"]


def moved_away(root):
    """Take the folder away, as a mount is whose folder was made by the store."""
    root.rename(root.with_name("away"))


def emptied(root):
    """Take what is in the folder away, as a mount is whose folder is the place of the mount."""
    moved_away(root)
    root.mkdir()


def brought_back(root):
    """Undo either."""
    if root.exists():
        root.rmdir()
    root.with_name("away").rename(root)


@pytest.fixture
def root(tmp_path):
    """Name the folder of a store."""
    return tmp_path / "store"


@pytest.fixture
def away(root):
    """Make a store, and then take it away."""
    store = DirectoryStore(root)
    store.write("runs/a", b"1")
    assert store.read("runs/a")
    moved_away(root)
    return store


ASK = {
    "read": lambda store, _file: store.read("runs/a"),
    "read what never was": lambda store, _file: store.read("runs/b"),
    "list": lambda store, _file: list(store.list("runs")),
    "children": lambda store, _file: store.children(""),
    "stat": lambda store, _file: store.stat("runs/a"),
    "get": lambda store, file: store.get_file("runs/a", file.with_name("got")),
    "remnants": lambda store, _file: list(store.remnants()),
    "write": lambda store, _file: store.write("runs/b", b"2"),
    "write if": lambda store, _file: store.write_if("runs/b", io.BytesIO(b"2"), etag=None),
    "put": lambda store, file: store.put_file("runs/b", file),
    "delete": lambda store, _file: store.delete("runs/a"),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_store_that_went_away_is_an_error(ask, away, root, tmp_path):
    """Whatever is asked or written, the error names the place, and no other store is begun."""
    file = tmp_path / "file"
    file.write_bytes(b"2")
    with pytest.raises(StoreError) as error:
        ask(away, file)
    assert str(root) in error.value.address
    assert error.value.advice
    assert not root.exists()
    brought_back(root)
    assert away.read("runs/a").data == b"1"


@pytest.mark.parametrize("take_away", [moved_away, emptied])
def test_a_store_is_known_by_whatever_was_asked_first(take_away, root):
    """One look is enough, at what is there or is not, also where an empty folder is left."""
    DirectoryStore(root).write("runs/a", b"1")
    stores = [DirectoryStore(root) for _ in range(4)]
    for store, look in zip(stores, ("read", "list", "children", "stat"), strict=True):
        list(getattr(store, look)("runs/b") or ())
    take_away(root)
    for store in stores:
        with pytest.raises(StoreError, match="not there"):
            store.read("runs/a")
    brought_back(root)
    assert all(store.read("runs/a") for store in stores)


def test_a_store_that_was_never_made_is_empty(root):
    """Before its first run nothing is there, and that is no error; the first write makes it."""
    store = DirectoryStore(root)
    assert (store.read("a"), list(store.list("")), store.children("")) == (None, [], [])
    assert not root.exists()
    store.write("a", b"1")
    assert store.read("a").data == b"1"


def test_a_store_that_is_counted_on_has_to_be_there(root):
    """Whoever says so is told what is missing, until it comes."""
    store = DirectoryStore(root)
    assert not store.expect()
    with pytest.raises(StoreError, match="not there"):
        store.read("a")
    DirectoryStore(root).write("a", b"1")
    assert store.expect()
    assert store.read("a").data == b"1"


@pytest.mark.parametrize("take_away", [moved_away, emptied])
def test_the_index_forgets_nothing_while_its_store_is_away(take_away, root, tmp_path):
    """Each look in between is told of it, and afterwards every line is there at once."""
    writer = open_store("store", base=tmp_path)
    writer.write("project.json", b"{}")  # as a store does; `write` leaves out what takes time
    for one in FLIGHTS:
        write(writer, one, with_record=False)
    index = Index(open_store("store", base=tmp_path))
    lines = index.attempts("flights")
    take_away(root)
    with pytest.raises(StoreError):
        index.summaries(lines)
    index.expire()
    with pytest.raises(StoreError):
        index.attempts("flights")
    brought_back(root)
    index.expire()
    assert index.attempts("flights") == lines
    assert len(index.summaries(lines)) == len(lines)


def test_the_pages_tell_of_a_store_that_is_away(root, tmp_path):
    """A page is 502 that names the folder, and afterwards what it was before."""
    writer = open_store("store", base=tmp_path)
    for one in FLIGHTS:
        write(writer, one)
    client = open_client(open_store("store", base=tmp_path))
    before = get(client, "/runs")["found"]
    moved_away(root)
    client.app.state.site.index.expire()
    for page in ("/", "/runs", "/pipelines/flights", "/metrics/flights/load"):
        answer = client.get(page)
        assert answer.status_code == 502, page
        assert str(root) in answer.text
        assert "mounted" in answer.text
    brought_back(root)
    assert get(client, "/runs")["found"] == before
