"""A morning's review in a real browser: what went wrong, what changed, what waits, what runs."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import (
    DESK,
    faults_for_people,
    is_too_wide,
    keep_picture,
    open_page,
    wait_until,
)
from tests.e2e.morning import Morning, make_morning

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Office:
    """The pages of a morning, served by the real command."""

    morning: Morning
    address: str

    def attempt(self, pipeline: str, step: str, *, night: str = "") -> str:
        """Return the names of the newest attempt at a step, as they stand in addresses."""
        runs = self.morning.project.store / "runs"
        tried = sorted(runs.glob(f"{pipeline}/{night or self.morning.tonight}/*/{step}/*"))
        return tried[-1].relative_to(runs).as_posix()


@contextmanager
def served(project, *arguments: str):
    """Serve the pages of a project's store for a while; yields their address.

    Whatever the server complains of fails the tests.
    """
    complaints: list[str] = []
    with project.start("review", "--port", "0", *arguments) as process:
        listener = Thread(target=lambda: complaints.extend(process.stderr))
        listener.start()
        try:
            yield process.stdout.readline().strip().rstrip("/")
        finally:
            process.terminate()
            process.wait(timeout=30)
            listener.join(timeout=30)
    assert complaints == []


@pytest.fixture(scope="module")
def office(make_project):
    """Serve the pages of a morning."""
    morning = make_morning(make_project())
    with served(morning.project) as address:
        yield Office(morning, address)


@pytest.fixture
def page(browser):
    """Open a page at a desk, of a reader who is far from the pipeline's time zone."""
    with open_page(browser) as opened:
        yield opened


def wait_until_in_sight(page: Page, selector: str) -> None:
    """Wait until the notebook's frame shows the top of something, as it does once it is loaded."""
    shown = page.frame_locator("iframe").locator(selector)
    expect(shown).to_be_attached()

    def is_in_sight() -> bool:
        box, frame = shown.bounding_box(), page.locator("iframe").bounding_box()
        if box is None or frame is None:
            return False
        bottom = min(frame["y"] + frame["height"], DESK["height"])
        return max(frame["y"], 0) - 1 <= box["y"] <= bottom - 40

    wait_until(page, is_in_sight, f"{selector} is not in sight")


def test_tonight_names_what_needs_a_person(office, page):
    """The first page says how many pipelines need somebody, and names each with why."""
    page.goto(office.address)
    expect(page.locator("main")).to_contain_text("3 of 4 pipelines need you")
    for pipeline, words in (
        ("flights", "the features of today lack carrier"),
        ("prices", "nothing has run"),
        ("fraud", "waits for a decision"),
    ):
        line = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=pipeline))
        expect(line.first).to_contain_text(words)
    keep_picture(page, "tonight")


def test_from_tonight_to_the_failing_cell_in_two_clicks(office, page):
    """One click opens the failing notebook at its failing cell; by way of the run it is two."""
    page.goto(office.address)
    page.get_by_role("link", name=re.compile("^flights, ")).first.click()
    cell = page.frame_locator("iframe").locator("#cell-5")
    expect(cell).to_contain_text("AssertionError")
    wait_until_in_sight(page, "#cell-5 .reason")
    keep_picture(page, "failing-notebook")

    page.goto(office.address)
    page.get_by_role("link", name=re.compile("^Run of flights")).click()
    page.get_by_role("link", name=re.compile("^Cell 5 of 9")).click()
    wait_until_in_sight(page, "#cell-5 .reason")


def test_a_notebook_opens_at_its_failing_cell_every_time(office, browser):
    """However its parts come in, a frame is at the failing cell once the page is loaded."""
    for _ in range(8):
        with open_page(browser) as page:
            page.goto(f"{office.address}/runs/{office.attempt('flights', 'score')}")
            wait_until_in_sight(page, "#cell-5 .reason")


