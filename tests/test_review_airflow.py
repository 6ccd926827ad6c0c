"""The review pages inside Airflow: its sign-in, its rights for each DAG, and where its tabs lead.

The application is Airflow's own, in this process, with the plugin as Airflow loads it.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from functools import partial
from urllib.parse import quote

import jwt
import pytest
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.plugins_manager import AirflowPlugin
from airflow.utils.db import initdb
from fastapi import FastAPI
from starlette.testclient import TestClient

from nightmill.airflow import links, plugin
from nightmill.airflow.links import MOUNTED, NotebookLink, notebook_link
from nightmill.review.signing import signed
from nightmill.review.views import Action, Part
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from tests import review_routes
from tests.review_routes import HIDDEN, SECRET, SHOWN, all_of, entangled, every_address, keys
from tests.reviewed_nights import Night, add, keep_code

BASE = "/nightmill"
ask = partial(review_routes.ask, base=BASE)
codes = partial(review_routes.codes, base=BASE)
ADDRESSES = list(every_address())
ABOUT_ONE = [one for one in ADDRESSES if one.is_about_a_pipeline and one.kind is not Part]
ABOUT_ALL = [one for one in ADDRESSES if not one.is_about_a_pipeline]
READING = [one for one in ABOUT_ONE if one.kind is not Action]
ACTING = [one for one in ADDRESSES if one.kind is Action]
PARTS = [one for one in ADDRESSES if one.kind is Part]
RUN, MAPPED = "manual__2013-03-01T07:30:00+00:00", "scheduled__1"
LONG_RUN = "manual__" + "x:" * 110

PIPELINE = """\
pipeline: mapped
steps:
  fan:
    notebook: n.ipynb
    members: [north, south]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Make a project whose store has runs by hand and runs of Airflow."""
    root = tmp_path_factory.mktemp("project")
    (root / "dags").mkdir()
    (root / "dags" / "platform.yaml").write_text("store: store\n", encoding="utf-8")
    made = entangled(root)
    usual = add(made.store, Night(pipeline=SHOWN, number=9, files={"scores": {"s": b"1"}}))
    for run, order in ((RUN, 1), (RUN, 3), (RUN, 2), (LONG_RUN, 4), (RUN[:-1], 5)):
        for attempt in (1, 2):
            _leave(made.store, usual, run=f"{run}.{order}", order=order, attempt=attempt)
    _leave(made.store, usual, run=f"{RUN}.2", order=2, step="kept")
    bundle = keep_code(made.store, root, PIPELINE)
    fan = add(made.store, Night(pipeline="mapped", step="fan", member="north", bundle=bundle))
    for member in ("south", "north", "gone"):
        _leave(made.store, fan, run=f"{MAPPED}.7", order=7, member=member)
    unkept = fan.model_copy(update={"code": None})
    _leave(made.store, unkept, run="unkept.8", order=8)
    return root, made.store


def _leave(store, record, **changes):
    """Leave another attempt that is like one."""
    other = record.model_copy(update=changes)
    store.write(f"{prefix_of(other)}/record.json", other.to_json())
    note(store, other)


@pytest.fixture(scope="module")
def airflow(project):
    """Make Airflow's own application, with users whose rights are for some DAGs only."""
    root, _store = project
    pages = plugin.NightmillPlugin.fastapi_apps[0]["app"]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Airflow about itself
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.airflow_rights.RightsForEachDag")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "s" * 64)
        patch.setenv("NIGHTMILL_DAGS", str(root / "dags"))
        patch.setattr(pages, "_made", None)
        initdb()
        airflow_app.purge_cached_app()
        yield airflow_app.create_app(apps="core")
        airflow_app.purge_cached_app()


def token(role, *dags, **more):
    """Mint a token as Airflow does when somebody signs in."""
    user = SimpleAuthManagerUser(username=f"{role} of {dags}", role=role, teams=list(dags))
    return airflow_app.get_auth_manager().generate_jwt(user, **more)


@pytest.fixture
def enter(airflow):
    """Return a function that opens Airflow to somebody: by a cookie, or by a header."""

    def open_airflow(given="", *, is_cookie=True):
        headers = (
            {"Cookie": f"_token={given}"} if is_cookie else {"Authorization": f"Bearer {given}"}
        )
        return TestClient(
            airflow,
            base_url="http://localhost",
            headers=headers if given else {},
            follow_redirects=False,
        )

    return open_airflow


# -- rights ---------------------------------------------------------------------------------------


def test_nobody_sees_anything(enter, project):
    """What is mounted in Airflow has no sign-in by itself; every address asks for it."""
    before = keys(project[1])
    client = enter()
    addresses = [one for one in ADDRESSES if one.kind is not Part]
    assert codes(client, addresses) == all_of(401, addresses)
    assert codes(client, PARTS) == all_of(403, PARTS)
    assert keys(project[1]) == before


