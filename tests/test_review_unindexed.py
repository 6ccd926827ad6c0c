"""Pages over an index that lacks what ran: they say so, and not that nothing ran."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from nightmill.review.access import OwnerAccess
from nightmill.review.site import Site
from nightmill.store.index import Index
from nightmill.store.reindex import reindex
from tests.past_nights import DUE, NOW, Morning, night, nightly
from tests.review_client import Asked, Viewer, get, open_client

SCORED = nightly("expect_by: 1h").replace("score.ipynb}", "score.ipynb, outputs: {o: o.csv}}")
UNTRUE = ("nothing has run", "Nothing has run", "never made", ">never<", "No metric was reported")


@pytest.fixture
def morning(tmp_path):
    """Make two pipelines that ran in each of the last nights."""
    made = Morning.at(tmp_path)
    for name in ("flights", "prices"):
        made.pipeline(name, SCORED)
        for back in (0, 1):
            for step in ("ingest", "score"):
                made.attempt(name, night(back), step, began=DUE - timedelta(days=back))
    return made


def forget(store, prefix="index"):
    """Delete what the index has below a prefix."""
    for entry in list(store.list(prefix)):
        store.delete(entry.key)


ADDRESSES = ("/", "/outputs", "/outputs/flights/o", "/pipelines/flights", "/metrics", "/runs")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("prefix", ["index", "index/flights"])
def test_no_page_says_that_nothing_ran(morning, prefix, address):
    """Where the index of all, or of one pipeline, is away, each page says how to make it."""
    forget(morning.store, prefix)
    pages = morning.pages()
    answer = pages.get(address)
    assert answer.status_code == 200
    assert f"nightmill reindex --store {morning.store.url}" in answer.text
    assert not [words for words in UNTRUE if words in answer.text]
    named = get(pages, address)["unindexed"]["pipelines"]
    assert named == ["flights"] or (prefix, named) == ("index", ["flights", "prices"])


def test_what_ran_is_not_late(morning):
    """Its nights stand as not in the index, in the needs and in the grid."""
    forget(morning.store, "index/flights")
    page = get(morning.pages(), "/")
    assert page["summary"] == "1 of 2 pipelines needs you: 1 unindexed"
    (need,) = page["needs"]
    assert (need["pipeline"], need["state"], need["more"]) == ("flights", "unindexed", 1)
    assert need["message"] == "what ran is not in the index: run `nightmill reindex`"
    states = [one["state"] for one in page["rows"][0]["cells"]]
    assert states == ["unindexed", "unindexed"]


def test_what_did_not_run_is_late(morning):
    """A night that nobody ran stays late while those before it are not in the index."""
    forget(morning.store)
    forget(morning.store, f"runs/flights/{night(0)}")
    states = {n["state"] for n in get(morning.pages(), "/")["needs"] if n["pipeline"] == "flights"}
    assert states == {"late", "unindexed"}


def test_a_pipeline_that_only_the_store_knows(morning):
    """One that is in no project, and of which there is no index, is named all the same."""
    morning.attempt("gone", "2013-03-01", "s")
    forget(morning.store, "index/gone")
    pages = morning.pages()
    for address in ("/", "/runs", "/outputs", "/metrics"):
        assert get(pages, address)["unindexed"]["pipelines"] == ["gone"]
    assert get(pages, "/pipelines/gone")["partitions"][0]["state"] == "unindexed"


def test_damaged_entries_are_counted(morning):
    """Metrics and outputs that cannot be read are not told as none, and the command mends them."""
    store = morning.store
    morning.attempt("flights", night(0), "score", began=DUE, facts={"metrics": {"auc": 0.5}})
    for entry in list(store.list("index/flights")):
        store.delete(entry.key)
        store.write(entry.key, b"{x")
    pages = morning.pages()
    for address in ("/metrics", "/metrics/flights/score", "/outputs", "/outputs/flights/o"):
        text, told = pages.get(address).text, get(pages, address)["unindexed"]
        assert told["damaged"] > 0
        assert not [words for words in UNTRUE if words in text]
    assert shlex.split(told["command"])[:3] == ["nightmill", "reindex", "--all"]
    list(reindex(store, anew=True))
    assert get(morning.pages(), "/metrics")["unindexed"] is None


@pytest.mark.parametrize("address", ["/metrics/flights/score", "/outputs/flights/o/2013-03-01"])
def test_what_cannot_be_found(morning, address):
    """Where only the index is missing the advice is to make it, not to choose another name."""
    forget(morning.store)
    text = morning.pages().get(address).text
    assert "run `nightmill reindex`" in text
    assert "none" not in text.split("<main")[1].split("</main")[0]


def test_an_index_made_anew_is_seen(morning):
    """Entries look as old as the ends of their attempts; pages that run find them all the same."""
    forget(morning.store)
    seconds = [0.0]
    index = Index(morning.store, clock=lambda: seconds[0])
    assert (index.attempts("flights"), len(index.unindexed("flights"))) == ((), 2)
    list(reindex(morning.store))
    seconds[0] = 11
    assert index.unindexed("flights") == ()
    assert len(index.attempts("flights")) == 4


def test_a_folder_without_objects_is_no_run(tmp_path):
    """Some stores keep directories from which all was deleted: nothing ran there."""
    made = Morning.at(tmp_path)
    made.attempt("p", "a", "s")
    (tmp_path / "store" / "runs" / "p" / "b" / "run").mkdir(parents=True)
    (tmp_path / "store" / "runs" / "q" / "b").mkdir(parents=True)
    index = Index(made.store)
    assert (index.unindexed("p"), index.unindexed_pipelines()) == ((), ())


def test_what_runs_is_in_the_index(tmp_path):
    """An attempt that began since the last look at the marks is no gap."""
    made = Morning.at(tmp_path)
    index = Index(made.store)
    assert index.pipelines() == ()
    made.attempt("p", "a", "s", ends=False, began=NOW)
    assert (index.unindexed("p"), index.unindexed_pipelines()) == ((), ())


def test_others_are_not_named(morning):
    """Whoever may not see a pipeline is not told that it ran."""
    forget(morning.store)
    for address in ("/", "/runs", "/outputs", "/metrics"):
        pages = morning.pages(Viewer("prices"))
        assert "flights" not in pages.get(address).text
        assert get(pages, address)["unindexed"]["pipelines"] == ["prices"]


def test_it_costs_one_look(morning):
    """With a whole index no page lists what ran of a pipeline, and all names are listed once."""
    asked = Asked(morning.store)
    site = Site.open(asked, OwnerAccess("Ada"), root=morning.root)
    site.index.attempts("flights")
    pages = open_client(asked, root=morning.root)
    for _again in range(3):
        pages.get("/"), pages.get("/outputs"), pages.get("/metrics"), pages.get("/runs")
    looks = [key for name, key in asked.calls if name in ("children", "list") and "runs" in key]
    assert looks == ["runs"]
