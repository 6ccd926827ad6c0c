"""The pages over a store that others have written into: damaged, lying, enormous, from nowhere.

One store holds a run for each kind of damage, beside one that is whole: whatever one attempt left,
its own pages say so, and the pages that tell of many go on.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Thread

import pytest
from starlette.testclient import TestClient

from nightmill.errors import StoreError
from nightmill.review.pages.now_current import NowCurrent
from nightmill.review.rendered import Rendered, Streamed
from nightmill.review.words import clock, duration, moment
from nightmill.spec.progress import Progress
from nightmill.spec.record import Decision, InputRecord, Record
from nightmill.spec.summary import summarize
from nightmill.store.active import mark
from nightmill.store.approval import approve
from nightmill.store.history import prefix_of, record_of, records_below
from nightmill.store.index import note
from nightmill.store.keys import code_key, pointer_key_of
from nightmill.store.notes import notes
from nightmill.store.open import open_store
from tests.review_client import Viewer, open_client, post
from tests.reviewed_nights import Night, add

HALF = "\ud800"  # of a character: JSON may hold it, UTF-8 cannot
MARKUP = "\"><img src=x onerror=alert(1)>'{{7*7}}</script>\u202e"
DEEPER = "deeper than this interpreter can write"
HUGE = 10**400  # more than any float
FAILURE = {"cause": "notebook_error", "message": MARKUP, "cell": -1, "cells": 0}
CHECK = {"output": "scores", "check": "rows", "state": "passed", "message": "", "duration_s": 0.1}
AT = "2013-03-02T00:00:00Z"


def _deep(levels: int) -> list:
    found: list = []
    for _level in range(levels):
        found = [found]
    return found


def _output(**file) -> dict:
    whole = {"path": "s.csv", "size": 4, "sha256": "0", "etag": "0"} | file
    return {"scores": {"kind": "file", "address": "x", "size": 4, "files": [whole]}}


def _decided(text: str) -> dict:
    return {
        "required": [text],
        "decision": {"approved": False, "by": text, "at": AT, "comment": text},
    }


def _input(**names) -> dict:
    whole = {"pipeline": "p", "output": "o", "partition": "d", "run": "r", "attempt": 1}
    return {"a": {**whole, "address": "", "files": [], **names}}


SHOWN = {
    "markup": {
        "warnings": [MARKUP], "metrics": {MARKUP: MARKUP}, "parameters": {MARKUP: MARKUP},
        "pool": MARKUP, "host": MARKUP, "store": MARKUP, "as_of": MARKUP, "notebook": MARKUP,
        "checks": [{**CHECK, "check": MARKUP, "column": MARKUP, "message": MARKUP}],
        "review": _decided(MARKUP),
        "amendments": [{"at": AT, "by": MARKUP, "was": None, "cause": None}],
    },
    "markup of a failure": {
        "state": "failed", "committed": False,
        "failure": {**FAILURE, "title": MARKUP, "ename": MARKUP, "traceback": [MARKUP]},
    },
    "halves of characters": {
        "warnings": [HALF], "metrics": {HALF: HALF}, "host": HALF, "as_of": HALF,
        "review": _decided(HALF), "nightmill": HALF,
        "checks": [{**CHECK, "check": HALF, "column": HALF, "message": HALF}],
    },
    "deep values": {"metrics": {"a": _deep(400)}, "parameters": {"a": _deep(400)}},
    "deep evidence": {
        "state": "failed", "committed": False,
        "failure": {**FAILURE, "evidence": {"a": _deep(400)}},
    },
    "deep profile": {"checks": [{**CHECK, "profile": {"rows": 1, "a": _deep(400)}}]},
    "numbers without end": {
        "memory": {"peak_bytes": 2**63 - 1, "limit_bytes": 0},
        "metrics": {"a": 10**290, "b": float("nan"), "c": 5e-324, "d": -0.0},
        "outputs": _output(size=2**63 - 1),
    },
    "clocks that went back": {"duration_s": -5.0, "ended_at": "2000-01-01T00:00:00Z"},
    "the end of time": {"started_at": "9999-12-31T23:59:59-10:00"},
    "an output of no file": {
        "outputs": {"scores": {"kind": "file", "address": "x", "size": 0, "files": []}}
    },
    "an output elsewhere": {"outputs": _output(path="../../../../../etc/passwd.txt")},
    "an output of no name": {"outputs": _output(path="")},
    "thousands of all": {
        "warnings": ["w"] * 5000, "checks": [{**CHECK, "check": f"c{n}"} for n in range(5000)],
        "metrics": {f"m{number}": number for number in range(2000)},
        "cells": [{"number": n, "title": "t", "state": "completed"} for n in range(10_000)],
    },
}  # fmt: skip
"""What is odd in a record that can be shown still."""

REFUSED = {
    "no number": {"duration_s": float("nan")},
    "no end of it": {"duration_s": float("inf")},
    "a number beyond all floats": {"metrics": {"a": HUGE}},
    "more than can be counted": {"memory": {"peak_bytes": 2**63, "limit_bytes": None}},
    "an output without a name": {"outputs": {"": _output()["scores"]}},
    "half a name of an output": {"outputs": {HALF: _output()["scores"]}},
    "an input from nowhere": {"inputs": _input(pipeline="")},
    "half a name of an input": {"inputs": _input(run=HALF)},
    "no step": {"step": ""},
    "half a run": {"run": HALF},
    "another step's": {"step": "other"},
    "another pipeline's": {"pipeline": "q"},
    "another attempt's": {"attempt": 2},
    "too deep": {"metrics": {"a": DEEPER}},
    "of a later Nightmill": {"nightmill": "9.0.0", "schema_version": 2},
}
"""What no page believes."""


@dataclass(frozen=True)
class Damaged:
    """A store with a run for each case, and the prefixes of their attempts."""

    store: object
    client: TestClient
    prefixes: dict[str, str]

    def addresses(self, case: str) -> list[str]:
        """Name the pages about an attempt, and their JSON."""
        prefix = self.prefixes[case]
        names, partition = prefix.removeprefix("runs/"), prefix.split("/")[2]
        run = names.rsplit("/", 2)[0]
        pages = [f"/runs/{run}", f"/runs/{run}?step=score", f"/live/{run}", f"/runs/{names}"]
        pages += [f"/live/{names}", f"/compare/{names}", f"/compare/{names}?all=1"]
        pages += [f"/outputs/p/scores/{partition}"]
        return [*pages, *(f"/api{page}" for page in pages), f"/notebook/{names}"]


def _damage(store, number: int, changes: dict) -> str:
    """Let an attempt end, and then change its record; what the index can hold of it, it does."""
    night = Night(pipeline="p", number=number, files={"scores": {"s.csv": b"a\n1\n"}})
    record = add(store, night)
    prefix, raw = prefix_of(record), json.loads(record.to_json())
    text = json.dumps({**raw, **changes}).replace(f'"{DEEPER}"', "[" * 5000 + "]" * 5000)
    store.write(f"{prefix}/record.json", text.encode())
    with suppress(ValueError):  # of what is refused it keeps what the attempt itself wrote
        note(store, record_of(text.encode(), prefix))
    return prefix


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Make the store; a whole run comes first and last."""
    store = open_store(str(tmp_path_factory.mktemp("store")), base=tmp_path_factory.getbasetemp())
    cases = {"first": {}, **SHOWN, **REFUSED, "last": {}}
    prefixes = {
        case: _damage(store, number, changes)
        for number, (case, changes) in enumerate(cases.items())
    }
    client = open_client(store)
    return Damaged(store, client, prefixes)


