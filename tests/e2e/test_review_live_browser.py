"""Pages of what runs in a real browser: when the server is away, and while somebody reads."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from nightmill.causes import Cause
from nightmill.spec.record import AttemptState
from nightmill.store.active import unmark
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.open import open_store
from tests.conftest import notebook_json
from tests.e2e.browser import faults_for_people, is_too_wide, keep_picture, open_page, wait_until
from tests.e2e.served import serving
from tests.run_records import DAY, PIPELINE, RUN, failed, keep_code, leave, progress_of, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TOKEN = "a-token-of-24-characters"
RUN_PATH = f"/runs/{PIPELINE}/{DAY}/{RUN}"
ATTEMPT = f"{RUN_PATH}/features/1"
NOT_FRESH = re.compile(r"Not fresh since \d+ \w{3} \d{4}, \d\d:\d\d E[SD]T")
CELLS = 40
SPOKEN = """() => {
  window.spoken = [];
  const said = document.querySelector("[data-live-said]");
  new MutationObserver(() => window.spoken.push(said.textContent)).observe(said, {childList: true});
}"""


class Work:
    """An attempt at work in a store: it goes on as its test says."""

    def __init__(self, project):
        self.store = open_store(str(project.store), base=project.root)
        begun = datetime.now(UTC) - timedelta(minutes=3)
        self.record = running("features", started_at=begun, code=keep_code(self.store))
        leave(self.store, self.record)
        self.go_on(1)

    def go_on(self, position):
        """Say that so many cells are at work or done, and write the notebook so."""
        made = json.loads(notebook_json([f"print({number})" for number in range(1, CELLS + 1)]))
        for number, cell in enumerate(made["cells"][:position], 1):
            text = "\n".join(f"line {line} of cell {number}" for line in range(6))
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
        prefix = prefix_of(self.record)
        self.store.write(f"{prefix}/notebook.ipynb", json.dumps(made).encode())
        told = progress_of(self.record, position=position, cell=position, of=CELLS)
        self.store.write(f"{prefix}/progress.json", told.to_json())

    def end(self):
        """Write the end as a step does."""
        known = {"state": AttemptState.SUCCEEDED, "ended_at": datetime.now(UTC), "duration_s": 9.0}
        ended = self.record.model_copy(update=known)
        self.store.write(f"{prefix_of(ended)}/record.json", ended.to_json())
        note(self.store, ended)
        unmark(self.store, prefix_of(ended))


@pytest.fixture
def project(make_project):
    """Make an empty project."""
    return make_project()


@pytest.fixture
def work(project):
    """Let an attempt be at work."""
    return Work(project)


@pytest.fixture
def page(browser):
    """Open a page at a desk."""
    with open_page(browser) as opened:
        yield opened


# -- when the server is away -----------------------------------------------------------------------


def test_a_page_says_since_when_it_is_not_fresh_and_recovers_by_itself(project, work, page):
    """The server goes and comes back: said once each time, in the pipeline's zone."""
    with serving(project) as address:
        page.goto(address + ATTEMPT)
        expect(page.locator("[data-live]")).to_contain_text("Cell 1")
        expect(page.locator(".away")).to_be_hidden()
        page.evaluate(SPOKEN)
    away = page.locator(".away")
    expect(page.locator(".away").get_by_text("the server does not answer")).to_be_visible()
    expect(away).to_contain_text(NOT_FRESH, use_inner_text=True)
    expect(away).to_be_in_viewport()
    expect(away.get_by_role("link", name="Load it again")).to_be_visible()
    expect(page.locator("[data-live]")).not_to_contain_text("ago", use_inner_text=True)
    keep_picture(page, "live-server-gone")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(away).to_be_in_viewport()
    page.wait_for_timeout(5000)  # more failures, which say nothing new
    (heard,) = page.evaluate("spoken")
    assert NOT_FRESH.search(heard)
    work.go_on(2)
    with serving(project, urlsplit(address).port):  # by now it asks every half a minute at worst
        expect(page.locator("[data-live]")).to_contain_text("Cell 2", timeout=90_000)
        expect(away).to_be_hidden()
        assert page.evaluate("spoken") == [heard, "features is running"]
        expect(page.locator("[data-live]")).to_contain_text("ago", use_inner_text=True)


