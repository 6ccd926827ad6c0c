"""The page of an attempt, and its executed notebook as a document that can do nothing."""

import base64
import json
import re
import zlib

import pytest
from starlette.testclient import TestClient

from nightmill.causes import Cause
from nightmill.review.access import OwnerAccess
from nightmill.review.app import make_app
from nightmill.review.pages import attempt
from nightmill.review.site import Site
from nightmill.spec.record import CellRecord, CellState, Failure
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.open import open_store
from tests.conftest import notebook_json
from tests.review_client import Asked, get, open_client
from tests.reviewed_nights import Night, add, roll_back


def png(width: int = 400) -> str:
    """Make a picture of noise that compresses badly, and so is larger than a page takes inline."""
    rows = b"".join(
        b"\0" + bytes((x * y * 7919 + x) % 251 for x in range(width * 3)) for y in range(width)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    size = width.to_bytes(4, "big") * 2
    parts = (chunk(b"IHDR", size + b"\x08\x02\0\0\0"), chunk(b"IDAT", zlib.compress(rows, 0)))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")).decode()


@pytest.fixture(scope="module")
def picture():
    """Return a large picture as a notebook holds it."""
    return png()


@pytest.fixture(scope="module")
def site(tmp_path_factory, picture):
    """Make the pages of a store with a good night, and one that failed in cell 2."""
    store = open_store("store", base=tmp_path_factory.mktemp("attempts"))
    for number, state in enumerate(("succeeded", "failed")):
        record = add(
            store, Night(number=number, state=state, files={"scores": {"s.csv": b"a\n1\n"}})
        )
        notebook = json.loads(notebook_json(["print('good morning')", "1 / 0"]))
        shown = {"output_type": "display_data", "metadata": {}, "data": {"image/png": picture}}
        notebook["cells"][0]["outputs"] = [shown]
        prefix = prefix_of(record)
        store.write(f"{prefix}/notebook.ipynb", json.dumps(notebook).encode())
        if state == "failed":
            failure = Failure(
                cause=Cause.NOTEBOOK_ERROR,
                message="notebook_error in cell 2/2: ZeroDivisionError: division by zero",
                cell=2,
                cells=2,
                ename="ZeroDivisionError",
                evalue="division by zero <b>",
            )
            cells = (CellRecord(number=2, title="", state=CellState.FAILED, duration_s=61.0),)
            changed = record.model_copy(update={"failure": failure, "cells": cells})
            store.write(f"{prefix}/record.json", changed.to_json())
            note(store, changed)
    return Site.open(store, OwnerAccess("Ada"))


@pytest.fixture(scope="module")
def web(site):
    """Ask the pages."""
    return TestClient(make_app(site))


GOOD = "flights/2013-03-01/run-0/score/1"
FAILED = "flights/2013-03-02/run-1/score/1"


def test_a_failed_attempt_says_why_and_opens_its_notebook_at_the_cell(web):
    """The page names cause, cell and error, and the frame opens at the cell that failed."""
    page = web.get(f"/runs/{FAILED}").text
    assert "Notebook error in cell 2 of 2" in page
    assert "<strong>ZeroDivisionError</strong>: division by zero &lt;b&gt;" in page
    assert f'src="/notebook/{FAILED}#cell-2"' in page
    assert "/static/frame.js" in page
    assert "<script" not in web.get(f"/runs/{GOOD}").text


def test_the_facts_of_the_page_are_there_as_json(web):
    """A program reads the same facts below /api."""
    facts = web.get(f"/api/runs/{FAILED}").json()
    assert facts["failure"]["cell"] == 2
    assert facts["standing"] == "failed"
    assert facts["frame"] == f"/notebook/{FAILED}#cell-2"
    assert facts["compare_page"] == f"/compare/{FAILED}"


def test_the_notebook_is_a_document_of_an_opaque_origin(web):
    """A browser gives the document no origin, no script, no form and nothing from elsewhere."""
    answer = web.get(f"/notebook/{GOOD}")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'"
    )
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "good morning" in re.sub("<[^>]*>", "", answer.text)


