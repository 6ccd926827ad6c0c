"""The review pages in a real Airflow, looked at by somebody who signs in there."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from nightmill.airflow.standalone import USER, StandaloneAirflow
from tests.e2e.airflow_api import Client, eventually
from tests.e2e.browser import keep_picture, open_page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
DAY = "2013-03-01"
STEPS = "tell: {notebook: tell.ipynb}"
EVIL = "<script>top.hacked = self.hacked = 1; alert(1)</script>"
TELL = [
    (f"# The night's figures\n\n{EVIL}<img src=x onerror='top.hacked=1'>", "markdown"),
    ("partition: str = ''", "parameters"),
    f"""\
from IPython.display import HTML, Javascript, display
display(HTML({EVIL!r} + "<table><tr><td onclick='top.hacked=1'>1,234 flights</td></tr></table>"))
display(Javascript("top.hacked = 1"))
""",
    "print('told of', partition)",
]


@pytest.fixture(scope="module")
def files(make_project):
    """Make a project with a pipeline whose notebook would like to be more than a page."""
    made = make_project("airflow-review")
    made.pipeline("figures", STEPS, tell=TELL)
    made.write("dags/nightmill_dags.py", (REPOSITORY / "dags/nightmill_dags.py").read_bytes())
    made.write("dags/platform.yaml", "store: .nightmill/store\n")
    return made


@pytest.fixture(scope="module")
def airflow(files):
    """Run a whole Airflow."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as probe:
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            patch.delenv(name)  # those of the tests that need no running Airflow
        patch.setenv("NIGHTMILL_KERNELS", files.env["NIGHTMILL_KERNELS"])
        patch.setenv("NIGHTMILL_ENV", "")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with StandaloneAirflow(files.root, files.root / ".nightmill" / "airflow", port) as running:
            yield running


@pytest.fixture(scope="module")
def run(airflow):
    """Let Airflow run the pipeline once; return the run's id."""
    client = Client(airflow)
    eventually(lambda: client.call("GET", "dags")["dags"], "the DAG")
    found = client.trigger("figures", conf={"partition": DAY})
    assert client.ended("figures", found) == "success"
    client.close()
    return found


def sign_in(page, airflow):
    """Fill in Airflow's own form."""
    page.locator("input[name=username]").fill(USER)
    page.locator("input[name=password]").fill(airflow.password)
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()


@pytest.fixture
def signed_in(browser, airflow):
    """Open a page of somebody who has signed in to Airflow."""
    with open_page(browser) as page:
        page.goto(f"{airflow.address}/auth/login")
        sign_in(page, airflow)
        page.wait_for_url(f"{airflow.address}/")
        yield page


def test_a_link_leads_through_the_sign_in_of_airflow(browser, airflow, run):
    """Whoever follows a link to a notebook signs in where they always do, and then sees it."""
    with open_page(browser) as page:
        there = f"{airflow.address}/nightmill/airflow/figures/{quote(run, safe='')}/tell/-1"
        assert page.goto(there).status == 401
        page.get_by_role("link", name="Sign in").click()
        sign_in(page, airflow)
        page.wait_for_url(re.compile(r"/nightmill/runs/figures/2013-03-01/.*/tell/1"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("tell")


def test_the_tab_of_a_task(signed_in, airflow, run):
    """The executed notebook is shown inside Airflow's page of the task, and runs nothing there."""
    page = signed_in
    page.goto(f"{airflow.address}/dags/figures/runs/{quote(run, safe='')}/tasks/tell")
    page.get_by_role("link", name="Notebook").click()
    ours = page.frame_locator("iframe[title=Notebook]")
    expect(ours.get_by_role("heading", level=1)).to_contain_text("tell")
    notebook = ours.frame_locator("iframe")
    expect(notebook.get_by_text("The night's figures")).to_be_visible()
    cell = notebook.get_by_role("cell", name="1,234 flights")
    expect(cell).to_be_visible()
    keep_picture(page, "airflow-notebook")
    cell.click()
    assert page.evaluate("window.hacked") is None


def test_the_tab_of_a_run(signed_in, airflow, run):
    """The page of the run is inside Airflow's page of the run, and leads on to the notebook."""
    page = signed_in
    page.goto(f"{airflow.address}/dags/figures/runs/{quote(run, safe='')}")
    page.get_by_role("link", name="Review").click()
    ours = page.frame_locator("iframe[title=Review]")
    expect(ours.get_by_role("heading", level=1)).to_contain_text("figures")
    keep_picture(page, "airflow-run")
    ours.get_by_role("link", name="tell").first.click()
    expect(ours.frame_locator("iframe").get_by_text("The night's figures")).to_be_visible()


def test_the_entry_of_the_menu_and_the_link_of_a_task(signed_in, airflow, run):
    """Tonight is in Airflow's own menu, and a task's link leads to its notebook."""
    page = signed_in
    page.goto(f"{airflow.address}/plugin/nightmill")
    ours = page.frame_locator("iframe[title=Nightmill]")
    expect(ours.get_by_role("heading", level=1)).to_be_visible()
    keep_picture(page, "airflow-tonight")
    page.goto(f"{airflow.address}/dags/figures/runs/{quote(run, safe='')}/tasks/tell/details")
    page.get_by_role("link", name="Executed notebook").click()
    page.wait_for_url(re.compile(r"/nightmill/runs/figures/2013-03-01/.*/tell/1"))
