"""Runs put together from the index, the list of the newest, and the search through all of them."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.causes import Cause
from nightmill.review.access import OwnerAccess
from nightmill.review.pages.kept_runs import all_runs
from nightmill.review.pages.run_lines import RunLines, runs_of, silent_of
from nightmill.review.site import Site
from nightmill.spec.summary import Standing
from nightmill.store.index_line import Line
from nightmill.store.open import open_store
from tests.many_runs import asked_for, fill, lists_runs
from tests.past_nights import ALIVE, NOW, Morning
from tests.review_client import Asked, Viewer, open_client

BEGAN = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)


def line(step, standing="succeeded", *, minute=0, seconds=60.0, attempt=1, **facts):
    """Make a line of the index: an attempt that began so many minutes after the run's creation."""
    began = BEGAN + timedelta(minutes=minute)
    ended = None if standing == "running" else began + timedelta(seconds=seconds)
    usual = {
        "key": "" if ended is None else f"index/{step}{attempt}",
        "prefix": f"runs/p/2013-03-01/r/{step}/{attempt}",
        "pipeline": "p",
        "partition": "2013-03-01",
        "run": "r",
        "order": 1,
        "step": step,
        "member": "",
        "attempt": attempt,
        "standing": Standing(standing),
        "cause": None,
        "started_at": began,
        "ended_at": ended,
        "duration_s": None if ended is None else seconds,
    }
    return Line(**{**usual, **facts})


def run(*lines, silent=frozenset()):
    """Make a run of these, given in the order in which they began."""
    return RunLines(tuple(reversed(lines)), silent)


@pytest.mark.parametrize(
    ("standings", "state"),
    [
        (["succeeded", "held", "running", "rejected", "failed"], "failed"),
        (["succeeded", "held", "running", "rejected"], "rejected"),
        (["succeeded", "held", "running"], "running"),
        (["succeeded", "held"], "held"),
        (["succeeded"], "succeeded"),
    ],
)
def test_gravest_step_counts(standings, state):
    """A run stands as the gravest of its steps, and says which that is."""
    found = run(*(line(f"s{number}", one) for number, one in enumerate(standings)))
    assert found.state == state
    assert found.gravest.step == f"s{len(standings) - 1}"
    assert found.done == sum(one in ("succeeded", "held") for one in standings)


def test_silence_is_graver_than_running():
    """A running attempt that was not heard of makes the run silent."""
    running = line("a", "running")
    assert run(running).state == "running"
    assert run(running, silent=frozenset({running.prefix})).state == "silent"


def test_newest_attempt_of_a_step_counts():
    """What failed and was tried again with success has succeeded; members are told apart."""
    found = run(
        line("a", "failed", cause=Cause.EVICTED),
        line("b", "failed", minute=1, member="x", cause=Cause.STORE),
        line("b", minute=2, member="y"),
        line("a", attempt=2, minute=3),
    )
    assert found.states == {"a": "succeeded", "b[x]": "failed", "b[y]": "succeeded"}
    assert found.causes == (Cause.STORE,)
    assert (found.state, found.gravest.member) == ("failed", "x")


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([line("a", seconds=60), line("b", minute=1, seconds=30)], 90),
        ([line("a", seconds=120), line("b", minute=1, seconds=30)], 120),  # side by side
        ([line("a", seconds=120), line("b", minute=1, seconds=90)], 150),  # overlapping
        ([line("a", seconds=60), line("a", minute=60 * 24, attempt=2, seconds=30)], 90),
    ],
)
def test_duration(lines, seconds):
    """The time of a run is that in which something was at work, each second counted once."""
    assert run(*lines).duration_s == seconds


def test_times():
    """A run began with its first attempt, and has ended once all have."""
    first, last = line("a"), line("b", minute=5, seconds=30)
    assert run(first, last).started_at == BEGAN
    assert run(first, last).ended_at == BEGAN + timedelta(minutes=5, seconds=30)
    assert run(first, line("b", "running", minute=5)).ended_at is None


