"""Pages over an index that lacks what ran: they say so, and not that nothing ran."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from nightmill.causes import Cause
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


def damage(store, prefix, name):
    """Write over what has a name below a prefix; return how many there were."""
    keys = [entry.key for entry in store.list(prefix) if name in entry.key]
    for key in keys:
        store.write(key, b"{x")
    return len(keys)


@pytest.mark.parametrize("address", ["/", "/pipelines/flights"])
def test_what_needs_somebody_says_where_the_index_is_damaged(morning, address):
    """A cause that cannot be told is missing for a reason: the entry is named, with its attempt."""
    morning.attempt("flights", night(0), "score", fails=Cause.OUT_OF_MEMORY, cell=3, run="again")
    assert damage(morning.store, "index/flights", "again") == 1
    pages = morning.pages()
    told = get(pages, address)["unindexed"]
    attempt = f"/runs/flights/{night(0)}/again/score/1"
    (entry,) = told["entries"]
    assert (told["damaged"], entry["step"], entry["address"]) == (1, "score", attempt)
    text = pages.get(address).text
    assert "1 entry of the index is damaged" in text
    assert f'<a href="{attempt}"><bdi>flights</bdi> <bdi>{night(0)}</bdi>' in text
    list(reindex(morning.store, anew=True))
    assert get(morning.pages(), address)["unindexed"] is None


def test_of_many_damaged_entries_five_are_named(morning):
    """The others are counted, and one that two parts of a page need counts once."""
    for number in range(8):
        step = f"s{number}"
        morning.attempt("flights", night(0), step, began=DUE, facts={"metrics": {"auc": 0.5}})
    damage(morning.store, "index/flights", "")
    pages = morning.pages()
    told = get(pages, "/outputs")["unindexed"]
    assert (told["damaged"], len(told["entries"])) == (10, 5)
    assert "and 5 more." in pages.get("/outputs").text


@pytest.mark.parametrize("address", ["/", "/pipelines/flights", "/runs"])
def test_records_of_which_no_index_can_be_made(morning, address):
    """Where `nightmill reindex` will not help the page says which records are damaged."""
    forget(morning.store, "index/flights")
    assert damage(morning.store, f"runs/flights/{night(0)}", "score/1/record.json") == 1
    pages = morning.pages()
    record = f"runs/flights/{night(0)}/run-{night(0)}/score/1/record.json"
    address = f"{address}?pipeline=flights" if address == "/runs" else address
    assert get(pages, address)["unindexed"]["unreadable"] == [morning.store.address(record)]
    assert "The index cannot be made of it." in pages.get(address).text


def test_a_lost_index_has_few_records_read(tmp_path):
    """However much there is: some of the last partitions of some pipelines."""
    made = Morning.at(tmp_path)
    for name in range(7):
        for back in range(5):
            for step in range(7):
                made.attempt(f"p{name}", night(back), f"s{step}", began=DUE)
    forget(made.store)
    asked = Asked(made.store)
    pages = open_client(asked, root=made.root)
    assert len(get(pages, "/")["unindexed"]["pipelines"]) == 7
    read = [key for name, key in asked.calls if name == "read" and key.startswith("runs/")]
    assert len(read) == 5 * 3 * 5
    assert not any(night(back) in key for key in read for back in (3, 4))


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
