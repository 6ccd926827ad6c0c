"""The pages about metrics: which attempts count, what is said of them, and what they cost."""

import csv
import io
import math
import re
from dataclasses import replace

import pytest

from nightmill.review.pages.nights import nights_of
from nightmill.store.index import Index
from nightmill.store.keys import pointer_key
from nightmill.store.open import open_store
from tests import many_runs
from tests.faulty_store import FaultyStore
from tests.review_client import Asked, Viewer, get, open_client
from tests.reviewed_nights import FIRST, Night, add, keep_code, roll_back

SPEC = """
pipeline: flights
schedule: "30 2 * * 1-5"
timezone: America/New_York
start: 2013-01-01
steps:
  score: {notebook: score.ipynb}
"""
LONG = "a_metric_whose_name_nobody_would_read_to_its_end_" * 3


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    """Fill a store with two weeks of a step's metrics, some of them odd."""
    folder = tmp_path_factory.mktemp("metrics")
    store = open_store("store", base=folder)
    bundle = keep_code(store, folder, SPEC)
    for number in range(3, 15):  # 4 March 2013 is a Monday
        if number in (5, 8):  # a Wednesday and a Saturday
            continue
        state = "failed" if number == 6 else "succeeded"
        metrics = {"auc": 0.75 + number / 1000, "rows": 1000 + number, "calibrated": number > 5}
        metrics |= {"note": "=1+1"} if number == 14 else {}
        metrics |= {"auc": float("nan")} if number == 10 else {}
        metrics |= {"auc": 0.5, LONG: -1.0} if number == 14 else {}
        add(store, Night(number=number, state=state, metrics=metrics, bundle=bundle))
    add(store, Night(number=12, attempt=2, state="failed", metrics={"auc": 0.1}, bundle=bundle))
    add(store, Night(number=13, attempt=2, state="held", metrics={"auc": 0.77}, bundle=bundle))
    add(store, Night(pipeline="quiet", step="report"))
    return store


@pytest.fixture(scope="module")
def pages(flights):
    """Open the pages of that store."""
    return open_client(flights)


def values_of(page, name):
    column = page["names"].index(name)
    return {row["partition"]: row["values"][column] for row in page["rows"] if row["values"]}


def test_the_list_names_steps_that_reported(pages):
    """A step stands in the list with its newest metrics; one that reported none does not."""
    (step,) = get(pages, "/metrics")["steps"]
    assert (step["pipeline"], step["step"], step["partition"]) == ("flights", "score", "2013-03-15")
    assert step["metrics"]["auc"] == 0.5
    assert step["zone"] == "America/New_York"
    assert step["address"] in pages.get("/metrics").text


def test_the_list_looks_back(tmp_path):
    """Where the newest nights reported nothing, one of those before them stands in the list."""
    store = open_store("store", base=tmp_path)
    add(store, Night(metrics={f"m{number}": number for number in range(8)}))
    add(store, Night(number=1, state="failed"))
    (step,) = get(open_client(store), "/metrics")["steps"]
    assert (step["partition"], len(step["metrics"]), step["left_out"]) == ("2013-03-01", 6, 2)
    add(store, Night(number=2, state="failed"))
    add(store, Night(number=3, state="failed"))
    assert get(open_client(store), "/metrics")["steps"] == []


def test_the_list_is_paged(tmp_path):
    """A page of the list looks at 50 pipelines, and has the address of the others."""
    store = open_store("store", base=tmp_path)
    for number in range(52):
        add(store, Night(pipeline=f"p{number:02}", metrics={"auc": number}))
    pages = open_client(store)
    page = get(pages, "/metrics")
    assert len(page["steps"]) == 50
    assert [one["pipeline"] for one in get(pages, page["more"])["steps"]] == ["p50", "p51"]


def test_a_backfill_of_some_nights(tmp_path):
    """Far apart, nights are no series, and those between them are not called missing."""
    store = open_store("store", base=tmp_path)
    bundle = keep_code(store, tmp_path, SPEC.replace("* * 1-5", "* * *"))
    for number in (0, 100):
        add(store, Night(number=number, metrics={"auc": 0.7}, bundle=bundle))
    assert get(open_client(store), "/metrics/flights/score")["missing"] == 0


def test_the_attempt_that_counts(pages):
    """Of a partition the newest attempt that committed or is held counts, and no failed one."""
    auc = values_of(get(pages, "/metrics/flights/score"), "auc")
    assert auc["2013-03-13"] == 0.762  # its second attempt failed
    assert auc["2013-03-14"] == 0.77  # its second attempt is held