def test_nobody_is_led_to_the_sign_in_of_airflow(enter):
    """The page that refuses leads there, and from there back."""
    page = enter().get(f"{BASE}/runs?q=a")
    assert page.status_code == 401
    assert 'href="/auth/login?next=%2Fnightmill%2Fruns%3Fq%3Da"' in page.text


@pytest.mark.parametrize("is_cookie", [True, False])
def test_tokens_that_are_none(is_cookie, enter):
    """One that is expired, changed, signed by others or by nobody is nobody's."""
    good = token("ADMIN")
    claims = jwt.decode(good, options={"verify_signature": False})
    head, body, signature = good.split(".")
    for bad in (
        "nonsense",
        token("ADMIN", expiration_time_in_seconds=-3600),
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{token('ADMIN', SHOWN).split('.')[1]}.{signature}",
        jwt.encode(claims, "k" * 64, algorithm="HS512"),
        jwt.encode(claims, None, algorithm="none"),
    ):
        client = enter(bad, is_cookie=is_cookie)
        for one in (ABOUT_ALL[0], READING[0], ACTING[0]):
            assert ask(client, one).status_code == 401


@pytest.mark.parametrize("is_cookie", [True, False])
def test_somebody_without_a_role(is_cookie, enter):
    """Who may see no DAG is refused on every page about one, and finds the others empty."""
    client = enter(token(None), is_cookie=is_cookie)
    assert codes(client, ABOUT_ONE) == all_of(403, ABOUT_ONE)
    for one in ABOUT_ALL:
        answer = ask(client, one)
        assert answer.status_code == 200
        assert HIDDEN not in answer.text
        assert f">{SHOWN}<" not in answer.text


@pytest.mark.parametrize("is_cookie", [True, False])
def test_a_viewer_reads_and_does_not_act(is_cookie, enter, project):
    """The role that may see task instances may read everything, and decide nothing."""
    before = keys(project[1])
    client = enter(token("VIEWER"), is_cookie=is_cookie)
    found = codes(client, [*ABOUT_ALL, *READING])
    refused = {name for name, code in found.items() if code not in (200, 303)}
    assert {name.partition("{")[0] for name in refused} <= {"GET /airflow/"}  # no such run
    assert codes(client, ACTING) == all_of(403, ACTING)
    assert keys(project[1]) == before


@pytest.mark.parametrize("role", ["USER", "OP", "ADMIN"])
def test_who_may_edit_may_act(role, enter):
    """By a header they are let in at once; by a cookie a page of ours must have made the form."""
    form = {"verdict": "nonsense", "text": ""}  # passes the door, and does nothing
    given = token(role, SHOWN)
    by_header, by_cookie = enter(given, is_cookie=False), enter(given)
    page = by_cookie.get(f"{BASE}/api/runs/{SHOWN}/2013-03-01/run-0")
    assert page.status_code == 200
    for one in ACTING:
        path = BASE + one.of(SHOWN)
        assert by_header.post(path, json=form).status_code == 409  # let in; it asked for nothing
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert by_header.post(path, json=form, headers=headers).status_code == 403
        assert by_cookie.post(path, data=form).status_code == 403
        assert by_header.post(BASE + one.of(HIDDEN), json=form).status_code == 403


def test_where_everybody_is_an_administrator(enter, monkeypatch):
    """There the header comes from Airflow itself, so that it proves nothing about a form."""
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    client = enter(token("ADMIN"), is_cookie=False)
    for one in ACTING:
        assert ask(client, one).status_code == 403


def test_what_is_hidden_is_nowhere(enter):
    """Who may see one DAG finds no trace of another: no list, choice, reader or search has it."""
    client = enter(token("VIEWER", SHOWN))
    assert codes(client, ABOUT_ONE, HIDDEN) == all_of(403, ABOUT_ONE)
    for one in [*ABOUT_ALL, *READING]:
        for query in ({}, {"q": "score"}, {"pipeline": SHOWN}):
            text = ask(client, one, params=query).text
            assert HIDDEN not in text, (one.path, query)
            assert SECRET.lower() not in text.lower(), (one.path, query)


def test_the_name_of_who_is_signed_in(enter):
    """Pages say it, and a decision will have it."""
    assert "Signed in as <bdi>VIEWER of ()</bdi>" in enter(token("VIEWER")).get(f"{BASE}/").text