@pytest.mark.parametrize("case", ["first", *SHOWN, "last"])
def test_odd_records_are_shown(damaged, case):
    """Every page about an attempt with an odd record is there, with markup as text, and bounded."""
    for address in damaged.addresses(case):
        found = damaged.client.get(address)
        if not address.startswith("/notebook"):
            assert found.status_code == 200, (address, found.text)
        assert "<img" not in found.text or "json" in found.headers["content-type"]
        assert len(found.content) < 3_000_000, address


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_believed_is_named(damaged, case):
    """No page follows a record that is damaged, of another version, or another attempt's."""
    for address in damaged.addresses(case):
        found = damaged.client.get(address)
        assert found.status_code in (200, 404), (address, found.text)
        if address.startswith("/api/runs/"):
            assert found.status_code != 200
            assert found.json()["error"]["advice"]


@pytest.mark.parametrize(
    "page",
    ["/", "/runs", "/runs?page=2", "/metrics", "/outputs", "/pipelines/p", "/metrics/p/score",
     "/outputs/p/scores", "/csv/p/score"],
)  # fmt: skip
def test_lists_go_on(damaged, page):
    """A page about many attempts is there whatever some of them have left."""
    for address in (page, f"/api{page}"):
        if not address.startswith("/api/csv"):
            assert damaged.client.get(address).status_code == 200