def test_runs_of_several_pipelines():
    """Lines are put together by pipeline, partition and run, the newest run first."""
    old, new = line("a", order=1), line("a", order=2, run="s")
    other = line("a", order=3, pipeline="q")
    twin = line("a", order=1, partition="2013-03-02")
    found = runs_of([new, old, twin, other])
    names = [(one.pipeline, one.partition, one.run) for one in found]
    assert names[:2] == [("q", "2013-03-01", "r"), ("p", "2013-03-01", "s")]
    assert set(names[2:]) == {("p", "2013-03-01", "r"), ("p", "2013-03-02", "r")}


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Make runs of two pipelines: three nights, one held, one silent, one without a heartbeat."""
    made = Morning.at(tmp_path_factory.mktemp("nights"))
    zone = "timezone: America/New_York\n"
    steps = "steps:\n  ingest: {notebook: i.ipynb}\n  score: {notebook: s.ipynb, members: 2}\n"
    bundle = made.pipeline("flights", zone + steps)
    hour = timedelta(hours=1)
    for back, facts in enumerate([{"fails": Cause.OUT_OF_MEMORY, "cell": 14}, {"held": True}, {}]):
        day = f"2013-03-0{3 - back}"
        began = NOW - (back + 2) * 24 * hour
        made.attempt("flights", day, "ingest", began=began, bundle=bundle)
        for member in ("0", "1"):
            ends = facts if member == "1" else {}
            after = began + timedelta(minutes=2)
            made.attempt("flights", day, "score", began=after, member=member, bundle=bundle, **ends)
    made.attempt("taxis", "x", "load", run="dead", began=NOW - 2 * hour, ends=False)
    made.attempt("taxis", "y", "load", run="alive", began=NOW - hour, ends=False, heartbeat=ALIVE)
    made.attempt("taxis", "z", "load", run="young", began=datetime.now(UTC), ends=False)
    return made


def asked(nights, query=""):
    """Ask for runs as JSON."""
    return nights.pages().get(f"/api/runs?{query}").json()


def test_rows(nights):
    """A row tells how a run stands, how far it came of all its steps, and why it stands so."""
    rows = asked(nights)["rows"]
    keys = ("pipeline", "partition", "state", "done", "steps", "causes", "gravest", "zone")
    new_york = "America/New_York"
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("taxis", "z", "running", 0, None, [], "", "UTC"),
        ("taxis", "y", "running", 0, None, [], "", "UTC"),
        ("taxis", "x", "silent", 0, None, [], "load", "UTC"),
        ("flights", "2013-03-03", "failed", 2, 3, ["out_of_memory"], "score[1]", new_york),
        ("flights", "2013-03-02", "held", 3, 3, [], "score[1]", new_york),
        ("flights", "2013-03-01", "succeeded", 3, 3, [], "", new_york),
    ]
    failing = "/runs/flights/2013-03-03/run-2013-03-03/score/1/1#cell-14"
    assert rows[3]["gravest_address"] == failing
    assert rows[3]["address"] == "/runs/flights/2013-03-03/run-2013-03-03"
    assert rows[3]["duration_s"] == 120


@pytest.mark.parametrize(
    ("query", "partitions"),
    [
        ("pipeline=taxis", ["z", "y", "x"]),
        ("pipeline=taxi", []),
        ("state=held", ["2013-03-02"]),
        ("state=silent", ["x"]),
        ("cause=out_of_memory", ["2013-03-03"]),
        ("step=score&from=2013-03-02", ["2013-03-03", "2013-03-02"]),
        ("from=2013-03-02&to=2013-03-02", ["2013-03-02"]),
        ("partition=2013-03-02", ["2013-03-02"]),
        ("q=FLIGHTS+memory", ["2013-03-03"]),
        ("q=score+held", ["2013-03-02"]),
        ("q=dead", ["x"]),
        ("q=flights+dead", []),
        ("q=-02", ["2013-03-02"]),
        ("pipeline=flights&page=99", ["2013-03-03", "2013-03-02", "2013-03-01"]),
    ],
)
def test_search(nights, query, partitions):
    """Runs are found by each filter, and by words that must all be in what is told of them."""
    found = asked(nights, query)
    assert [row["partition"] for row in found["rows"]] == partitions
    assert found["found"] == len(partitions)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=fails", "state=`fails` is not known here. Possible: failed, rejected, silent, "),
        ("state=late", "Partitions are late, not runs: choose it on Tonight."),
        ("state=due", "Partitions are due, not runs: choose it on Tonight."),
        ("cause=oom", "cause=`oom` is not known here. Possible: notebook_error, "),
        ("state=" + "x" * 400, "xxx...` is not known here."),
        ("state=held&cause=oom", "cause=`oom` is not known here."),
    ],
)
def test_a_filter_that_means_nothing(nights, query, said):
    """Nobody takes all runs for those of a state or cause that there is not."""
    answer = nights.pages().get(f"/api/runs?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]["text"]
    page = nights.pages().get(f"/runs?{query}")
    assert page.status_code == 200
    assert said in page.text
    assert "Left out:" not in nights.pages().get("/runs?state=held&cause=").text


def test_the_runs_of_a_partition(nights):
    """The way from a run to its partition leads to the runs of that, and no others."""
    pages = nights.pages()
    text = pages.get("/runs/flights/2013-03-02/run-2013-03-02").text
    address = re.search(r'href="(/runs\?[^"]*partition=[^"]*)"', text)[1].replace("&amp;", "&")
    rows = pages.get(f"/api{address}").json()["rows"]
    assert [(row["pipeline"], row["partition"]) for row in rows] == [("flights", "2013-03-02")]


def test_nothing_found(nights):
    """Who finds nothing is told what was searched, as text, and how to see all."""
    text = nights.pages().get("/runs?pipeline=flights&state=silent&q=<b>x</b>").text
    searched = "pipeline flights, state silent, the words &lt;b&gt;x&lt;/b&gt;"
    assert f"No run with {searched}." in text
    assert '<a href="/runs">Show all</a>' in text


def test_the_form_holds_what_was_asked(nights):
    """The filters stand in the form as they were asked, so that one can be changed."""
    text = nights.pages().get("/runs?state=held&q=score&step=score").text
    assert '<option value="held" selected>' in text
    assert '<input id="step" name="step" dir="auto" value="score">' in text
    assert 'name="q" placeholder="Pipeline, partition, run or cause" value="score"' in text


def test_only_what_may_be_seen(nights):
    """Nobody finds a run of a pipeline that they may not see, nor its name."""
    page = nights.pages(Viewer("taxis"))
    assert {row["pipeline"] for row in page.get("/api/runs").json()["rows"]} == {"taxis"}
    assert page.get("/api/runs?pipeline=flights").json()["rows"] == []
    assert "flights" not in page.get("/runs").text


def test_heartbeat_is_asked_only_of_those_that_should_have_one(nights):
    """What began just now is not silent, nor is the store asked about it."""
    store = Asked(nights.store)
    lines = Site.open(store, OwnerAccess("Ada")).index.attempts("taxis")
    store.calls.clear()
    silent = silent_of(store, lines)
    assert silent == {"runs/taxis/x/dead/load/1"}
    assert len(store.calls) == 2


def test_pages_of_runs(tmp_path):
    """Runs come fifty to a page; the addresses of the next and the last one keep the question."""
    store = open_store("store", base=tmp_path)
    fill(store, 300, with_records=False, threads=2)  # 60 nights of two pipelines
    page = open_client(store)
    first = page.get("/api/runs?pipeline=flights").json()
    assert (first["found"], first["first"], first["last"]) == (61, 1, 50)  # and one that runs
    assert first["newer"] is None
    assert first["older"] == "/runs?pipeline=flights&page=2"
    second = page.get(f"/api{first['older']}").json()
    assert (second["first"], second["last"], second["older"]) == (51, 61, None)
    assert second["newer"] == "/runs?pipeline=flights&page=1"
    odd = page.get("/api/runs?pipeline=flights&self=1&path=%26&page=999").json()
    assert (odd["first"], odd["newer"]) == (51, "/runs?pipeline=flights&self=1&path=%26&page=1")
    shown = [row["run"] for row in [*first["rows"], *second["rows"]]]
    assert shown == sorted(shown, reverse=True)
    assert len(set(shown)) == 61


def test_bounded_requests(tmp_path):
    """A search through 900 attempts asks the store no more than one through 300."""
    few, many = (
        asked_for(tmp_path, size, "/runs?q=taxis+failed", after="/runs?q=flights")
        for size in (300, 900)
    )
    assert not lists_runs(few)
    assert not lists_runs(many)
    assert len(many.calls) <= len(few.calls) + 50  # the summaries of another page's runs


def test_kept_runs_are_judged_anew_only_where_something_changed(tmp_path):
    """A run that has not changed is the very same the next time; one with a new attempt is not."""
    made = Morning.at(tmp_path)
    made.attempt("p", "a", "s", began=NOW - timedelta(hours=2))
    made.attempt("p", "b", "s", began=NOW - timedelta(hours=1), fails=Cause.STORE)
    clock = iter(range(0, 10_000, 10))
    site = Site.open(made.store, OwnerAccess("Ada"))
    site.index._clock = site.index._running._clock = lambda: next(clock)  # no waiting for 2 s
    before = {run.partition: run for run in all_runs(site, ["p"])}
    made.attempt("p", "b", "s", number=2, began=NOW - timedelta(minutes=30))
    after = {run.partition: run for run in all_runs(site, ["p"])}
    assert after["a"] is before["a"]
    assert (before["b"].state, after["b"].state) == ("failed", "succeeded")


@pytest.mark.parametrize("address", ["/", "/runs", "/metrics", "/outputs"])
def test_nothing_yet(address, tmp_path):
    """With nothing to show a page says how to begin, or how to make the index of an old store."""
    store = open_store("store", base=tmp_path)
    page = open_client(store)
    assert "nightmill run PIPELINE" in page.get(address).text
    store.write("runs/p/2013-03-01/r/s/1/record.json", b"{}")
    page = open_client(store)  # a listing is remembered for a minute
    text, told = page.get(address).text, page.get(f"/api{address}").json()
    assert ("nightmill reindex" in text, told["unindexed"]["pipelines"]) == (True, ["p"])
    assert "nightmill run PIPELINE" not in text


@pytest.mark.parametrize("address", ["/", "/runs", "/metrics", "/outputs"])
def test_nothing_that_one_may_see(address, tmp_path):
    """Whoever may see no pipeline is not told that there are runs, indexed or not."""
    made = Morning.at(tmp_path)
    made.attempt("secret", "2013-03-01", "s")
    text = open_client(made.store, Viewer("others")).get(address).text
    assert "nightmill run PIPELINE" in text
    assert not re.search("reindex|secret|There are runs", text)