def test_parts_open_by_a_signature_that_all_workers_make(enter, monkeypatch):
    """The secret comes from Airflow's own, so any worker's address opens on any other."""
    secret = pages_of_airflow()._secret()
    path = PARTS[0].of(SHOWN)
    assert enter().get(BASE + signed(secret, path)).status_code == 404  # let in; there is none
    assert enter().get(BASE + signed(b"x" * 32, path)).status_code == 403
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "another")
    assert pages_of_airflow()._secret() != secret


def pages_of_airflow():
    """Import what must not be imported before it is asked for."""
    from nightmill.airflow import pages  # noqa: PLC0415 - see above

    return pages


# -- what Airflow is told -------------------------------------------------------------------------


def test_what_airflow_shows(enter):
    """Airflow lists a page, and a tab for runs and for tasks, with addresses below its base."""
    client = enter(token("ADMIN"))
    (found,) = [
        one for one in client.get("/api/v2/plugins").json()["plugins"] if one["name"] == "nightmill"
    ]
    assert [one["url_prefix"] for one in found["fastapi_apps"]] == [BASE]
    views = {one["destination"]: one["href"] for one in found["external_views"]}
    assert views == {
        "nav": "nightmill/",
        "dag_run": "nightmill/airflow/{DAG_ID}/{RUN_ID}",
        "task_instance": "nightmill/airflow/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
    }
    routes = {one["url_route"] for one in found["external_views"]}
    assert len(routes) == 3  # each an address of Airflow's own
    assert client.get("/nightmill/").status_code == 200


def test_pages_may_be_framed_by_airflow_alone(enter):
    """The tab is a frame of the same origin; no other site may have one."""
    headers = enter(token("VIEWER")).get(f"{BASE}/").headers
    assert "frame-ancestors 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/nights/nightmill/", "/nights/nightmill/runs"])