def test_left_out_is_counted(damaged):
    """Lists that go on for thousands are cut, and say how many they leave out."""
    prefix = damaged.prefixes["thousands of all"]
    page = damaged.client.get(f"/api/{prefix}").json()
    assert (len(page["warnings"]), page["warnings_left_out"]) == (100, 4900)
    output = damaged.client.get(f"/api/outputs/p/scores/{prefix.split('/')[2]}").json()["chosen"]
    assert (len(output["checks"]), output["checks_left_out"]) == (100, 4900)


def test_unreadable_records_are_bounded(tmp_path):
    """A run with more damaged records than anybody wants to read tells how many there are."""
    store = open_store(str(tmp_path), base=tmp_path)
    above = prefix_of(add(store, Night(pipeline="p"))).removesuffix("/1")
    for number in range(2, 40):
        store.write(f"{above}/{number}/record.json", b"{")
    page = open_client(store).get(f"/api/{above.removesuffix('/score')}").json()
    assert (len(page["unreadable"]), page["unreadable_left_out"]) == (10, 28)


# -- records that lie about whose they are ---------------------------------------------------------


def test_a_record_of_another_attempt_is_none(tmp_path):
    """What a record says of its own place has to be true: nothing is read or decided elsewhere."""
    store = open_store(str(tmp_path), base=tmp_path)
    theirs = prefix_of(add(store, Night(pipeline="theirs", state="held", files={"o": {"f": b"1"}})))
    mine = theirs.replace("theirs", "mine")
    store.write(f"{mine}/record.json", store.read(f"{theirs}/record.json").data)
    assert records_below(store, mine.removesuffix("/score/1")).records == ()
    decision = Decision(approved=True, by="Mallory", at=datetime.now(UTC))
    with pytest.raises(StoreError, match="no record"):
        approve(store, mine, decision)
    assert store.read(pointer_key_of(theirs)) is None


def test_what_is_current_elsewhere_is_not_told(tmp_path):
    """Whether a hidden output is behind is told to nobody, whatever pipeline the input names."""
    store = open_store(str(tmp_path), base=tmp_path)
    hidden = add(store, Night(pipeline="hidden", files={"o": {"f": b"1"}}))
    address = hidden.outputs["o"].address
    names = {"pipeline": "shown", "output": "o", "partition": hidden.partition, "run": hidden.run}
    given = InputRecord(**names, attempt=1, address=address, files=())
    record = add(store, Night(pipeline="shown", inputs={"o": given}))
    for who, told in ((Viewer("shown"), None), (Viewer("shown", "hidden"), False)):
        page = open_client(store, who).get(f"/api/{prefix_of(record)}".replace("/score/1", ""))
        assert page.json()["sections"][0]["attempts"][0]["inputs"][0]["is_behind"] is told
    assert NowCurrent().is_behind(given) is None


# -- the index -------------------------------------------------------------------------------------

