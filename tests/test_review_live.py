"""What runs, as pages ask for it every few seconds: how far, how long, and whether it lives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from nightmill.review.access import TokenAccess
from nightmill.spec.record import AttemptState
from nightmill.store.active import unmark
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.open import open_store
from tests.many_runs import fill
from tests.review_client import Asked, Viewer, open_client, run_path
from tests.run_records import (
    DAY,
    GIB,
    PIPELINE,
    RUN,
    ZONE,
    keep_code,
    leave,
    progress_of,
    record_of,
    running,
)

PAGE = run_path(PIPELINE, DAY, RUN)
ATTEMPT = f"{PAGE}/features/1"


@pytest.fixture
def local(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


def at_work(store, step="features", *, progress=None, minutes=3, **facts):
    """Leave an attempt that runs."""
    begun = datetime.now(UTC) - timedelta(minutes=minutes)
    record = running(step, started_at=begun, **facts)
    return leave(store, record, progress_of(record, **(progress or {})))


def live_address(client):
    """Read from a run's page where it asks for what runs."""
    return re.search(r'data-live="([^"]+)"', client.get(PAGE).text)[1]


def end(store, record, **facts):
    """Write the end of an attempt as the step does: record, index, mark."""
    known = {"state": AttemptState.SUCCEEDED, "ended_at": datetime.now(UTC), "duration_s": 9.0}
    ended = record.model_copy(update=known | facts)
    store.write(f"{prefix_of(record)}/record.json", ended.to_json())
    note(store, ended)
    unmark(store, prefix_of(record))


@pytest.fixture
def fresh(monkeypatch):
    """Let the index ask the store each time, so that no test waits for 2 s."""
    monkeypatch.setattr("nightmill.store.index_running.EVERY_S", 0.0)


# -- one attempt -----------------------------------------------------------------------------------