def test_failed_nights_are_shown_and_do_not_count(pages):
    """What failed stands in the table as such, and is not among what is usual."""
    page = get(pages, "/metrics/flights/score")
    (failed,) = [row for row in page["rows"] if row["standing"] == "failed"]
    assert (failed["partition"], failed["run"]) == ("2013-03-07", "run-6")
    (rows,) = [one for one in page["metrics"] if one["name"] == "rows"]
    assert rows["told"][0]["words"].startswith("the highest of 8 nights")


def test_nights_that_never_ran(pages):
    """A night on which the pipeline was due stands there as missing, a Sunday does not."""
    page = get(pages, "/metrics/flights/score")
    assert [row["partition"] for row in page["rows"] if row["standing"] is None] == ["2013-03-06"]
    assert page["missing"] == 1
    partitions = [row["partition"] for row in page["rows"]]
    assert partitions == sorted(partitions, reverse=True)
    assert "2013-03-09" not in partitions


def test_a_strange_night_stands_out(pages):
    """The newest value far below the usual ones is said in words, and comes first."""
    page = get(pages, "/metrics/flights/score")
    first = page["metrics"][0]
    assert (first["name"], first["is_unusual"]) == ("auc", True)
    assert first["told"][0]["words"].startswith("the lowest of 8 nights (usual: 0.7")
    text = pages.get("/metrics/flights/score").text
    assert "the lowest of 8 nights" in text
    assert "Unusual in the newest night" in text


def test_values_that_are_no_numbers(pages):
    """NaN, bools and text stand in the table as what they are."""
    page = get(pages, "/metrics/flights/score")
    assert values_of(page, "auc")["2013-03-11"] == "NaN"
    assert values_of(page, "calibrated")["2013-03-04"] is False
    text = pages.get("/metrics/flights/score").text
    assert "2013-03-11: NaN, no number" in text
    assert "<bdi>=1+1</bdi>" in text


def test_points_lead_to_their_attempts(pages):
    """Each point of the chart has a name and the address of the attempt that reported it."""
    text = pages.get("/metrics/flights/score").text
    assert 'href="/runs/flights/2013-03-15/run-14/score/1" tabindex="-1"' in text
    assert 'aria-label="2013-03-15: 0.5000"' in text
    assert 'aria-label="2013-03-07: failed"' in text


def test_one_metric_and_a_window(pages):
    """The query chooses a metric and how many nights; the rest is told with its address."""
    page = get(pages, "/metrics/flights/score", metric="rows", last=4)
    assert page["names"] == ["rows"]
    assert list(values_of(page, "rows").values()) == [1014, None, 1012, 1011]
    assert page["older_count"] == 6
    older = get(pages, page["older"])
    assert older["rows"][0]["partition"] == "2013-03-11"
    assert older["last"] == 4
    assert get(pages, older["newer"])["rows"] == page["rows"]


@pytest.mark.parametrize("query", [{"last": "0"}, {"last": "x"}, {"page": "-1"}])
def test_senseless_queries(pages, query):
    """A number that makes no sense is taken for none."""
    assert get(pages, "/metrics/flights/score", **query)["last"] == 60


def test_an_unknown_window(pages):
    """Nobody takes the newest nights for those up to one that is not there."""
    address = "/metrics/flights/score?until=../x"
    assert "until=`../x` is not known here" in pages.get(address).text
    assert pages.get(f"/api{address}").status_code == 400


def test_an_unknown_metric(pages):
    """Of a metric that no night reported it is said so, and not that nothing is unusual."""
    address = "/metrics/flights/score?metric=nope"
    text = pages.get(address).text
    assert "No metric “nope” was reported" in text
    assert "unusual" not in text
    assert get(pages, address)["names"] == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/metrics/flights/scroe", "score"),
        ("/metrics/nothing/score", "no attempt of a step"),
        ("/csv/flights/nothing", "no attempt of a step"),
    ],
)
def test_unknown_steps(pages, address, said):
    """A step that never ran is said to be none, with the nearest name."""
    answer = pages.get(address)
    assert answer.status_code == 404
    assert said in answer.text


def test_an_infinite_number_is_no_formula(tmp_path):
    """A download has it as the other numbers that no spreadsheet computes with."""
    store = open_store("store", base=tmp_path)
    add(store, Night(metrics={"low": float("-inf"), "note": "-1+1"}))
    text = open_client(store).get("/csv/flights/score").text
    row = next(csv.DictReader(io.StringIO(text)))
    assert (row["low"], row["note"]) == ("-Infinity", "'-1+1")