def test_below_a_base_of_airflow(path, airflow):
    """Where Airflow itself is below a path, ours are below that."""
    below = FastAPI(root_path="/nights")
    below.mount(BASE, plugin.NightmillPlugin.fastapi_apps[0]["app"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = TestClient(below, headers={"Authorization": f"Bearer {token('VIEWER')}"})
    page = client.get(path)
    assert page.status_code == 200
    assert 'href="/nights/nightmill/"' in page.text
    assert 'href="/nightmill' not in page.text
    assert airflow is not None


def load_plugin(monkeypatch, *missing):
    """Load the plugin's module anew, as if some modules could not be imported."""
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.find_spec("nightmill.airflow.plugin")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NightmillPlugin


def test_the_plugin_is_light(monkeypatch):
    """A scheduler loads it without anything of the pages."""
    pages = [name for name in sys.modules if name.startswith("nightmill.review")]
    loaded = load_plugin(monkeypatch, *pages, "nightmill.airflow.pages", "fastapi", "starlette")
    assert (len(loaded.fastapi_apps), len(loaded.external_views)) == (1, 3)


def test_the_plugin_without_the_extra(monkeypatch):
    """Where the pages are not installed there is no page, no tab and no error."""
    loaded = load_plugin(monkeypatch, "nh3")
    assert (loaded.fastapi_apps, loaded.external_views) == ([], [])
    assert loaded.timetables


def test_the_plugin_in_an_older_airflow(monkeypatch):
    """Before 3.1 there were no tabs: nothing is mounted that nobody would find."""
    monkeypatch.delattr(AirflowPlugin, "external_views")
    loaded = load_plugin(monkeypatch)
    assert (loaded.fastapi_apps, loaded.external_views) == ([], [])


def test_pages_that_are_not_set_up(tmp_path, monkeypatch, caplog):
    """Nobody is told what is wrong but the log; when it is put right, the pages are there."""
    (tmp_path / "dags").mkdir()
    monkeypatch.setenv("NIGHTMILL_DAGS", str(tmp_path / "dags"))
    client = TestClient(plugin.ReviewPages())
    refused = client.get("/static/style.css")
    assert refused.status_code == 503
    assert str(tmp_path) not in refused.text
    assert "platform.yaml" in caplog.text
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "dags" / "platform.yaml").write_text("store: store\n", encoding="utf-8")
    assert client.get("/static/style.css").status_code == 200


# -- where the tabs lead --------------------------------------------------------------------------


def landing(client, *names):
    """Open a tab as Airflow does, its names written as a browser writes them."""
    return client.get(f"{BASE}/airflow/" + "/".join(quote(name, safe="") for name in names))


def test_a_tab_leads_to_the_newest(enter):
    """A run that was cleared is another run for the store: its tabs lead to the newest of them."""
    client = enter(token("VIEWER"))
    there = "/nightmill/runs/shown/2013-03-10/manual__2013-03-01T07~3A30~3A00~2B00~3A00.3"
    run = landing(client, SHOWN, RUN)
    assert (run.status_code, run.headers["location"]) == (303, there)
    for index in ("-1", "{MAP_INDEX}"):  # Airflow leaves the name where a task is not mapped
        task = landing(client, SHOWN, RUN, "score", index)
        assert (task.status_code, task.headers["location"]) == (303, f"{there}/score/2")


def test_a_tab_of_a_task_that_was_not_cleared(enter):
    """It leads to the run in which the task did run, though the others have run anew since."""
    task = landing(enter(token("VIEWER")), SHOWN, RUN, "kept", "-1")
    assert task.status_code == 303
    assert task.headers["location"].endswith("~2B00~3A00.2/kept/1")


def test_a_tab_of_a_long_run(enter):
    """A name that the store had to cut is found all the same."""
    answer = landing(enter(token("VIEWER")), SHOWN, LONG_RUN, "score", "-1")
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("/score/2")
    assert "/manual__x~3Ax~3A" in answer.headers["location"]


@pytest.mark.parametrize(
    ("run", "index", "there"),
    [
        (MAPPED, "0", "scheduled__1.7/fan/north/1"),
        (MAPPED, "1", "scheduled__1.7/fan/south/1"),
        (MAPPED, "2", "scheduled__1.7"),  # pipeline.yaml has no third
        (MAPPED, "-1", "scheduled__1.7"),
        (MAPPED, "9" * 400, "scheduled__1.7"),
        ("unkept", "0", "unkept.8"),  # nobody knows which
    ],
)
def test_a_tab_of_a_mapped_task(run, index, there, enter):
    """Airflow's number of a member is its place in pipeline.yaml; else the run shows them all."""
    answer = landing(enter(token("VIEWER")), "mapped", run, "fan", index)
    place = f"/nightmill/runs/mapped/2013-03-01/{there}"
    assert (answer.status_code, answer.headers["location"]) == (303, place)


@pytest.mark.parametrize(
    ("names", "said", "leads_on"),
    [
        ((SHOWN, "manual__9"), "No step of this run has begun", False),
        ((SHOWN, "manual__9", "score", "-1"), "No attempt of this task has begun", False),
        ((SHOWN, RUN, "later", "-1"), "No attempt of this task has begun", True),
        (("never", RUN), "No step of this run has begun", False),
        ((SHOWN, RUN[:20]), "No step of this run has begun", False),
        ((SHOWN, "<b>\u05d0", "\u202e", "x"), "No attempt of this task has begun", False),
    ],
)
def test_a_tab_before_anything_has_run(names, said, leads_on, enter):
    """It says so, when there will be something, and where the rest of the run is."""
    answer = landing(enter(token("VIEWER")), *names)
    assert answer.status_code == 404
    assert said in answer.text
    assert ("See what has run in this run" in answer.text) is leads_on
    assert "<b>" not in answer.text


def test_a_tab_of_what_is_hidden(enter):
    """Whoever may not see a DAG learns nothing by the ids of its runs."""
    client = enter(token("VIEWER", SHOWN))
    assert landing(client, HIDDEN, "run-0").status_code == 403
    assert landing(client, HIDDEN, "run-0", "score", "-1").status_code == 403


# -- links ----------------------------------------------------------------------------------------

NOTEBOOK = "s3://bucket/runs/runs/nightly/2013-03-01/manual__1.5/make/1/notebook.ipynb"


@pytest.mark.parametrize(
    ("elsewhere", "can_review", "wanted"),
    [
        (
            "https://x.example/n",
            True,
            "https://x.example/n/runs/nightly/2013-03-01/manual__1.5/make/1",
        ),
        ("", True, "nightmill/runs/nightly/2013-03-01/manual__1.5/make/1"),
        ("", False, NOTEBOOK),
    ],
)
def test_the_link_to_the_notebook(elsewhere, can_review, wanted, monkeypatch):
    """It leads to the pages of platform.yaml, else to those in Airflow, else to the store."""
    monkeypatch.setattr(links.XCom, "get_value", lambda **_key: {"notebook": NOTEBOOK})
    monkeypatch.setattr(links, "can_review", lambda: can_review)
    operator = type("Operator", (), {"review_url": elsewhere})()
    assert NotebookLink().get_link(operator, ti_key=None) == wanted


def test_the_link_is_the_page_of_the_attempt(enter, project):
    """What the link says, from Airflow's base, is a page of ours; also for a step with a member."""
    client = enter(token("VIEWER"))
    for step in ("score/1", "score/north/1"):
        address = project[1].address(f"runs/{SHOWN}/2013-03-01/run-0/{step}/notebook.ipynb")
        assert client.get("/" + notebook_link(address, MOUNTED)).status_code == 200