def test_times_of_the_record_stand_beside_the_cells(web):
    """A cell has the time that the record measured."""
    assert "1 min" in web.get(f"/notebook/{FAILED}").text


def test_the_frame_of_the_page_grants_nothing_that_the_document_does_not(web):
    """The frame holds the notebook in a sandbox as well: two locks, not one."""
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in web.get(f"/runs/{GOOD}").text


def test_a_large_picture_opens_by_its_signed_address_alone(web, picture):
    """What is too large for the document is loaded by an address that needs no cookie."""
    found = re.search(r'src="(/part/[^"]+)"', web.get(f"/notebook/{GOOD}").text)
    assert found is not None
    address = found[1].replace("&amp;", "&")
    stranger = TestClient(web.app)
    answer = stranger.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["cache-control"] == "private, max-age=7200"
    assert answer.content == base64.b64decode(picture)
    other_cell = address.replace("/0/0/", "/1/0/")
    assert stranger.get(other_cell).status_code == 403


def test_what_has_ended_is_rendered_once(web, monkeypatch):
    """The second reader of a notebook waits for no rendering."""
    first = web.get(f"/notebook/{GOOD}").text
    monkeypatch.setattr(attempt, "render", lambda *_: pytest.fail("it was rendered again"))
    assert web.get(f"/notebook/{GOOD}").text == first


def test_a_notebook_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    """Half a gigabyte is told of in a page, and never comes into the memory of the server."""
    store = open_store("store", base=tmp_path)
    prefix = prefix_of(add(store, Night(files={"scores": {"s.csv": b"a\n1\n"}})))
    path = store.local_path(f"{prefix}/notebook.ipynb")
    path.write_bytes(b"{")
    with path.open("r+b") as file:
        file.truncate(500 << 20)  # a hole: it takes no disk
    monkeypatch.setattr(attempt, "_data", lambda *_: pytest.fail("it was read"))
    web = TestClient(make_app(Site.open(store, OwnerAccess("Ada"))))
    answer = web.get(f"/notebook/{GOOD}")
    assert answer.status_code == 413
    assert "500 MiB" in answer.text
    assert "500 MiB" in web.get(f"/runs/{GOOD}").text


def test_a_notebook_is_downloaded_as_a_file(web, site):
    """The file is the executed notebook, byte by byte, and no browser shows it as a page."""
    answer = web.get(f"/download/{GOOD}")
    stored = site.store.read(f"runs/{GOOD}/notebook.ipynb")
    assert answer.content == stored.data
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert "flights-2013-03-01-score-1.ipynb" in answer.headers["content-disposition"]


def test_the_record_is_there_as_it_is(web, site):
    """The record's own bytes are one click away."""
    assert web.get(f"/record/{GOOD}").content == site.store.read(f"runs/{GOOD}/record.json").data


@pytest.mark.parametrize("page", ["runs", "notebook", "record", "compare"])
def test_an_attempt_that_is_not_there_is_said_so(web, page):
    """The answer names what is missing and what may have happened to it."""
    answer = web.get(f"/{page}/{GOOD[:-1]}7")
    assert answer.status_code == 404
    assert "nightmill" in answer.text


def test_an_attempt_without_a_notebook_says_why(tmp_path):
    """Stopped before its first cell, an attempt has a page and no empty frame."""
    store = open_store("store", base=tmp_path)
    add(store, Night(state="failed"))
    page = TestClient(make_app(Site.open(store, OwnerAccess("Ada")))).get(f"/runs/{GOOD}").text
    assert "has left no executed notebook" in page
    assert "<iframe" not in page


