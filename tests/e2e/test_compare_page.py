"""The page that compares two attempts, in a real browser: read, clicked, without colours, at night.

The picture that is kept here is one that the README shows.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
import uvicorn
from playwright.sync_api import expect

from nightmill.causes import Cause
from nightmill.review.access import OwnerAccess
from nightmill.review.app import make_app
from nightmill.review.site import Site
from nightmill.spec.record import (
    AttemptState,
    CellRecord,
    CellState,
    CheckResult,
    CheckState,
    Code,
    Failure,
    KernelRecord,
    Memory,
)
from nightmill.store.open import open_store
from tests.compared import code, data, error, leave, markdown, notebook, printed, shown
from tests.e2e.browser import faults_for_people, is_too_wide, keep_picture, open_page

pytestmark = pytest.mark.e2e

FIRST_PAINT_MS = 3000  # what case 41 asks for; it takes a tenth of it
NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
HOSTILE = f'<svg {NAMESPACE} width="90" height="60"><script>alert({{}})</script></svg>'


def png(chance: random.Random, width=420, height=180) -> str:
    """Draw a picture that no other one is like, as base64."""
    heights = [chance.randrange(20, height - 10) for _ in range(12)]

    def pixel(x, y):
        return b"\x3b\x6f\xb5" if x % 35 < 26 and height - y < heights[x // 35] else b"\xff\xff\xff"

    rows = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(width)) for y in range(height))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(packed)).decode()


def score(chance: random.Random, *, is_bad: bool) -> bytes:
    """Write the notebook of a night, good or bad."""
    depth, auc, by_airport = (8, "0.711", "0.702") if is_bad else (6, "0.812", "0.824")
    head = "<thead><tr><th></th><th>auc</th><th>flights</th></tr></thead>"
    table = (
        f"<table>{head}<tbody><tr><th>JFK</th><td>0.801</td><td>297</td></tr>"
        f"<tr><th>LGA</th><td>{by_airport}</td><td>285</td></tr></tbody></table>"
    )
    failure = [error("AssertionError", f"auc {auc} is below 0.8")] if is_bad else []
    return notebook(
        markdown("# Score the day", cell="title"),
        code(
            f"model = train(\n    features,\n    depth={depth},\n    rounds=200,\n)",
            printed(f"[100] loss 0.4\n[200] loss {auc}\n"), cell="train", number=2,
        ),
        code("scores.groupby('origin')", shown(text_html=table), cell="table", number=3),
        code("plot(scores)", data("image/png", png(chance)), cell="plot", number=4),
        code("draw()", data("image/svg+xml", HOSTILE.format(depth)), cell="svg", number=5),
        code(f"assert auc > 0.8{'  # noqa' if is_bad else ''}", *failure, cell="end", number=6),
    )  # fmt: skip


def facts(*, is_bad: bool) -> dict[str, object]:
    """Tell what the records of the two nights say."""
    later = {"partition": "2013-03-02", "run": "run-2", "order": 2} if is_bad else {}
    failure = Failure(
        cause=Cause.NOTEBOOK_ERROR, message="AssertionError: auc 0.711 is below 0.8", cell=6
    )
    took = 9.0 if is_bad else 3.1
    return {
        "partition": "2013-03-01",
        **later,
        "state": AttemptState.FAILED if is_bad else AttemptState.SUCCEEDED,
        "committed": not is_bad,
        "failure": failure if is_bad else None,
        "duration_s": took * 60,
        "pool": "highmem" if is_bad else "highcpu",
        "metrics": {"auc": 0.711 if is_bad else 0.812, "rows": 842 if is_bad else 838},
        "code": Code(
            notebook="notebooks/flights/score.ipynb", notebook_sha256=str(took),
            modules={"notebooks/flights/features.py": "same"}, git_commit=f"{took:040}",
            git_dirty=False, image=None,
        ),
        "kernel": KernelRecord(
            name="tabular", lock_sha256=str(took), python="3.11.7",
            libraries={"pandas": "3.0.2" if is_bad else "3.0.1", "numpy": "2.4.0"}, threads=4,
            threads_from="cgroup",
        ),
        "memory": Memory(peak_bytes=int(took * 2**29), limit_bytes=8 << 30),
        "checks": (
            CheckResult(
                output="scores", check="rows", state=CheckState.PASSED, message="842 rows",
                observed="842", duration_s=0.1,
            ),
        ),
        "cells": tuple(
            CellRecord(
                number=number, title="", state=CellState.COMPLETED,
                duration_s=took * 40 if number == 2 else 1.0,
            )
            for number in range(2, 7)
        ),
    }  # fmt: skip


def many_pictures(chance: random.Random) -> bytes:
    """Write the notebook of case 41: forty cells of a PNG and an SVG that no other night has."""
    path = '<path d="M0 0L90 60"/>' * 4800

    def drawn(at):
        large = b64encode(chance.randbytes(300_000)).decode()
        svg = f"<svg {NAMESPACE}>{chance.random()}{path}</svg>"
        outputs = (data("image/png", large), data("image/svg+xml", svg))
        return code(f"plot({at})", *outputs, cell=f"c{at}", number=at + 1)

    return notebook(*(drawn(at) for at in range(40)))


@contextmanager
def served(app) -> Iterator[str]:
    """Serve an application on a free port of loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Serve a store of a good and a bad night, and of two nights full of pictures."""
    store = open_store("store", base=tmp_path_factory.mktemp("compare"))
    chance = random.Random(7)  # noqa: S311 - any pictures do
    for is_bad in (False, True):
        leave(store, score(chance, is_bad=is_bad), **facts(is_bad=is_bad))
        day = {"partition": f"2013-03-0{1 + is_bad}", "run": f"run-{1 + is_bad}"}
        leave(store, many_pictures(chance), step="plots", order=1 + is_bad, **day)
    with served(make_app(Site.open(store, OwnerAccess("Ada")))) as address:
        yield address


def look_at_all(page):
    """Scroll through the page, so that all pictures load; return their widths."""
    pictures = page.locator(".pictures img")
    for place in range(pictures.count()):
        pictures.nth(place).scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('.pictures img')].every(one => one.complete)"
    )
    return page.evaluate(
        "[...document.querySelectorAll('.pictures img')].map(one => one.naturalWidth)"
    )


def test_a_reviewer_reads_what_changed(browser, site):
    """Metrics and source stand first, pictures side by side, and clicks lead on from there."""
    with open_page(browser) as page:
        page.goto(f"{site}/compare/flights/2013-03-02/run-2/score/1")
        headings = page.locator("main h2[id]").all_inner_texts()
        assert headings == [
            "Metrics", "Code", "Outcome", "Environment", "Cells with other outputs",
            "Time and memory",
        ]  # fmt: skip
        auc = page.get_by_role("row", name="auc").first
        assert "-0.1010 (-12.44%)" in auc.inner_text()
        removed = page.locator("del.line.removed").first
        assert removed.inner_text().split() == ["\N{MINUS SIGN}", "depth=6,"]
        assert look_at_all(page) == [420, 420, 90, 90]  # open_page sees that no script of them ran
        page.evaluate("scrollTo(0, 0)")
        keep_picture(page, "compare")

        page.get_by_role("link", name="Show what is equal, too").click()
        expect(page.get_by_role("heading", name="Cell 3")).to_have_count(1)
        expect(page.get_by_role("row", name="numpy")).to_have_count(1)
        page.get_by_role("link", name="Only what differs").click()
        page.get_by_text("Compare with another attempt").click()
        page.get_by_label("Partition").fill("2013-03-01")
        page.get_by_role("button", name="Compare").click()
        expect(page).to_have_url(re.compile("with_partition=2013-03-01"))
        page.get_by_role("link", name="score", exact=True).click()
        expect(page).to_have_url(f"{site}/runs/flights/2013-03-02/run-2/score/1")


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everybody_can_read_it(browser, site, phone, dark):
    """Nothing that axe-core knows of stands in anybody's way, and no page moves sideways."""
    with open_page(browser, phone=phone, dark=dark) as page:
        for query in ("", "?all=1", "?with_partition=2013-03-02&with_run=nothing"):
            page.goto(f"{site}/compare/flights/2013-03-02/run-2/score/1{query}")
            assert faults_for_people(page) == []
            assert not is_too_wide(page)
            if not query and (phone or dark):
                look_at_all(page)
                keep_picture(page, f"compare-{'phone' if phone else 'dark'}", whole=True)
        page.goto(f"{site}/compare/flights/2013-03-01/run-1/score/1")  # nothing is before it
        assert faults_for_people(page) == []