TIME = "8637000000000"
ENTRY = "index/p/{}.json"


def _entry(**changed: str) -> str:
    """Name an entry of the index, as it would be but for what is changed."""
    usual = {"time": TIME, "revision": "0", "order": "1", "partition": "d", "run": "r"}
    usual |= {"step": "odd", "member": "", "attempt": "1", "standing": "failed", "cause": ""}
    return ENTRY.format("+".join((usual | {"duration": "1.000", "lag": "0"} | changed).values()))


@pytest.mark.parametrize(
    "changed",
    [
        {"lag": "9" * 30},
        {"lag": "63499000000000"},
        {"duration": "inf"},
        {"duration": "nan"},
        {"duration": "1e15"},
        {"time": "-999999999999999"},
        {"time": "9" * 60},
        {"partition": ""},
        {"step": ""},
        {"partition": ".."},
        {"run": "a b"},
        {"attempt": "-1"},
        {"attempt": " 1_0 "},
        {"order": "first"},
        {"standing": "splendid"},
    ],
    ids=str,
)
def test_entries_that_are_none(tmp_path, changed):
    """An entry of the index with a name that cannot be is not there; the others are."""
    store = open_store(str(tmp_path), base=tmp_path)
    add(store, Night(pipeline="p"))
    path = tmp_path / _entry(**changed)
    path.write_bytes(b"{}")
    client = open_client(store)
    for page in ("/", "/runs", "/metrics", "/outputs", "/pipelines/p"):
        assert client.get(page).status_code == 200
    assert client.get("/api/runs").json()["found"] == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"duration_s": 1e300},
        {"ended_at": "0001-01-01T00:00:00Z"},
        {"pipeline": "hidden"},
        {"pipeline": "hidden", "prefix": "runs/hidden/d/r/s/1"},
        {"prefix": "runs/p/../../x/1"},
        {"prefix": "x"},
        {"outputs": {"": {"size": 1}}},
        {"outputs": {"scores": {"size": 2**63}}},
    ],
    ids=str,
)
def test_summaries_that_are_none(tmp_path, changed):
    """A summary that is damaged, or about what is elsewhere, tells nothing to anybody."""
    store = open_store(str(tmp_path), base=tmp_path)
    record = add(store, Night(pipeline="p"))
    told = summarize(record, prefix_of(record)).model_copy(update={"run": "odd"})
    own = prefix_of(record).replace(record.run, "odd")
    raw = {**json.loads(told.to_json()), "prefix": own, **changed}
    place = tmp_path / ENTRY.format(f"{TIME}+{'a' * 32}")
    place.write_text(json.dumps(raw))
    client = open_client(store)
    for page in ("/", "/runs", "/metrics", "/outputs", "/pipelines/p"):
        assert client.get(page).status_code == 200
    assert client.get("/api/runs").json()["found"] == 1


def test_a_body_that_tells_of_another_attempt_is_not_read(tmp_path):
    """What an entry's body says counts for the attempt that its name tells, and for no other."""
    store = open_store(str(tmp_path), base=tmp_path)
    record = add(store, Night(pipeline="p", metrics={"auc": 0.5}))
    (entry,) = store.list("index/p")
    raw = json.loads(store.read(entry.key).data)
    store.write(entry.key, json.dumps({**raw, "prefix": "runs/q/d/r/s/1"}).encode())
    assert record.metrics == {"auc": 0.5}
    assert open_client(store).get("/api/metrics").json()["steps"] == []


