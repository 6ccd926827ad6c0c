"""What a reader sees in a real browser of refused forms, of many warnings, and on paper."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from nightmill.causes import Cause
from nightmill.store.history import prefix_of
from nightmill.store.open import open_store
from tests.conftest import notebook_json
from tests.e2e.browser import (
    PHONE,
    faults_for_people,
    is_too_wide,
    keep_picture,
    open_page,
    wait_until,
)
from tests.e2e.served import serving
from tests.run_records import DAY, PIPELINE, RUN, failed, held, leave, record_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

RUN_PATH = f"/runs/{PIPELINE}/{DAY}/{RUN}"
WARNINGS = tuple(
    f"output features: column feature_{number} has drifted, PSI 0.3{number}; it was below 0.1 on "
    "each of the last thirty nights, and what reads it may be wrong by more than it says"
    for number in range(100)
)
SOURCE = "for each in range(3):  # of many\n    print(f'line {each}', 12.5, None, len([1]))"
COLOURS = """() => [...document.querySelectorAll("*")].map((one) => {
  const style = getComputedStyle(one);
  return [one.tagName, one.className, style.color, style.backgroundColor].join(" ");
})"""


@pytest.fixture(scope="module")
def office(make_project):
    """Serve a run in which one attempt failed in cell 14 and another is held, with 100 warnings."""
    project = make_project()
    store = open_store(str(project.store), base=project.root)
    told = {"ename": "ValueError", "evalue": "the features of today lack carrier"}
    for record in (
        failed("features", Cause.NOTEBOOK_ERROR, warnings=WARNINGS, failure=told),
        record_of("load", warnings=WARNINGS[:5]),
        held("score"),
    ):
        leave(store, record)
        notebook = notebook_json([SOURCE] * 22).encode()
        store.write(f"{prefix_of(record)}/notebook.ipynb", notebook)
    with serving(project) as address:
        yield address


# -- many warnings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_many_warnings_are_folded(office, browser, look):
    """A few are shown and the others counted, on the pages of the attempt and of the run."""
    with open_page(browser, dark=look == "dark", phone=look == "phone") as page:
        for name, path in (("attempt", f"{RUN_PATH}/features/1"), ("run", RUN_PATH)):
            page.goto(office + path)
            fold = page.get_by_text("97 more warnings")
            expect(fold).to_have_count(1)
            expect(page.get_by_text("feature_99 has drifted")).to_be_hidden()
            keep_picture(page, f"warnings-{name}-{look}", whole=True)
            fold.click()
            expect(page.get_by_text("feature_99 has drifted")).to_be_visible()
            assert faults_for_people(page) == []
            assert not is_too_wide(page)


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_the_error_of_the_failing_cell_is_in_the_first_screen(office, browser, phone):
    """With a hundred warnings, too; on a phone they are below the notebook."""
    with open_page(browser, phone=phone) as page:
        page.goto(f"{office}{RUN_PATH}/features/1")
        expect(page.get_by_text("lack carrier").first).to_be_in_viewport(ratio=1)
        source = page.frame_locator("iframe").locator("#cell-14 .source")

        def is_in_sight():
            box = source.bounding_box()
            return box and 0 <= box["y"] < page.viewport_size["height"] - 60

        wait_until(page, is_in_sight, "the frame does not go to the cell")
        keep_picture(page, f"first-screen-{'phone' if phone else 'desk'}")
        frame, warnings = page.locator("iframe"), page.locator(".warnings")
        is_below = warnings.bounding_box()["y"] > frame.bounding_box()["y"]
        assert is_below is phone
        assert page.evaluate("scrollY") == 0
    assert PHONE == {"width": 390, "height": 844}


def test_warnings_of_what_did_not_fail_come_first_on_a_phone_too(office, browser):
    """There is no error that they would stand in the way of."""
    with open_page(browser, phone=True) as page:
        page.goto(f"{office}{RUN_PATH}/load/1")
        expect(page.get_by_text("2 more warnings")).to_be_visible()
        above = page.locator(".warnings").bounding_box()["y"]
        assert above < page.locator("iframe").bounding_box()["y"]


# -- paper -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["tonight", "run", "attempt", "notebook"])
def test_paper_is_light_whatever_the_screen_is(office, browser, what):
    """Each element has the same colours on paper in the dark as in the light, code included."""
    path = {"tonight": "/", "run": RUN_PATH, "attempt": f"{RUN_PATH}/features/1"}.get(what)
    seen = []
    for dark in (False, True):
        with open_page(browser, dark=dark) as page:
            if path:
                page.goto(office + path)
            else:  # where it is served no script may run, ours neither
                address = f"{office}{RUN_PATH.replace('/runs/', '/notebook/')}/features/1"
                page.set_content(page.request.get(address).text())
            on_screen = page.evaluate(COLOURS)
            page.emulate_media(media="print", color_scheme="dark" if dark else "light")
            seen.append((on_screen, page.evaluate(COLOURS)))
            keep_picture(page, f"paper-{what}-{'dark' if dark else 'light'}")
    (screen, light), (dark_screen, dark) = seen
    assert screen != dark_screen
    assert light == dark


# -- forms that were refused -----------------------------------------------------------------------


@pytest.mark.parametrize("look", ["light", "phone"])
def test_a_refused_rejection_is_no_dead_end(office, browser, look):
    """What is the matter, one click back to the form, and then it is done."""
    with open_page(browser, phone=look == "phone") as page:
        page.goto(office + RUN_PATH)
        page.get_by_role("button", name="Reject").click()
        expect(page.locator("h1")).to_have_text("A rejection needs a comment")
        page.get_by_role("link", name="Back to the run").click()
        expect(page).to_have_url(f"{office}{RUN_PATH}#review-score-1")
        expect(page.get_by_label("Comment")).to_be_in_viewport()


def test_what_was_written_into_a_form_that_is_too_old_can_be_copied(office, browser):
    """As after a night, when the server was started anew."""
    with open_page(browser) as page:
        page.goto(office + RUN_PATH)
        page.evaluate("document.querySelectorAll('[name=proof]').forEach((one) => one.value = 'x')")
        page.get_by_label("What others should know").fill("Upstream renamed\n<carrier>.")
        page.get_by_role("button", name="Add the note").click()
        expect(page.locator("h1")).to_have_text("This page is too old")
        expect(page.get_by_label("What you wrote")).to_have_value(
            re.compile("^Upstream renamed\n<carrier>\\.$")
        )
        assert faults_for_people(page) == []
        keep_picture(page, "refused-form")
        page.get_by_role("link", name="Back to the run").click()
        expect(page.get_by_label("What others should know")).to_be_in_viewport()
