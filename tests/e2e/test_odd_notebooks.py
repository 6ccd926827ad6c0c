"""The corpus of odd notebooks in a real browser: no script runs, and nothing is fetched.

Each page is opened under our Content-Security-Policy, and again without any policy, so that it is
the sanitizing alone that holds. One browser and one tab serve all: a page has milliseconds.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page, sync_playwright

from nightmill.review.render import POLICY, Limits, NotebookPage, render
from tests.e2e.browser import PHONE, faults_for_people
from tests.making_notebooks import CANARY, SCRIPT, code, notebook, picture, shown
from tests.odd_notebooks import ODD
from tests.odd_realistic import REALISTIC

pytestmark = pytest.mark.e2e

_FORBIDDEN = (
    "script, iframe, frame, object, embed, form, input, button, select, textarea, base, link, "
    "svg, audio, video, portal, template, slot, [srcdoc], [name]:not(meta)"
)
_LOOK = """(forbidden) => {
  const elements = [...document.querySelectorAll('*')];
  const attributes = elements.flatMap((one) => [...one.attributes].map((it) => [one, it]));
  return {
    pwned: window.pwned === undefined ? null : window.pwned,
    forbidden: [...document.querySelectorAll(forbidden)].map((one) => one.outerHTML.slice(0, 200)),
    handlers: attributes.filter(([, it]) => it.name.startsWith('on')).map(([, it]) => it.name),
    links: [...document.querySelectorAll('[href]')].map((one) => one.protocol + one.tagName),
    covering: elements.map((one) => getComputedStyle(one).position)
      .filter((it) => ['fixed', 'absolute'].includes(it)).length,
    refreshing: document.querySelectorAll('meta[http-equiv=refresh]').length,
    wide: document.documentElement.scrollWidth - window.innerWidth,
  };
}"""


@dataclass
class Site:
    """A server of pages on loopback; whatever else is asked of it is noted in `asked`."""

    pages: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def answer(self, path: str) -> tuple[bytes, bool]:
        """Return the page at a path, and whether it is under the policy."""
        kind, _, name = path.strip("/").partition("/")
        if kind not in ("policy", "bare") or name not in self.pages:
            self.asked.append(path)
            return b"", False
        html = self.pages[name]
        if kind == "bare":
            start = html.find("<meta http-equiv=")
            html = html[:start] + html[html.find(">", start) + 1 :] if start >= 0 else html
        return html.encode(), kind == "policy"


@contextmanager
def _served(site: Site) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, has_policy = site.answer(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            if has_policy:
                self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@dataclass
class Tab:
    """One tab of the browser, with what it did beyond opening the page."""

    page: Page
    site: Site
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def open(self, kind: str, name: str) -> None:
        """Open a page; forget what came of the one before."""
        self.requests.clear()
        self.dialogs.clear()
        self.site.asked.clear()
        self.page.goto(f"http://127.0.0.1:{self.site.port}/{kind}/{name}", wait_until="load")

    def strange(self) -> list[str]:
        """Tell what was asked for beyond the page itself and the data in it."""
        pages = tuple(f"http://127.0.0.1:{self.site.port}/{kind}/" for kind in ("policy", "bare"))
        asked = [one for one in self.requests if not one.startswith(("data:", *pages))]
        return [*asked, *self.site.asked, *self.dialogs]


@pytest.fixture(scope="module")
def site():
    """Serve the page of every odd notebook."""
    site = Site()
    for number, odd in enumerate(ODD):
        facts = NotebookPage(**{"title": odd.name, **odd.page})
        site.pages[str(number)] = "".join(render(odd.make(), facts))
    signed = NotebookPage(
        title="n", asset=lambda *_place: "/signed", limits=Limits(picture_bytes=1)
    )
    held = notebook(code("x", shown(png=picture())))
    site.pages["signed"] = "".join(render(held, signed))
    site.pages["control"] = f"<p>control</p>{SCRIPT}<img src='{CANARY}/picture'>"
    with _served(site):
        yield site


@pytest.fixture(scope="module")
def tab(site):
    """Open a browser of a phone's width, for which the canary's address is our server."""
    rules = f"--host-resolver-rules=MAP canary.test:80 127.0.0.1:{site.port}"
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage", rules],
        )
        tab = Tab(browser.new_page(viewport=PHONE), site)
        tab.page.on("request", lambda one: tab.requests.append(one.url))
        tab.page.on("dialog", lambda one: (tab.dialogs.append(one.message), one.dismiss()))
        yield tab
        browser.close()


def test_the_canary_sings_where_a_script_runs(tab):
    """Without policy and sanitizing a script does run, and the tests would know."""
    tab.open("bare", "control")

    assert tab.page.evaluate("window.pwned") == 1
    assert tab.dialogs == ["1"]
    for _ in range(300):  # what a script fetches is not waited for by the page
        if {*tab.site.asked} >= {"/hit", "/hit/picture"}:
            break
        tab.page.wait_for_timeout(100)  # a poll with a deadline
    assert {*tab.site.asked} >= {"/hit", "/hit/picture"}


def test_the_policy_alone_stops_a_script(tab):
    """Under the policy even a page that nobody sanitized neither runs a script nor loads."""
    tab.open("policy", "control")

    assert tab.site.asked == tab.dialogs == []


def test_the_policy_lets_a_large_picture_be_asked_of_our_server(tab):
    """Though the page has no origin of its own, its pictures may come from where it came from."""
    tab.open("policy", "signed")

    assert tab.site.asked == ["/signed"]


@pytest.mark.parametrize("number", range(len(ODD)), ids=[odd.name for odd in ODD])
def test_a_page_does_nothing_even_without_a_policy(tab, number):
    """Sanitizing alone leaves nothing that runs, loads or covers; no page scrolls sideways."""
    tab.open("bare", str(number))

    seen = tab.page.evaluate(_LOOK, _FORBIDDEN)
    assert tab.strange() == []
    assert seen["pwned"] is None
    assert seen["forbidden"] == seen["handlers"] == []
    assert set(seen["links"]) <= {"http:A", "https:A", "mailto:A"}
    assert seen["covering"] == seen["refreshing"] == 0
    assert seen["wide"] <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_people_can_use_the_pages(tab, scheme):
    """Outputs of libraries are shown so that axe-core finds nothing, in the light and the dark."""
    tab.page.emulate_media(color_scheme=scheme)
    faults = {}
    for number, odd in enumerate(REALISTIC):
        tab.open("bare", str(number))
        faults[odd.name] = faults_for_people(tab.page)

    assert not any(faults.values()), faults


@pytest.mark.parametrize("number", range(len(ODD)), ids=[odd.name for odd in ODD])
def test_a_page_under_the_policy_is_shown_and_does_nothing(tab, number):
    """Under the policy each page still shows its title, and asks for nothing."""
    tab.open("policy", str(number))

    assert tab.page.locator("h1").count() == 1
    assert tab.strange() == []