# -- names that are longer than a part of a key ----------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 300, "支店" * 20])
def test_long_names_are_whole(tmp_path, name):
    """A partition whose name is cut in its address is the same partition on every page."""
    store = open_store(str(tmp_path), base=tmp_path)
    files = {"scores": {"s.csv": b"a\n1\n"}}
    record = add(store, Night(pipeline="p", partition=name, files=files))
    client, prefix = open_client(store), prefix_of(record)
    run = "/" + prefix.removesuffix("/score/1")
    versions = client.get(f"/api/outputs/p/scores/{prefix.split('/')[2]}").json()
    assert versions["partition"] == name
    assert post(client, run, run.replace("/runs/", "/notes/"), text="as usual").status_code == 303
    assert [one.text for one in notes(store, "p", name, record.run).found] == ["as usual"]
    assert "as usual" in client.get(run).text
    seen = client.get(f"/api{run}").json()["live"]["address"]
    assert client.get(f"/api{seen}").json()["attempts"] == []
    again = Night(pipeline="p", partition=name, attempt=2, state="running")
    mark(store, prefix_of(add(store, again)), order=record.order)
    assert open_client(store).get(f"/api{run}").json()["live"]["address"] != seen


# -- what a run says of itself while it runs -------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {"elapsed_s": "NaN"},
        {"usual_s": float("inf"), "cell_elapsed_s": 1.0},
        {"memory_bytes": HUGE, "memory_limit_bytes": HUGE},
        {"of": 0, "position": 0, "usual_s": 0.0, "usual_total_s": 0.0, "memory_limit_bytes": 0},
        {"title": HALF, "last_line": MARKUP},
        {"heartbeat": "0001-01-01T00:00:00Z"},
        {"heartbeat": "9999-12-31T23:59:59-10:00"},
    ],
)
def test_odd_progress(tmp_path, told):
    """A running attempt is shown whatever its progress says."""
    store = open_store(str(tmp_path), base=tmp_path)
    prefix = prefix_of(add(store, Night(pipeline="p", state="running")))
    usual = {"state": "running", "started_at": AT, "heartbeat": AT, "elapsed_s": 1.0}
    store.write(f"{prefix}/progress.json", json.dumps({**usual, **told}).encode())
    client, run = open_client(store), prefix.removesuffix("/score/1")
    for page in (f"/{prefix}", f"/{run}", f"/{run}".replace("runs/", "live/"), "/", "/runs"):
        assert client.get(page).status_code == 200
        assert client.get(f"/api{page}").status_code == 200
        assert "<img" not in client.get(page).text


def test_silence_and_warnings_are_no_good_news(tmp_path):
    """The heading of an attempt is plain only where all is well."""
    store = open_store(str(tmp_path), base=tmp_path)
    silent = add(store, Night(pipeline="p", state="running"))
    page = open_client(store).get(f"/{prefix_of(silent)}").text
    assert '<span class="state silent">' in page.partition("</h1>")[0]
    warned = add(store, Night(pipeline="p", number=1)).model_copy(update={"warnings": ("w",)})
    store.write(f"{prefix_of(warned)}/record.json", warned.to_json())
    page = open_client(store).get(f"/{prefix_of(warned)}").text
    assert '<span class="state warned">' in page.partition("</h1>")[0]


def test_an_address_of_thousands_of_digits(tmp_path):
    """A number that nobody can read is an address where nothing is."""
    store = open_store(str(tmp_path), base=tmp_path)
    prefix = prefix_of(add(store, Night(pipeline="p")))
    for place in ("9" * 5000 + "/1", "1/" + "9" * 5000):
        page = f"/part/{prefix[5:]}/{place}/image~2Fpng"
        assert open_client(store).get(page).status_code == 404


def test_progress_is_finite():
    """A span that is no number makes a progress damaged, not a page."""
    facts = {"state": "running", "started_at": AT, "heartbeat": AT, "elapsed_s": "NaN"}
    with pytest.raises(ValueError, match="finite"):
        Progress.from_json(json.dumps(facts).encode())


# -- code bundles ----------------------------------------------------------------------------------

SPEC = b"pipeline: p\nowner: Ada\nsteps: {score: {notebook: n.ipynb, outputs: {scores: s.csv}}}\n"


def _tar(*entries) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data, facts in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for key, value in facts.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _link(target: str, kind: bytes = tarfile.SYMTYPE) -> dict:
    return {"type": kind, "linkname": target}