def test_the_failing_cell_has_its_error_first_and_its_neighbours_in_reach(office, page):
    """Case 42: the cell is open, the error stands above its source, two cells lie either side."""
    page.goto(f"{office.address}/runs/{office.attempt('flights', 'score')}")
    cell = page.frame_locator("iframe").locator("#cell-5")
    reason, source = cell.locator(".reason"), cell.locator("details.source")
    expect(source).to_have_attribute("open", "")
    assert reason.bounding_box()["y"] < source.bounding_box()["y"]
    near = reason.get_by_role("link")
    assert [near.nth(at).inner_text() for at in range(near.count())] == ["3", "4", "6", "7"]


def test_times_are_the_pipelines_wherever_the_reader_is(office, page):
    """Case 22: a reader in Tokyo reads New York's times, which say so."""
    assert page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone") == "Asia/Tokyo"
    page.goto(f"{office.address}/runs/{office.attempt('flights', 'score')}")
    local = re.compile(r"0[23]:3\d E[SD]T")  # one night a year has no 02:31
    expect(page.locator("main time").first).to_contain_text(local)
    notebook = page.frame_locator("iframe").locator("header")
    expect(notebook).to_contain_text("times in America/New_York")


def test_what_changed_since_the_last_good_night(office, page):
    """The failed attempt is compared with the last good one, and only what differs is shown."""
    page.goto(f"{office.address}/runs/{office.attempt('flights', 'score')}")
    page.get_by_role("link", name="Compare with the last good run").first.click()
    expect(page.locator("main")).to_contain_text(office.morning.nights[-2])
    keep_picture(page, "compare-failed", whole=True)
    good = office.attempt("flights", "score", night=office.morning.nights[-2])
    page.goto(f"{office.address}/compare/{good}")
    expect(page.get_by_role("row", name=re.compile("auc"))).to_be_visible()
    pictures = page.locator("main img")
    assert pictures.count() == 2
    keep_picture(page, "compare", whole=True)


def test_an_approval_is_the_commit(office, page):
    """Approving on the page makes the scores current, with name, time and comment in the record."""
    project, tonight = office.morning.project, office.morning.tonight
    pointer = project.store / f"current/fraud/score/{tonight}.json"
    assert not pointer.exists()
    page.goto(office.address)
    page.get_by_role("link", name=re.compile("^fraud, ")).first.click()
    page.get_by_label("Comment").fill("Looks as usual.")
    keep_picture(page, "held")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("main")).to_contain_text("was approved")
    expect(page.locator("main")).to_contain_text("Looks as usual.")
    decision = project.record("fraud", "score")["review"]["decision"]
    assert decision["approved"] is True
    assert decision["comment"] == "Looks as usual."
    assert pointer.exists()
    page.goto(office.address)
    expect(page.locator("main")).to_contain_text("2 of 4 pipelines need you")


def test_a_note_stays_with_the_run(office, page):
    """What somebody writes about a run is there for the next reader, with name and time."""
    run = "/".join(office.attempt("flights", "score").split("/")[:3])
    page.goto(f"{office.address}/runs/{run}")
    page.get_by_label("What others should know about this run").fill("Upstream renamed <carrier>.")
    page.get_by_role("button", name="Add the note").click()
    expect(page.locator("main")).to_contain_text("Upstream renamed <carrier>.")
    keep_picture(page, "run", whole=True)