def test_csv(pages):
    """The table comes as CSV, in which no text is taken for a formula."""
    answer = pages.get("/csv/flights/score")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].endswith('"flights-score-metrics.csv"')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert (rows[0]["partition"], rows[0]["run"]) == ("2013-03-15", "run-14")
    assert (rows[0]["auc"], rows[0]["note"], rows[0][LONG]) == ("0.5", "'=1+1", "-1.0")
    assert rows[0]["ended_at"] == "2013-03-16T07:34:00+00:00"


def csv_of(pages, address):
    return list(csv.DictReader(io.StringIO(pages.get(address).text)))


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"last": 4},
        {"last": 4, "until": "2013-03-11"},
        {"last": 3, "until": "2013-03-12", "metric": "rows"},
        {"metric": "auc"},
    ],
)
def test_a_download_is_the_window_that_is_shown(pages, query):
    """Whatever nights and metric a page shows, its CSV has those, and so has each metric's page."""
    page = get(pages, "/metrics/flights/score", **query)
    rows = csv_of(pages, page["csv"])
    assert [row["partition"] for row in rows] == [row["partition"] for row in page["rows"]]
    assert list(rows[0])[5:] == page["names"]
    for metric in page["metrics"]:
        own = get(pages, metric["address"])
        assert own["names"] == [metric["name"]]
        assert [row["partition"] for row in own["rows"]] == [row["partition"] for row in rows]


def test_another_metric_of_an_older_window(pages):
    """Whoever chooses another metric stays in the nights that he looks at."""
    text = pages.get("/metrics/flights/score?last=4&until=2013-03-11").text
    assert '<input type="hidden" name="until" value="2013-03-11">' in text
    assert 'name="until"' not in pages.get("/metrics/flights/score?last=4").text


def test_missing_nights_of_a_daily_pipeline(tmp_path):
    """Nights that were due and never ran are counted, and break the line of the chart."""
    store = open_store("store", base=tmp_path)
    bundle = keep_code(store, tmp_path, SPEC.replace("* * 1-5", "* * *"))
    for number in (0, 1, 4):
        add(store, Night(number=number, metrics={"auc": 0.7}, bundle=bundle))
    pages = open_client(store)
    page = get(pages, "/metrics/flights/score")
    missing = [row["partition"] for row in page["rows"] if row["standing"] is None]
    assert missing == ["2013-03-04", "2013-03-03"]
    assert "2 nights between them did not run" in pages.get("/metrics/flights/score").text


def test_members_have_lines_of_their_own(tmp_path):
    """Up to eight members are followed one by one."""
    store = open_store("store", base=tmp_path)
    for number in range(3):
        for member in ("EWR", "JFK"):
            add(store, Night(number=number, member=member, metrics={"loss": len(member) + number}))
    page = get(open_client(store), "/metrics/flights/score")
    (loss,) = page["metrics"]
    assert [one["label"] for one in loss["told"]] == ["EWR", "JFK"]
    assert [(row["partition"], row["label"]) for row in page["rows"][:2]] == [
        ("2013-03-03", "EWR"),
        ("2013-03-03", "JFK"),
    ]


def test_many_members_are_told_together(tmp_path):
    """Of more than eight members there are the highest, the median and the lowest value."""
    store = open_store("store", base=tmp_path)
    for member in range(9):
        state = "failed" if member == 8 else "succeeded"
        metrics = {"loss": member, "kind": "tree", "seed": str(member)}
        add(store, Night(member=f"m{member}", state=state, metrics=metrics))
    page = get(open_client(store), "/metrics/flights/score")
    assert page["names"] == ["loss", "kind", "seed"]
    assert [(row["label"], row["values"]) for row in page["rows"]] == [
        ("highest", [7, "tree", "8 different values"]),
        ("median", [3.5, "tree", "8 different values"]),
        ("lowest", [0, "tree", "8 different values"]),
    ]
    assert {row["standing"] for row in page["rows"]} == {"failed"}
    assert {row["address"] for row in page["rows"]} == {"/runs/flights/2013-03-01/run-0"}


def test_a_running_night_has_no_values_yet(tmp_path):
    """What runs stands in the table as running."""
    store = open_store("store", base=tmp_path)
    add(store, Night(metrics={"auc": 0.7}))
    add(store, Night(number=1, state="running"))
    page = get(open_client(store), "/metrics/flights/score")
    assert [(row["standing"], row["values"]) for row in page["rows"]] == [
        ("running", [None]),
        ("succeeded", [0.7]),
    ]
    assert page["metrics"][0]["told"][0]["words"].startswith("of 2013-03-01, none for 1 night")