@pytest.mark.parametrize(
    ("archive", "owner"),
    [
        (_tar(("pipeline.yaml", SPEC, {})), "Ada"),
        (_tar(("pipeline.yaml", b"", _link("nowhere"))), ""),
        (_tar(("pipeline.yaml", b"", _link("nowhere", tarfile.LNKTYPE))), ""),
        (_tar(("a/pipeline.yaml", b"", _link("pipeline.yaml"))), ""),
        (_tar(("x", b"y" * (2 << 20), {}), ("pipeline.yaml", b"", _link("x"))), ""),
        (_tar(("pipeline.yaml", b"", {"type": tarfile.FIFOTYPE})), ""),
        (_tar(("pipeline.yaml", b"[" * 100_000, {}), ("b/pipeline.yaml", SPEC, {})), "Ada"),
        (_tar(("pipeline.yaml", SPEC, {}))[:560], ""),
        (b"no archive", ""),
        (b"\0" * (70 << 20), ""),
    ],
    ids=["whole", "symlink", "link", "loop", "large", "pipe", "deep", "cut", "none", "bomb"],
)
def test_code_that_is_no_code(tmp_path, archive, owner):
    """Pages read a pipeline.yaml from a bundle, follow no link in it, and need none."""
    store = open_store(str(tmp_path), base=tmp_path)
    name = hashlib.sha256(archive).hexdigest()
    store.write(code_key(name), gzip.compress(archive, 1))
    records = [add(store, Night(pipeline="p", number=n, bundle=name)) for n in range(2)]
    client, run = open_client(store), prefix_of(records[1]).removesuffix("/score/1")
    for page in ("/", "/runs", "/outputs", "/pipelines/p", f"/compare/{run[5:]}/score/1"):
        assert client.get(page).status_code == 200
    assert client.get(f"/api/{run}").json()["owner"] == owner


# -- the answers themselves ------------------------------------------------------------------------


def test_a_reader_who_leaves_leaves_nothing():
    """Whoever closes the connection in the middle of a notebook leaves no unfinished file."""
    kept = Rendered()

    def endless():
        while True:
            yield "x" * 10_000

    async def gone():
        return {"type": "http.disconnect"}

    async def sends(message):
        if message.get("body"):
            raise OSError("the connection is closed")

    answer = Streamed(kept.document("key", endless()))
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET", "path": "/"}
    failed: list[BaseException] = []

    def run():
        try:
            asyncio.run(answer(scope, gone, sends))
        except BaseException as error:  # noqa: BLE001 - whatever the framework tells of it
            failed.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert failed
    assert list(kept._place().iterdir()) == []  # the folder is its own matter


def test_a_download_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """A store that fails in the middle of a download leaves no folder on this machine."""
    store = open_store(str(tmp_path / "store"), base=tmp_path)
    prefix = prefix_of(add(store, Night(pipeline="p")))
    store.write(f"{prefix}/notebook.ipynb", b"{}")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    client = open_client(_Far(store))
    assert client.get(f"/download/{prefix[5:]}").status_code == 502
    assert list(temporary.iterdir()) == []
    assert client.get(f"/download/{prefix[5:]}".replace("/1", "/2")).status_code == 404


def test_links_out_of_the_store_are_not_followed(tmp_path):
    """What a notebook's author cannot read themselves no link of theirs makes the pages show."""
    (tmp_path / "secret.txt").write_text("TELLTALE")
    store = open_store(str(tmp_path / "store"), base=tmp_path)
    record = add(store, Night(pipeline="p", files={"scores": {"s.txt": b"mine"}}))
    prefix = prefix_of(record)
    client, output = open_client(store), f"/outputs/p/scores/{record.partition}"
    assert "mine" in client.get(output).text
    store.write(f"{prefix}/notebook.ipynb", b"{}")
    for name in ("notebook.ipynb", "outputs/scores/s.txt"):
        path = store.local_path(f"{prefix}/{name}")
        path.unlink()
        path.symlink_to(tmp_path / "secret.txt")
    for page in (output, f"/api{output}", f"/download/{prefix[5:]}", f"/notebook/{prefix[5:]}"):
        assert "TELLTALE" not in client.get(page).text
    assert "leads out of the store" in client.get(output).text
    assert client.get(f"/download/{prefix[5:]}").status_code == 404
    path = store.local_path(f"{prefix}/record.json")
    path.unlink()
    path.symlink_to(tmp_path / "secret.txt")
    assert client.get(f"/record/{prefix[5:]}").status_code == 404