@pytest.mark.parametrize("code", [404, 500, 502, 503])
@pytest.mark.usefixtures("work")
def test_no_answer_but_an_error_is_told_like_silence(project, page, code):
    """A proxy whose server is gone answers, too."""
    with serving(project) as address:
        page.goto(address + RUN_PATH)
        page.route("**/live/**", lambda route: route.fulfill(status=code, body="<p>Bad</p>"))
        expect(page.locator(".away").get_by_text("the server does not answer")).to_be_visible()
        page.unroute("**/live/**")
        expect(page.locator(".away")).to_be_hidden(timeout=30_000)


@pytest.mark.usefixtures("work")
def test_whoever_is_not_signed_in_any_more_is_led_there_and_back(project, page):
    """The page says so with a link; signing in leads back to it."""
    with serving(project, 0, "--token", TOKEN) as address:
        page.goto(address + ATTEMPT)
        page.get_by_role("link", name="Sign in").click()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("[data-live]")).to_contain_text("Cell 1")
        page.context.clear_cookies()
        expect(page.locator(".away").get_by_text("you are not signed in any more")).to_be_visible()
        keep_picture(page, "live-signed-out")
        page.get_by_role("link", name="Sign in again").click()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(address + ATTEMPT)
        expect(page.locator("[data-live]")).to_contain_text("Cell 1")


@pytest.mark.parametrize("refusal", ["forbidden", "elsewhere"])
@pytest.mark.usefixtures("work")
def test_a_proxy_that_asks_to_sign_in_is_understood(project, page, refusal):
    """It forbids, or leads to where one signs in: the link is the page, which it leads from."""
    sent = {"forbidden": {"status": 403}, "elsewhere": {"status": 302}}[refusal]
    sent |= {"headers": {"location": "https://login.example/"}} if refusal == "elsewhere" else {}
    with serving(project) as address:
        page.goto(address + ATTEMPT)
        page.route("**/live/**", lambda route: route.fulfill(**sent))
        expect(page.locator(".away").get_by_text("you are not signed in any more")).to_be_visible()
        link = page.get_by_role("link", name="Sign in again")
        assert link.get_attribute("href") == ATTEMPT


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
@pytest.mark.usefixtures("work")
def test_everyone_can_use_a_page_that_is_not_fresh(project, browser, look):
    """Axe-core finds no fault in what the page says then, and it fits."""
    with open_page(browser, dark=look == "dark", phone=look == "phone") as page:
        with serving(project) as address:
            page.goto(address + RUN_PATH)
        expect(page.locator(".away")).to_be_visible()
        assert faults_for_people(page) == []
        assert not is_too_wide(page)
        keep_picture(page, f"live-server-gone-{look}")


# -- while somebody reads the notebook -------------------------------------------------------------


def text_of(page):
    """Return the frame of the notebook."""
    return page.frame_locator("iframe").locator("main")


def place_in(page):
    """Tell where the top of the notebook is; above 0 is above the page."""
    return page.frame_locator("iframe").locator("h1").bounding_box()["y"]


def scroll_in(page):
    """Move the mouse to the notebook, and turn its wheel."""
    box = page.locator("iframe").bounding_box()
    for y in (-20, 60, 100):
        page.mouse.move(box["x"] + 300, box["y"] + y)
    expect(page.locator(".veil")).to_have_count(0)
    page.wait_for_timeout(200)
    page.mouse.wheel(0, 900)


def place_at_rest(page):
    """Tell where the top of the notebook stays: it scrolls smoothly, and not at once."""
    seen = []

    def is_at_rest():
        seen.append(place_in(page))
        return seen[-1] < 0 and len(seen) > 9 and len({*seen[-9:]}) == 1

    wait_until(page, is_at_rest, "it does not come to rest")
    return seen[-1]


@pytest.mark.parametrize("touch", [False, True])
def test_who_comes_before_the_notebook_sees_it_by_itself(project, work, browser, touch):
    """Nothing is stored in the first seconds: it is said, and nobody has to load the page again."""
    work.store.delete(f"{prefix_of(work.record)}/notebook.ipynb")
    page = browser.new_context(has_touch=touch, is_mobile=touch).new_page()
    with serving(project) as address:
        page.goto(address + ATTEMPT)
        expect(page.get_by_text("There is no executed notebook yet.")).to_be_visible()
        work.go_on(2)
        frame = page.frame_locator("iframe")
        expect(frame.get_by_text("line 5 of cell 2")).to_be_visible(timeout=30_000)
    page.context.close()


