"""A real browser for tests of pages: what it shows, whom it shuts out, and pictures of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

REPOSITORY = Path(__file__).parents[2]
SCREENSHOTS = Path(os.environ.get("NIGHTMILL_SCREENSHOTS", REPOSITORY / ".nightmill/screenshots"))
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}

_ENOUGH_MS = 30_000
expect.set_options(timeout=_ENOUGH_MS)  # 5 s are too few where a page asks every 2 s


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Debian's Chromium, without a window."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    assert binary, "no Chromium here: install Debian's package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, *, phone: bool = False, dark: bool = False) -> Iterator[Page]:
    """Open an empty page, in Tokyo, that fails its test where any script of it fails."""
    context = browser.new_context(
        viewport=PHONE if phone else DESK,
        color_scheme="dark" if dark else "light",
        timezone_id="Asia/Tokyo",
    )
    context.set_default_timeout(_ENOUGH_MS)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    try:
        yield page
    finally:
        context.close()
    assert faults == []


def wait_until(page: Page, condition: Callable[[], object], what: str) -> None:
    """Wait for what no expectation of Playwright's can tell."""
    for _ in range(_ENOUGH_MS // 100):
        if condition():
            return
        page.wait_for_timeout(100)  # a poll with a deadline
    raise AssertionError(what)


def keep_picture(page: Page, name: str, *, whole: bool = False) -> Path:
    """Keep a picture of what is to be seen, for people to look at after the tests."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path


def faults_for_people(page: Page) -> list[str]:
    """Return what axe-core finds that some people cannot use."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {', '.join(str(node['target']) for node in one['nodes'][:3])}"
        for one in found
    ]


def is_too_wide(page: Page) -> bool:
    """Tell whether a reader would have to move the whole page sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"))