def test_a_running_step_is_seen_at_work_until_its_end(office, page):
    """The page shows cell and last line as they change, and then how it ended, by itself."""
    project, tonight = office.morning.project, office.morning.tonight
    before, seen = len(project.attempts("energy", "score")), project.root / "seen"
    with (
        project.start(
            "run", "energy", "--partition", tonight, "--rerun", "-p", f"until={seen}"
        ) as process,
        ExitStack() as ending,
    ):
        ending.callback(seen.touch)  # it would not end before
        page.goto(f"{office.address}/runs?pipeline=energy")
        running = page.get_by_role("row").filter(has_text="running")
        while running.count() == 0:
            assert process.poll() is None
            page.wait_for_timeout(500)
            page.reload()
        assert len(project.attempts("energy", "score")) == before + 1
        attempt = office.attempt("energy", "score")
        uploaded = project.store / "runs" / attempt / "notebook.ipynb"
        wait_until(page, uploaded.exists, "the notebook is not uploaded")
        page.goto(f"{office.address}/runs/{attempt}")
        at_work = page.locator("[data-live]")
        expect(at_work).to_contain_text(re.compile("batch [0-9]+"), timeout=60_000)
        first = at_work.inner_text()
        expect(at_work).not_to_have_text(first)
        keep_picture(page, "running")
        notebook = page.frame_locator("iframe")
        expect(notebook.locator("#cell-3")).to_contain_text("batch", timeout=60_000)
        seen.touch()
        expect(page.locator("h1")).to_contain_text("succeeded", timeout=120_000)
        expect(page.locator("[data-live]")).to_have_count(0)
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err


def test_a_search_has_an_address_to_share(office, page, browser):
    """What one reader found, another sees at the same address."""
    page.goto(office.address)
    page.get_by_label("Search runs").fill("flights failed")
    page.get_by_label("Search runs").press("Enter")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    with open_page(browser) as other:
        other.goto(page.url)
        expect(other.locator("tbody tr")).to_have_count(1)


def test_the_pages_are_used_by_keyboard(office, page):
    """The first key leads past the menu; from there the next one reaches what needs a person."""
    page.goto(office.address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").startswith("flights, ")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("score")


def every_page(office: Office) -> dict[str, str]:
    """Name a page of each kind."""
    failed, good = office.attempt("flights", "score"), office.attempt("energy", "score")
    night = office.morning.nights[-2]
    return {
        "tonight": "/",
        "runs": "/runs",
        "no-runs": "/runs?q=nothing-like-it",
        "pipeline": "/pipelines/flights",
        "run": "/runs/" + "/".join(failed.split("/")[:3]),
        "attempt": f"/runs/{failed}",
        "good-attempt": f"/runs/{good}",
        "compare": f"/compare/{failed}",
        "metric-list": "/metrics",
        "metrics": "/metrics/flights/score",
        "output-list": "/outputs",
        "output": "/outputs/flights/scores",
        "version": f"/outputs/flights/scores/{night}",
        "missing": "/runs/flights/2001-01-01/nothing",
    }


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_everyone_can_use_every_page(office, browser, look):
    """In light, in the dark and on a phone, axe-core finds no fault and no page is too wide."""
    found = {}
    with open_page(browser, dark=look == "dark", phone=look == "phone") as page:
        for name, path in every_page(office).items():
            page.goto(office.address + path)
            faults = faults_for_people(page) + ["too wide"] * is_too_wide(page)
            if faults:
                found[name] = faults
            if look != "light":
                keep_picture(page, f"{name}-{look}")
    assert found == {}


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_everyone_can_use_an_executed_notebook(office, browser, look):
    """The document of a notebook, too, is without faults for axe-core, and never too wide."""
    with open_page(browser, dark=look == "dark", phone=look == "phone") as page:
        for pipeline, step in (("flights", "score"), ("flights", "features"), ("fraud", "score")):
            address = f"{office.address}/notebook/{office.attempt(pipeline, step)}"
            # Where it is served, not even axe-core may run.
            page.set_content(page.request.get(address).text())
            assert faults_for_people(page) == []
            assert not is_too_wide(page)
            keep_picture(page, f"notebook-{pipeline}-{step}-{look}", whole=True)


def test_no_script_runs_in_the_frame_of_a_notebook(office, page):
    """What a notebook's frame shows cannot reach the page around it, nor run at all."""
    page.goto(f"{office.address}/runs/{office.attempt('flights', 'score')}")
    frame = page.locator("iframe")
    assert "allow-scripts" not in frame.get_attribute("sandbox")
    answer = page.request.get(f"{office.address}/notebook/{office.attempt('flights', 'score')}")
    assert answer.headers["content-security-policy"].startswith("sandbox")