def test_who_looks_on_sees_the_notebook_grow_and_back_leaves_the_page(project, work, page):
    """Each upload is shown by itself, and none is one more entry of the history."""
    with serving(project) as address:
        page.goto(f"{address}/runs")
        page.goto(address + ATTEMPT)
        before = page.evaluate("history.length")
        for position in (2, 3, 4):
            work.go_on(position)
            expect(text_of(page)).to_contain_text(f"line 5 of cell {position}")
        assert page.evaluate("history.length") == before
        page.go_back()
        expect(page).to_have_url(f"{address}/runs")


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_who_reads_keeps_the_place_until_they_ask(project, work, page, way):
    """An upload changes nothing in the frame but a button, which leads to the cell at work."""
    with serving(project) as address:
        page.goto(f"{address}/runs")
        page.goto(address + ATTEMPT)
        expect(text_of(page)).to_contain_text("line 5 of cell 1")
        if way == "mouse":
            scroll_in(page)
        else:
            page.locator("iframe").focus()
            page.keyboard.press("PageDown")
        place = place_at_rest(page)
        work.go_on(30)
        more = page.get_by_role("button", name="Show what is new")
        expect(more).to_be_visible(timeout=15_000)
        page.wait_for_timeout(3000)
        assert place_in(page) == pytest.approx(place, abs=1)
        keep_picture(page, f"live-reading-{way}")
        expect(more).to_be_in_viewport(ratio=1)
        assert faults_for_people(page) == []
        more.click()
        last = page.frame_locator("iframe").locator("#cell-30")
        expect(last).to_contain_text("line 5 of cell 30")
        expect(last).to_be_in_viewport()
        expect(more).to_be_hidden()
        page.go_back()
        expect(page).to_have_url(f"{address}/runs")


def test_an_end_does_not_take_the_notebook_from_who_reads(project, work, page):
    """The page says that there is more, and shows it when they ask."""
    with serving(project) as address:
        page.goto(address + ATTEMPT)
        page.wait_for_timeout(8500)  # before that no page is loaded anew by itself
        scroll_in(page)
        place = place_at_rest(page)
        work.end()
        more = page.get_by_role("button", name="It has ended: show all of it")
        expect(more).to_be_visible(timeout=15_000)
        page.wait_for_timeout(3000)
        assert place_in(page) == pytest.approx(place, abs=1)
        more.click()
        expect(page.locator("h1")).to_contain_text("succeeded")
        expect(more).to_have_count(0)


def test_who_does_not_read_sees_the_end_by_itself(project, work, page):
    """Nobody has been in the frame: the page is loaded anew."""
    with serving(project) as address:
        page.goto(address + ATTEMPT)
        work.end()
        expect(page.locator("h1")).to_contain_text("succeeded", timeout=30_000)


def test_by_touch_a_notebook_stays_where_it_is(project, work, browser):
    """A page cannot tell whether somebody reads a frame by touch: it always asks."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    with serving(project) as address:
        page.goto(address + ATTEMPT)
        work.go_on(2)
        more = page.get_by_role("button", name="Show what is new")
        expect(more).to_be_visible(timeout=15_000)
        keep_picture(page, "live-reading-phone", whole=True)
        more.tap()
        expect(text_of(page)).to_contain_text("line 5 of cell 2")
    context.close()


def test_back_leaves_the_page_of_an_attempt_that_failed(project, page):
    """Going to the failing cell once more is no entry of the history either."""
    store = open_store(str(project.store), base=project.root)
    record = leave(store, failed("features", Cause.NOTEBOOK_ERROR))
    notebook = notebook_json([f"print({number})" for number in range(22)])
    store.write(f"{prefix_of(record)}/notebook.ipynb", notebook.encode())
    with serving(project) as address:
        page.goto(f"{address}/runs")
        page.goto(address + ATTEMPT)
        expect(page.frame_locator("iframe").locator("#cell-14")).to_be_in_viewport()
        page.wait_for_timeout(1000)
        page.go_back()
        expect(page).to_have_url(f"{address}/runs")
        assert page.locator("iframe").count() == 0