def test_a_notebook_that_goes_meanwhile(tmp_path):
    """A notebook that is deleted between two requests to the store ends in a whole document."""
    store = open_store(str(tmp_path), base=tmp_path)
    prefix = prefix_of(add(store, Night(pipeline="p")))
    store.write(f"{prefix}/notebook.ipynb", b"{}")
    found = open_client(_Forgetful(store)).get(f"/notebook/{prefix[5:]}")
    assert found.status_code == 200
    assert "</html>" in found.text


class _Forgetful:
    """A store that lists notebooks, and has none."""

    def __init__(self, store) -> None:
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def read(self, key: str):
        """Read what is no notebook."""
        return None if key.endswith(".ipynb") else self._store.read(key)


class _Far:
    """A store that is not on this machine, and from which no file comes."""

    def __init__(self, store) -> None:
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def local_path(self, key: str) -> None:
        """Know no file here."""

    def get_file(self, *_arguments, **_options) -> None:
        """Fail."""
        raise StoreError("is cut off", address="s3://b", operation="get")


@pytest.mark.parametrize(
    ("when", "zone", "told"),
    [
        (datetime(9999, 12, 31, 23, 59, tzinfo=UTC), "Asia/Tokyo", "31 Dec 9999, 23:59 UTC"),
        (datetime(1, 1, 1, tzinfo=UTC), "America/New_York", "1 Jan 1, 00:00 UTC"),
        (datetime(2013, 3, 10, 6, 59, tzinfo=UTC), "America/New_York", "10 Mar 2013, 01:59 EST"),
        (datetime(2013, 3, 10, 7, 0, tzinfo=UTC), "America/New_York", "10 Mar 2013, 03:00 EDT"),
        (datetime(2013, 11, 3, 5, 30, tzinfo=UTC), "America/New_York", "3 Nov 2013, 01:30 EDT"),
        (datetime(2013, 11, 3, 6, 30, tzinfo=UTC), "America/New_York", "3 Nov 2013, 01:30 EST"),
    ],
)
def test_times_at_the_edges(when, zone, told):
    """A time is told at the ends of the calendar, and the hour that comes twice by its zone."""
    assert moment(when, zone) == told
    assert clock(when, zone) == told.split(", ")[1][:5]


def test_spans_of_clocks_that_differ():
    """A span before its beginning is told with its sign."""
    assert duration(-3600.0) == "-1 h 00 min"
    assert duration(-0.5) == "-500 ms"


def test_deep_json_is_a_damaged_record():
    """A record whose JSON goes too deep is damaged as any other is: a ValueError."""
    with pytest.raises(ValueError, match="deeply"):
        Record.from_json(b'{"a":' + b"[" * 100_000)


def test_a_made_up_move_is_shown(tmp_path):
    """A pointer that says it replaced what is no attempt is shown with those words."""
    store = open_store(str(tmp_path), base=tmp_path)
    prefix = prefix_of(add(store, Night(pipeline="p", files={"scores": {"s.csv": b"a\n1\n"}})))
    key = pointer_key_of(prefix)
    raw = json.loads(store.read(key).data)
    move = {"kind": "rollback", "by": MARKUP, "at": AT, "reason": MARKUP, "replaced": "no prefix"}
    store.write(key, json.dumps({**raw, "moves": [move]}).encode())
    for page in ("/outputs/p/scores", f"/outputs/p/scores/{prefix.split('/')[2]}"):
        text = open_client(store).get(page).text
        assert "no prefix" in text
        assert "<img" not in text