def test_it_can_be_read_by_keys_alone(browser, site):
    """What scrolls by itself can be reached and scrolled without a mouse."""
    with open_page(browser) as page:
        page.goto(f"{site}/compare/flights/2013-03-02/run-2/score/1")
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        assert {"Metrics", "Source of cell 2", "Cell 3, table 1"} <= reached


def first_paint_ms(page):
    """Wait for the first paint of the page that is being loaded, and tell how long it took."""
    return page.evaluate(
        """() => new Promise((tell) => new PerformanceObserver((seen) => {
          const paint = seen.getEntriesByName("first-contentful-paint")[0];
          if (paint) tell(paint.startTime);
        }).observe({ type: "paint", buffered: true }))"""
    )


def test_case_41_in_a_browser(browser, site):
    """A page of eighty pairs of pictures is there within three seconds, and loads them as seen.

    The best of three is what the page takes; what else this machine does only adds to it.
    """
    took_ms = []
    for _ in range(3):
        with open_page(browser) as page:
            asked = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(f"{site}/compare/flights/2013-03-02/run-2/plots/1", wait_until="commit")
            page.get_by_role("heading", name="Cells with other outputs").wait_for()
            took_ms.append(first_paint_ms(page))
            expect(page.locator(".pictures img")).to_have_count(160)
            assert sum("/part/" in url for url in asked) < 80
    assert min(took_ms) < FIRST_PAINT_MS
