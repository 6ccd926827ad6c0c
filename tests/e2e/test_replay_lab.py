"""A real browser on a replay that is open in JupyterLab: it shows the cell that failed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest
import websocket

from tests.jupyter_lab import opened

pytestmark = pytest.mark.e2e

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
ENOUGH_S = 90
ACTIVE = "document.querySelector('.jp-Cell.jp-mod-active .jp-InputArea-editor')?.innerText"


class Page:
    """A page of the browser, driven by its debugging protocol."""

    def __init__(self, address):
        self._socket = websocket.create_connection(address, timeout=ENOUGH_S)
        self._count = 0

    def call(self, method, **parameters):
        """Call a method of the protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._count:
                return answer["result"]

    def wait_for(self, script, wanted):
        """Wait until a script gives what is wanted; return what it gave last."""
        deadline = time.monotonic() + ENOUGH_S
        found = None
        while found != wanted and time.monotonic() < deadline:
            result = self.call("Runtime.evaluate", expression=script)["result"]
            found = result.get("value")
            time.sleep(0.2)
        return found

    def close(self):
        """Let go of the page."""
        self._socket.close()


@contextmanager
def browse(folder):
    """Open an empty page in a browser that knows nothing."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,800"]
    flags += ["--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        [BROWSER, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        facts, deadline = folder / "DevToolsActivePort", time.monotonic() + ENOUGH_S
        while not (facts.is_file() and "\n" in facts.read_text()):  # it is made, then written
            assert time.monotonic() < deadline
            time.sleep(0.1)
        port, place = facts.read_text().split("\n")
        browser = Page(f"ws://127.0.0.1:{port}{place}")
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(f"ws://127.0.0.1:{port}/devtools/page/{target}")
        yield page
        page.close()
        browser.close()
    finally:
        process.terminate()
        process.wait(ENOUGH_S)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_the_browser_shows_the_failing_cell(make_project, tmp_path):
    """Of a long notebook the failing cell is selected and in sight, with no click."""
    project = make_project("browser")
    cells = [f"print({number})\n# a line\n# a line" for number in range(40)]
    cells[30] = "raise ValueError('here')"
    project.pipeline("open", "bad: {notebook: bad.ipynb}", bad=cells)
    ran = project.run("run", "open", "--partition", "2013-03-01")
    assert ran.code == 1, ran.err
    run = project.attempts("open", "bad")[0].parts[-3]
    with opened(project, run, env={}) as lab, browse(tmp_path) as page:
        page.call("Page.navigate", url=lab.url)
        assert page.wait_for(ACTIVE, cells[30]) == cells[30]
        seen = f"(({ACTIVE.partition('?')[0]}).getBoundingClientRect().top)"
        assert page.wait_for(f"0 < {seen} && {seen} < window.innerHeight", wanted=True)
        assert lab.end() == 0