@pytest.mark.parametrize(("count", "folded"), [(1, 0), (3, 0), (4, 1), (150, 147)])
def test_a_few_warnings_are_shown_and_the_rest_is_folded_with_its_number(tmp_path, count, folded):
    """On the pages of the attempt and of its run; what a page leaves out is counted, too."""
    store = open_store("store", base=tmp_path)
    record = add(store, Night())
    warned = record.model_copy(update={"warnings": tuple(f"no {one}." for one in range(count))})
    store.write(f"{prefix_of(record)}/record.json", warned.to_json())
    note(store, warned)
    client = TestClient(make_app(Site.open(store, OwnerAccess("Ada"))))
    for page in (f"/{prefix_of(record)}", f"/{prefix_of(record).rsplit('/', 2)[0]}"):
        text = client.get(page).text
        parts = re.split(r"<summary>[\d,]+ more warnings?</summary>", text)
        assert len(parts) == 1 + bool(folded)
        told = re.findall(r"<strong>Warning:</strong> no (\d+)\.", parts[0])
        assert told == [str(one) for one in range(min(count, 3))]
    if folded:
        of_attempt = client.get(f"/{prefix_of(record)}").text
        assert f"<summary>{folded} more warning" in of_attempt


# -- what is current instead --------------------------------------------------------------------

SCORES = {"scores": {"s.csv": b"a\n1\n"}}
OLD, NEW = (f"/runs/flights/2013-03-01/run-{number}/score/1" for number in (0, 1))


@pytest.fixture
def run_twice(tmp_path):
    """Fill a store with a night that was run again the next day."""
    store = open_store("store", base=tmp_path)
    for number in (0, 1):
        add(store, Night(number=number, partition="2013-03-01", files=SCORES))
    return store


def test_an_attempt_that_was_replaced_says_what_is_current(run_twice):
    """Whoever reads an old notebook is told so in a line, with a link to what is current now."""
    pages = open_client(run_twice)
    told = get(pages, OLD)["no_longer"]
    assert (told["run"], told["made_by"], told["now"], told["kind"]) == ("run-1", 1, NEW, "")
    text = pages.get(OLD).text
    assert "<strong>No longer current</strong>: <code><bdi>run-1</bdi>:1</code> is, since" in text
    assert f'<a href="{NEW}">What is current now</a>' in text
    assert get(pages, NEW)["no_longer"] is None
    assert "No longer current" not in pages.get(NEW).text


def test_an_attempt_that_was_taken_back_says_by_whom(run_twice):
    """It names the decision, and its reason as text, as the page of its run does."""
    why = {"by": "ann", "reason": "half is <missing>"}
    roll_back(run_twice, Night(), output="scores", to="run-0:1", **why)
    pages = open_client(run_twice)
    told = get(pages, NEW)["no_longer"]
    assert (told["kind"], told["by"], told["now"]) == ("rollback", "ann", OLD)
    for address in (NEW, "/runs/flights/2013-03-01/run-1"):
        text = pages.get(address).text
        assert "after a rollback by <bdi>ann</bdi>" in text
        assert "<q><bdi>half is &lt;missing&gt;</bdi></q>. <a" in text
    assert get(pages, OLD)["no_longer"] is None


def test_what_went_back_and_forth(run_twice):
    """One that was replaced before somebody else was taken back names what is current now."""
    add(run_twice, Night(number=2, partition="2013-03-01", files=SCORES))
    roll_back(run_twice, Night(), output="scores", to="run-0:1", by="ann")
    told = get(open_client(run_twice), NEW)["no_longer"]
    assert (told["run"], told["now"], told["kind"]) == ("run-0", OLD, "")


def test_a_damaged_pointer_claims_nothing(run_twice):
    """Where nobody can tell what is current, the page is whole without it."""
    run_twice.write("current/flights/score/2013-03-01.json", b"{")
    assert get(open_client(run_twice), OLD)["no_longer"] is None


@pytest.mark.parametrize(
    ("night", "looks"),
    [
        (Night(files=SCORES), 1),
        (Night(files=SCORES, state="failed"), 0),
        (Night(files=SCORES, state="running"), 0),
        (Night(), 0),
    ],
    ids=["committed", "failed", "running", "without outputs"],
)
def test_what_is_current_costs_one_look(tmp_path, night, looks):
    """The pointer is read of what has committed outputs, and of nothing else."""
    asked = Asked(open_store("store", base=tmp_path))
    add(asked, night)
    pages = open_client(asked)
    asked.calls.clear()
    assert get(pages, OLD)["no_longer"] is None
    assert sum(key.startswith("current/") for _name, key in asked.calls) == looks