def test_an_attempt_at_work_tells_cell_time_memory_and_its_last_line(local):
    """All of it with what is usual, and the limit, beside it."""
    at_work(local)
    client = open_client(local)
    facts = client.get(f"/api/live{ATTEMPT.removeprefix('/runs')}").json()
    (one,) = facts["attempts"]
    assert facts["is_running"] is True
    assert (one["cell"], one["position"], one["of"], one["title"]) == (5, 4, 22, "Train the model")
    assert (one["elapsed_s"], one["usual_total_s"]) == (125.0, 300.0)
    assert (one["cell_elapsed_s"], one["usual_s"]) == (61.0, 40.0)
    assert (one["memory_bytes"], one["memory_limit_bytes"]) == (3 * GIB // 2, 2 * GIB)
    assert one["last_line"] == "epoch 7 of 20, loss 0.31"
    text = client.get(f"/live{ATTEMPT.removeprefix('/runs')}").text
    assert "2 min 05 s of usually 5 min 00 s" in text
    assert '<progress max="22" value="3"' in text
    assert f'max="{2 * GIB}"' in text


@pytest.mark.parametrize(("age_s", "is_silent"), [(170, False), (190, True)])
def test_an_attempt_that_was_not_heard_of_for_three_minutes_is_silent(local, age_s, is_silent):
    """The page says since when, in the pipeline's time zone, and what finds out."""
    heard = datetime.now(UTC) - timedelta(seconds=age_s)
    at_work(local, code=keep_code(local), progress={"heartbeat": heard})
    client = open_client(local)
    address = f"/live{ATTEMPT.removeprefix('/runs')}"
    facts = client.get(f"/api{address}").json()
    assert facts["attempts"][0]["is_silent"] is is_silent
    assert facts["zone"] == ZONE
    text = client.get(address).text
    assert ("Silent since" in text, "nightmill sweep" in text) == (is_silent, is_silent)
    assert bool(re.search("Heard of 2 min 5[0-9] s ago", text)) is not is_silent


@pytest.mark.parametrize("minutes", [1, 5])
def test_one_that_has_said_nothing_yet_counts_from_its_start(local, minutes):
    """Without a first heartbeat the record's own start is the last sign of life."""
    leave(local, running("features", started_at=datetime.now(UTC) - timedelta(minutes=minutes)))
    facts = open_client(local).get(f"/api/live{ATTEMPT.removeprefix('/runs')}").json()
    (one,) = facts["attempts"]
    assert (one["is_silent"], one["cell"], one["memory_bytes"]) == (minutes > 3, None, None)


def test_the_stamp_changes_with_the_notebook(local):
    """So a page loads the notebook again only when there is more of it."""
    record = at_work(local)
    client, place = open_client(local), f"{prefix_of(record)}/notebook.ipynb"
    address = f"/api/live{ATTEMPT.removeprefix('/runs')}"
    stamps = [client.get(address).json()["stamp"]]
    for content in (b"{}", b"{ }"):
        local.write(place, content)
        stamps += [client.get(address).json()["stamp"]] * 2
    assert stamps[0] is None
    assert len(set(stamps)) == 3
    notebook = f"/notebook{ATTEMPT.removeprefix('/runs')}#cell-5"  # it is at that one
    assert client.get(address).json()["notebook"] == notebook
    text = client.get(address.removeprefix("/api")).text
    assert f'data-stamp="{stamps[-1]}" data-notebook="{notebook}"' in text.replace("&#34;", '"')


def test_an_attempt_that_is_over_says_so_once_and_for_all(local):
    """Its page is loaded anew then, and asks no more."""
    record = at_work(local)
    client, address = open_client(local), f"/live{ATTEMPT.removeprefix('/runs')}"
    assert "data-ended" not in client.get(address).text
    end(local, record)
    facts = client.get(f"/api{address}").json()
    assert (facts["is_running"], facts["has_ended"], facts["attempts"]) == (False, True, [])
    assert facts["said"] == "features has ended: succeeded"
    assert "data-ended" in client.get(address).text


def test_what_a_notebook_prints_is_inert(local):
    """Neither markup nor orders to a terminal of a last line or a title reach the reader."""
    text = "<script>x</script>\x1b[31m\u202e"
    at_work(local, progress={"last_line": text, "title": text})
    answer = open_client(local).get(f"/live{ATTEMPT.removeprefix('/runs')}")
    assert "<script>" not in answer.text
    assert answer.text.count("&lt;script&gt;x&lt;/script&gt;\\u202e") == 2


@pytest.mark.parametrize("address", [f"/live/{PIPELINE}/{DAY}/{RUN}/features/1"])
def test_an_attempt_that_is_not_there_is_no_page(local, address):
    """Nothing is made up of it."""
    assert open_client(local).get(address).status_code == 404


def test_an_answer_says_when_it_was_so_in_the_pipelines_zone(local):
    """So a page that gets no more of them can say since when it is not fresh."""
    at_work(local, code=keep_code(local))
    client = open_client(local)
    for path in (ATTEMPT, PAGE):
        address = re.search(r'data-live="([^"]+)"', client.get(path).text)[1]
        assert re.search(r'data-at="\d+ \w+ \d{4}, \d\d:\d\d E[SD]T"', client.get(address).text)
        facts = client.get(f"/api{address}").json()
        assert datetime.now(UTC) - datetime.fromisoformat(facts["at"]) < timedelta(minutes=1)


def test_a_page_at_work_knows_where_one_signs_in_again(local):
    """With a token it is the form, which leads back to the page; else the page itself."""
    at_work(local)
    client = open_client(local, TokenAccess("a" * 20))
    client.headers["authorization"] = f"Bearer {'a' * 20}"
    for path in (ATTEMPT, PAGE):
        way = f"/sign-in?{urlencode({'next': path})}"
        assert client.get(f"/api{path}").json()["live"]["sign_in"] == way
        assert f'href="{way}">Sign in again</a>' in client.get(path).text
        assert open_client(local).get(f"/api{path}").json()["live"]["sign_in"] == path


# -- a run -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh")
def test_a_run_is_asked_for_as_long_as_something_runs(local):
    """What was written since the page was made is told by a mark, and not by what runs alone."""
    leave(local, record_of("load"))
    first, second = at_work(local, "features"), at_work(local, "weather")
    client = open_client(local)
    address = live_address(client)
    facts = client.get(f"/api{address}").json()
    assert {one["label"] for one in facts["attempts"]} == {"features", "weather"}
    assert facts["has_ended"] is False
    end(local, first)
    facts = client.get(f"/api{address}").json()
    assert [one["label"] for one in facts["attempts"]] == ["weather"]
    assert (facts["has_ended"], facts["page"]) == (True, PAGE)
    assert f'<a id="news" href="{PAGE}">Show it</a>' in client.get(address).text
    again = live_address(client)
    assert client.get(f"/api{again}").json()["has_ended"] is False
    end(local, second)
    assert client.get(f"/api{again}").json()["has_ended"] is True
    assert "data-live" not in client.get(PAGE).text


@pytest.mark.usefixtures("fresh")
def test_a_page_of_something_that_runs_stands_still_without_its_script(local):
    """It says so, and has a link to load it again; whoever listens hears of states alone."""
    at_work(local)
    text = open_client(local).get(PAGE).text
    assert f'<noscript><p><a href="{PAGE}">Load this page again</a>' in text
    assert 'role="status" data-live-said>features is running</p>' in text
    assert "/static/live.js" in text


@pytest.mark.usefixtures("fresh")
def test_a_run_whose_mark_is_gone_is_still_told(local):
    """Somebody took the mark away, and the record has no end: the page does not stand idle."""
    record = at_work(local)
    unmark(local, prefix_of(record))
    client = open_client(local)
    address = live_address(client)
    facts = client.get(f"/api{address}").json()
    assert [one["label"] for one in facts["attempts"]] == ["features"]
    assert facts["has_ended"] is False
    end(local, record)
    assert client.get(f"/api{address}").json()["has_ended"] is True


@pytest.mark.usefixtures("fresh")
def test_an_end_counts_though_a_mark_is_left(local):
    """A step that died between its last record and the rest of its end is not at work."""
    record = at_work(local)
    client = open_client(local)
    address = live_address(client)
    ended = record.model_copy(update={"state": AttemptState.SUCCEEDED})
    local.write(f"{prefix_of(record)}/record.json", ended.to_json())
    facts = client.get(f"/api{address}").json()
    assert (facts["attempts"], facts["has_ended"]) == ([], True)


@pytest.mark.usefixtures("fresh")
def test_of_many_at_work_some_are_shown_and_all_are_counted(local):
    """A step with 23 members at work shows twenty."""
    for number in range(23):
        at_work(local, "score", member=f"m{number}")
    client = open_client(local)
    for facts in (
        client.get(f"/api{PAGE}").json()["live"],
        client.get(f"/api{live_address(client)}").json(),
    ):
        assert (len(facts["attempts"]), facts["left_out"]) == (20, 3)
    assert "3 more attempts at work." in client.get(PAGE).text


@pytest.mark.usefixtures("fresh")
def test_asking_again_reads_what_runs_and_lists_no_run(local):
    """Two reads for each attempt at work, whatever else the run and the store hold."""
    fill(local, 300, with_records=False)
    leave(local, record_of("load"))
    at_work(local)
    asked = Asked(local)
    client = open_client(asked)
    address = live_address(client)
    client.get(address)
    asked.calls.clear()
    assert client.get(address).status_code == 200
    own = [(name, key) for name, key in asked.calls if key.startswith("runs")]
    assert sorted(own) == [
        ("read", f"{ATTEMPT[1:]}/progress.json"),
        ("read", f"{ATTEMPT[1:]}/record.json"),
    ]
    assert len(asked.calls) <= 8


def test_what_runs_is_told_only_to_who_may_see_the_pipeline(local):
    """The addresses of what is live are no way around the permission."""
    at_work(local)
    client = open_client(local, Viewer("another"))
    for path in (PAGE, ATTEMPT):
        for address in (path.replace("/runs", "/live"), "/api" + path.replace("/runs", "/live")):
            assert client.get(address).status_code == 403