def said_of(pages):
    """Return what the page says above the charts, as a reader sees it."""
    text = pages.get("/metrics/flights/score").text
    said = re.search(r"<p>((?:(?!</p>).)*(?:[Uu]nusual)(?:(?!</p>).)*)</p>", text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", said[1]).split())


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("succeeded", "! Unusual in the newest night: auc."),
        ("failed", "! The newest night failed. Nothing is unusual before it."),
        ("running", "The newest night is still running. Nothing is unusual before it."),
    ],
)
def test_a_newest_night_without_values(tmp_path, state, said):
    """Nobody is told that nothing is unusual where the newest night failed or lost its metrics."""
    store = open_store("store", base=tmp_path)
    for number in range(8):
        add(store, Night(number=number, metrics={"auc": 0.7 + number / 100}))
    add(store, Night(number=8, state=state))
    pages = open_client(store)
    assert said_of(pages) == said
    add(store, Night(number=9, metrics={"auc": 0.75}))
    assert said_of(open_client(store)) == "Nothing is unusual."


def test_one_failed_member_of_the_newest_night(tmp_path):
    """The newest night counts as its gravest member, however many went well."""
    store = open_store("store", base=tmp_path)
    for member in range(9):
        state = "failed" if member == 4 else "succeeded"
        add(store, Night(member=f"m{member}", state=state, metrics={"auc": 0.7}))
    assert said_of(open_client(store)).startswith("! The newest night failed.")


def test_what_is_unusual_on_another_page(tmp_path):
    """A metric that is unusual is named, also where it stands on the next page."""
    store = open_store("store", base=tmp_path)
    for number in range(9):
        metrics = {f"m{one:02}": number for one in range(29)}
        add(store, Night(number=number, metrics=metrics | {"z": 900 if number == 8 else number}))
    assert said_of(open_client(store)) == "! Unusual in the newest night: z."


def test_what_is_unusual_and_cannot_be_drawn(tmp_path):
    """A metric that is named as unusual has a card, also where no chart can hold its values."""
    store = open_store("store", base=tmp_path)
    for number in range(9):
        value = math.nan if number == 8 else (-1) ** number * 1.5e308
        add(store, Night(number=number, metrics={"odd": value}))
    pages = open_client(store)
    assert said_of(pages) == "! Unusual in the newest night: odd."
    text = pages.get("/metrics/flights/score").text
    assert '<section class="card figure warn" aria-labelledby="metric-1">' in text
    assert "cannot be drawn" in text


def test_a_step_without_metrics(pages):
    """A step that reports nothing says how a notebook does."""
    text = pages.get("/metrics/quiet/report").text
    assert "No metric was reported" in text
    assert "sb.glue" in text


def test_metrics_that_are_left_out(tmp_path):
    """Lists, mappings and what is too much are named, with a link to the run; a window has its own.

    Nobody says then that nothing was reported.
    """
    store = open_store("store", base=tmp_path)
    odd = {"curve": [1, 2], "auc": 0.7, "by_class": {"a": 1}}
    add(store, Night(number=1, metrics=odd))
    add(store, Night(number=2, metrics={"curve": [1, 2]} | {f"m{n}": n for n in range(130)}))
    add(store, Night(number=3, state="running"))
    pages = open_client(store)
    left = get(pages, "/metrics/flights/score")["left_out"]
    assert (left["names"][:2], len(left["names"]), left["more"]) == (["curve", "m100"], 20, 11)
    assert get(pages, left["address"])["run"] == "run-2"
    address = "/metrics/flights/score?until=2013-03-02"
    assert get(pages, address)["left_out"]["names"] == ["curve", "by_class"]
    text = pages.get(address).text
    assert "Left out: <bdi>curve</bdi>, <bdi>by_class</bdi>. Here are numbers" in text
    assert "No metric" not in pages.get(f"{address}&metric=curve").text
    assert "No metric “x”" in pages.get(f"{address}&metric=x").text


def test_nothing_is_left_out(pages):
    """Where the page has all metrics it says nothing of the kind."""
    assert get(pages, "/metrics/flights/score")["left_out"] is None


def test_partitions_that_are_no_dates(tmp_path):
    """Text partitions stand in the order of their runs, whatever their names."""
    store = open_store("store", base=tmp_path)
    for number, name in enumerate(("zebra", "عربي / <b>", "ant")):
        add(store, Night(number=number, partition=name, metrics={"auc": number}))
    pages = open_client(store)
    page = get(pages, "/metrics/flights/score")
    assert [row["partition"] for row in page["rows"]] == ["ant", "عربي / <b>", "zebra"]
    assert page["noun"] == "partition"
    assert "<b>" not in pages.get("/metrics/flights/score").text


def test_many_metrics_are_paged(tmp_path):
    """A page shows 24 metrics, says how many there are, and where the others are."""
    store = open_store("store", base=tmp_path)
    add(store, Night(metrics={f"m{number:02}": number for number in range(30)}))
    pages = open_client(store)
    page = get(pages, "/metrics/flights/score")
    assert (len(page["names"]), page["names_left_out"], len(page["known"])) == (24, 6, 30)
    assert get(pages, page["more"])["names"] == [f"m{number}" for number in range(24, 30)]


def test_a_wide_step_shows_fewer_nights(flights):
    """Where a step has many members, as many nights are shown as a bounded number of summaries."""
    line = Index(flights).attempts("flights")[0]
    wide = nights_of(
        [
            replace(line, partition=f"2013-{month:02}-01", member=f"m{number}")
            for month in range(1, 13)
            for number in range(500)
        ],
        "score",
    ).window(60)
    assert len(wide.partitions) == 4
    assert len(wide.lines) == 2000
    assert wide.older == 8


def test_what_may_not_be_seen(flights):
    """A pipeline that one may not see is in no list, and refused where it is named."""
    pages = open_client(flights, Viewer("quiet"))
    assert get(pages, "/metrics")["steps"] == []
    assert "flights" not in pages.get("/metrics").text
    assert pages.get("/metrics/flights/score").status_code == 403
    assert pages.get("/csv/flights/score").status_code == 403


def test_what_a_page_costs(tmp_path):
    """With many runs a page asks for its window's summaries once, and then for news only."""
    store = FaultyStore(open_store("store", base=tmp_path))
    many_runs.fill(store.store, 1500, with_records=False)
    pages = open_client(store)
    assert len(get(pages, "/metrics/flights/score")["rows"]) == 60
    assert not [call for call in store.calls if call.startswith(("list runs", "children runs"))]
    first = len(store.calls)
    assert first < 120
    assert len(get(pages, "/metrics/flights/score")["rows"]) == 60
    assert len(store.calls) - first < 10


# -- what is current ----------------------------------------------------------------------------


@pytest.fixture
def taken_back(tmp_path):
    """Fill a store with two nights, each run twice; a person took the newest back to its first."""
    store = open_store("store", base=tmp_path)
    made = {"scores": {"scores.csv": b"a\n1\n"}}
    for number in range(2):
        for attempt, auc in ((1, 0.7), (2, 0.9)):
            metrics = {"auc": auc + number / 100}
            add(store, Night(number=number, attempt=attempt, metrics=metrics, files=made))
    roll_back(store, Night(number=1), output="scores", to="run-1:1", by="ann", at=FIRST)
    return store


def test_what_was_taken_back_does_not_count(taken_back):
    """After a rollback a night has the metrics of what is current, on the page and in its CSV."""
    pages = open_client(taken_back)
    page = get(pages, "/metrics/flights/score")
    assert values_of(page, "auc") == {"2013-03-02": 0.71, "2013-03-01": 0.9}
    assert page["rows"][0]["address"].endswith("/run-1/score/1")
    assert [row["auc"] for row in csv_of(pages, page["csv"])] == ["0.71", "0.9"]


def test_the_list_has_what_is_current(taken_back):
    """After a rollback the list of steps has the metrics of what is current."""
    (step,) = get(open_client(taken_back), "/metrics")["steps"]
    assert (step["partition"], step["metrics"]) == ("2013-03-02", {"auc": 0.71})


def test_a_damaged_pointer_hides_no_metrics(taken_back):
    """Where nobody can tell what is current, the newest attempt that committed counts."""
    taken_back.write(pointer_key("flights", "score", "2013-03-02"), b"{")
    pages = open_client(taken_back)
    auc = values_of(get(pages, "/metrics/flights/score"), "auc")
    assert auc == {"2013-03-02": 0.91, "2013-03-01": 0.9}
    assert get(pages, "/metrics")["steps"][0]["metrics"] == {"auc": 0.91}


def test_what_is_current_costs_a_look_at_few(tmp_path):
    """Pointers are read of nights that committed more than once, and of those that are shown."""
    asked = Asked(open_store("store", base=tmp_path))
    for number in range(8):
        for attempt in (1, 2) if number % 2 else (1,):
            for member in ("a", "b"):
                add(asked, Night(number=number, member=member, attempt=attempt, metrics={"m": 1}))
    pages = open_client(asked)
    for address, looks in (("/metrics/flights/score?last=4", 4), ("/metrics", 2)):
        asked.calls.clear()
        get(pages, address)
        assert sum(key.startswith("current/") for _name, key in asked.calls) == looks
