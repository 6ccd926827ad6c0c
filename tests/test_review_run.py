"""The page of a run: what happened and why, what it made and from what, for people and programs."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.causes import Cause
from nightmill.spec.record import (
    Amendment,
    CheckState,
    Decision,
    Failure,
    InputRecord,
    Memory,
    Review,
)
from nightmill.store import notes
from nightmill.store.active import mark
from nightmill.store.history import prefix_of
from nightmill.store.open import open_store
from tests.many_runs import Ended, fill, write
from tests.review_client import Asked, Viewer, get, open_client, run_path
from tests.reviewed_nights import Night, add, roll_back
from tests.run_records import (
    BEGUN,
    DAY,
    GIB,
    PIPELINE,
    RUN,
    YAML,
    check,
    failed,
    held,
    keep_code,
    later_night,
    leave,
    progress_of,
    reads,
    record_of,
    running,
)

PAGE = run_path(PIPELINE, DAY, RUN)
HOSTILE = "<script>alert(1)</script>\u202e\ud800"


@pytest.fixture
def local(tmp_path):
    """Open an empty store."""
    return open_store("store", base=tmp_path)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Leave a night whose features were evicted once, and whose scores ran out of memory."""
    store = open_store("store", base=tmp_path_factory.mktemp("night"))
    code = keep_code(store)
    load = leave(store, record_of("load", code=code))
    warnings = ("an exception in thread Thread-4 (poll):\n  RuntimeError: connection lost",)
    weather = leave(store, record_of("weather", code=code, duration_s=41.25, warnings=warnings))
    amended = Amendment(
        at=BEGUN + timedelta(minutes=4), by="nightmill sweep", was=None, cause=Cause.EVICTED
    )
    leave(store, failed("features", Cause.EVICTED, minutes=2, code=code, amendments=(amended,)))
    inputs = {"raw": reads(load), "weather": reads(weather), "holidays": None}
    found = (
        check("features"),
        check("features", CheckState.FAILED, check="drift", severity="warn"),
    )
    facts = {"inputs": inputs, "checks": found, "metrics": {"auc": 0.9123456, "n": 336776}}
    leave(store, record_of("features", attempt=2, minutes=5, code=code, **facts))
    why = {
        "ename": "MemoryError",
        "evalue": "Unable to allocate 5.2 GiB",
        "traceback": ("\x1b[31mTraceback\x1b[0m", "  one_hot(frame)"),
        "evidence": {"oom_kills": 1},
    }
    memory = Memory(peak_bytes=79 * GIB // 10, limit_bytes=8 * GIB)
    facts = {"pool": "highmem", "duration_s": 612.5, "memory": memory, "failure": why}
    leave(store, failed("score", Cause.OUT_OF_MEMORY, minutes=8, code=code, **facts))
    return open_client(store)


@pytest.fixture(scope="module")
def facts(night):
    """Read the night as a program does."""
    return night.get(f"/api{PAGE}").json()


@pytest.fixture(scope="module")
def text(night):
    """Read the night as a person does."""
    answer = night.get(PAGE)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.text)


def section(facts, step):
    """Choose a step's part of a page."""
    return next(one for one in facts["sections"] if one["step"] == step)


# -- what happened ---------------------------------------------------------------------------------


def test_the_page_says_in_a_sentence_what_happened(facts, text):
    """State, failing cell and cause, how many steps are fine, and which never ran."""
    said = "score failed in cell 14: out of memory; 3 of 5 steps succeeded; report did not run."
    assert (facts["state"], facts["sentence"]) == ("failed", said)
    assert said in text


def test_a_failure_is_one_click_from_its_cell(facts, text):
    """The card names cause, cell, error and what a retry would do, and links to the cell."""
    (failure,) = facts["failures"]
    address = f"{PAGE}/score/1#cell-14"
    assert failure["address"] == address
    assert (failure["cell"], failure["cells"], failure["title"]) == (14, 22, "Score the day")
    assert failure["cause_in_words"] == "the memory limit was reached"
    assert failure["outlook"] == "another attempt with more memory may help"
    assert failure["traceback"] == "Traceback\n  one_hot(frame)"
    assert failure["evidence"] == '{\n "oom_kills": 1\n}'
    assert f'<a href="{address}">Cell 14 of 22: <bdi>Score the day</bdi></a>' in text
    assert "<strong>MemoryError</strong>: Unable to allocate 5.2 GiB" in text


def test_a_warning_is_shown_though_the_step_succeeded(facts, text):
    """An exception in a thread is no plain green (case 24)."""
    (remark,) = facts["remarks"]
    said = "an exception in thread Thread-4 (poll): RuntimeError: connection lost"
    assert (remark["label"], remark["text"]) == ("weather", said)
    assert f'<strong>Warning</strong> of <a href="{PAGE}/weather/1"><bdi>weather</bdi></a>' in text
    assert said in text
    cards = {one["step"]: one["warnings"] for one in facts["cards"]}
    assert (cards["weather"], cards["load"]) == (1, 0)
    assert "succeeded, 1 warning</span>" in text
    assert section(facts, "weather")["attempts"][0]["warnings"] == [said]


def test_a_run_that_succeeded_with_a_warning_says_so_in_its_title(local):
    """Its state is told with the number of warnings, in another colour."""
    leave(local, record_of("load", warnings=("one", "two")))
    text = re.sub(r"\s+", " ", open_client(local).get(PAGE).text)
    (title,) = re.findall(r"<h1>.*?</h1>", text)
    assert 'class="state warned"' in title
    assert "succeeded, 2 warnings" in title


def test_an_amendment_is_told_plainly(facts, text):
    """Who wrote what into a record from outside, and when in the pipeline's time zone."""
    (one,) = facts["amendments"]
    assert (one["was"], one["now"], one["by"]) == ("running", "evicted", "nightmill sweep")
    changed = "attempt 1, <bdi>running</bdi> → <bdi>evicted</bdi>, by <bdi>nightmill sweep"
    assert f"<bdi>features</bdi>, {changed}" in text
    assert "2 Mar 2013, 02:34 EST" in text


def test_times_are_those_of_the_pipelines_zone_and_say_so(facts, text):
    """The run began at 07:30 UTC, which is 02:30 in New York (case 22)."""
    assert facts["zone"] == "America/New_York"
    assert 'started <time datetime="2013-03-02T07:30:00+00:00"' in text
    assert "2 Mar 2013, 02:30 EST" in text
    assert "times in America/New_York" in text


def test_every_step_is_in_the_graph_also_one_that_did_not_run(facts):
    """Each says how it stands, how often it was tried, and what it waits for."""
    cards = {one["step"]: one for one in facts["cards"]}
    assert {step: one["state"] for step, one in cards.items()} == {
        "load": "succeeded",
        "weather": "succeeded",
        "features": "succeeded",
        "score": "failed",
        "report": "not_run",
    }
    assert cards["report"]["note"] == "score failed"
    assert cards["features"]["attempts"] == 2
    assert cards["score"]["address"] == f"{PAGE}/score/1#cell-14"
    assert (cards["score"]["pool"], cards["score"]["cause"]) == ("highmem", "out_of_memory")
    assert cards["features"]["needs"] == ["load", "weather"]


def test_the_cost_counts_every_attempt(facts):
    """Pod-seconds by pool: 90 + 41.25 + 90 + 90 of one and 612.5 of the other."""
    assert [(one["pool"], one["attempts"], one["pod_seconds"]) for one in facts["costs"]] == [
        ("highcpu", 4, 311.25),
        ("highmem", 1, 612.5),
    ]
    assert facts["pod_seconds"] == 923.75


def test_the_time_of_a_run_is_from_its_first_start_to_its_last_end(facts):
    """The last attempt began after 8 minutes and took 612.5 s."""
    assert facts["span_s"] == 8 * 60 + 612.5


def test_a_node_whose_clock_was_set_back_makes_no_odd_spans(local):
    """An end before its start in the record is no negative time: spans are measured (case 22)."""
    one = leave(local, record_of("load", duration_s=95.0, ended_at=BEGUN - timedelta(hours=3)))
    facts = open_client(local).get(f"/api{PAGE}").json()
    assert (facts["span_s"], facts["pod_seconds"]) == (95.0, 95.0)
    assert section(facts, "load")["attempts"][0]["duration_s"] == one.duration_s


# -- what it made, and from what -------------------------------------------------------------------


def test_attempts_tell_what_they_made_read_and_found(facts, text):
    """Outputs with rows, inputs with the run that made them, checks, metrics, code and kernel."""
    newest, first = section(facts, "features")["attempts"]
    assert (newest["attempt"], first["attempt"], first["cause"]) == (2, 1, "evicted")
    (output,) = newest["outputs"]
    assert (output["name"], output["rows"], output["currency"]) == ("features", 1234, "current")
    assert output["page"] == f"/outputs/{PIPELINE}/features/{DAY}?version={RUN}%3A2"
    raw, weather, holidays = newest["inputs"]
    assert (raw["output"], raw["run_page"], raw["is_behind"]) == ("raw", PAGE, False)
    assert weather["output"] == "weather"
    assert holidays["output"] == ""
    assert [one["value"] for one in newest["metrics"]] == [0.9123456, 336776]
    assert newest["code"]["git"] == "4f1c" * 10 + ", with changes not committed"
    assert newest["kernel"]["threads_from"] == "the pool's cpus"
    assert "was not there (optional)" in text
    assert f'<a href="{PAGE}/features/2">attempt 2: notebook</a>' in text


def test_checks_that_stand_in_the_way_come_first(local):
    """Then others that failed, those that could not be made, those left out, those that passed."""
    found = [
        check("scores", CheckState.PASSED, check="rows"),
        check("scores", CheckState.SKIPPED, check="schema"),
        check("scores", CheckState.FAILED, check="drift", severity="warn"),
        check("scores", CheckState.ERROR, check="custom", severity="warn"),
        check("scores", CheckState.FAILED, check="not_null"),
    ]
    leave(local, failed("score", Cause.CHECK_FAILED, checks=tuple(found)))
    (attempt,) = section(open_client(local).get(f"/api{PAGE}").json(), "score")["attempts"]
    names = ["not_null", "drift", "custom", "schema", "rows"]
    assert [one["check"] for one in attempt["checks"]] == names
    assert attempt["checks_passed"] == 1


DECIDED = {"by": "Bo", "at": datetime(2013, 3, 2, 9, tzinfo=UTC)}
APPROVED = Review(required=("scores",), decision=Decision(approved=True, **DECIDED))
REJECTED = Review(required=("scores",), decision=Decision(approved=False, comment="no", **DECIDED))
CURRENCIES = {
    "current": (record_of("score"), False),
    "was current": (record_of("score"), True),
    "held": (held("score"), False),
    "approved": (held("score", review=APPROVED), False),
    "rejected": (held("score", review=REJECTED), False),
    "never committed": (record_of("score", committed=False), False),
}


@pytest.mark.parametrize(("currency", "case"), CURRENCIES.items(), ids=CURRENCIES.keys())
def test_an_output_says_what_it_is_to_its_readers(local, currency, case):
    """Whether it is current is what the pointer says now, not what the record said then."""
    record, is_replaced = case
    leave(local, record)
    if is_replaced:
        leave(local, later_night(record))
    client = open_client(local)
    (attempt,) = section(client.get(f"/api{PAGE}").json(), "score")["attempts"]
    assert [one["currency"] for one in attempt["outputs"]] == [currency]
    assert f"</span> {currency}</span>" in client.get(PAGE).text


def test_an_input_says_when_a_newer_version_is_current(local):
    """A reviewer sees that what was read has been replaced since."""
    load = leave(local, record_of("load"))
    leave(local, record_of("features", inputs={"raw": reads(load)}))
    leave(local, later_night(load))
    client = open_client(local)
    (attempt,) = section(client.get(f"/api{PAGE}").json(), "features")["attempts"]
    assert attempt["inputs"][0]["is_behind"] is True
    assert "a newer version" in client.get(PAGE).text


def test_what_another_pipeline_has_by_now_is_told_only_to_who_may_see_it(local):
    """For others it is not even looked up."""
    airports = leave(local, record_of("load", pipeline="airports"))
    leave(local, record_of("features", inputs={"airports": reads(airports)}))
    known = {}
    for allowed in (("flights", "airports"), ("flights",)):
        asked = Asked(local)
        facts = open_client(asked, Viewer(*allowed)).get(f"/api{PAGE}").json()
        (attempt,) = section(facts, "features")["attempts"]
        known[allowed] = attempt["inputs"][0]["is_behind"]
        assert any("airports" in key for _name, key in asked.calls) == ("airports" in allowed)
    assert list(known.values()) == [False, None]


@pytest.mark.parametrize("address", ["s3://moved/runs/x", "{root}/runs/short", ""])
def test_an_input_of_a_store_that_has_moved_is_shown_without_a_claim(local, address):
    """Where its version lies now nobody knows; the run that made it is linked all the same."""
    root = local.address("x").removesuffix("/x")
    names = {"pipeline": PIPELINE, "output": "raw", "partition": DAY, "run": "r", "attempt": 1}
    given = InputRecord(**names, address=address.format(root=root), files=())
    leave(local, record_of("features", inputs={"raw": given}))
    (attempt,) = section(open_client(local).get(f"/api{PAGE}").json(), "features")["attempts"]
    (found,) = attempt["inputs"]
    assert (found["is_behind"], found["run_page"]) == (None, f"/runs/{PIPELINE}/{DAY}/r")


def test_a_pointer_that_cannot_be_read_spoils_no_page(local):
    """Nothing is claimed of what is current then."""
    leave(local, record_of("load"))
    local.write(f"current/{PIPELINE}/load/{DAY}.json", b"{")
    (attempt,) = section(open_client(local).get(f"/api{PAGE}").json(), "load")["attempts"]
    assert attempt["outputs"][0]["currency"] == "was current"


# -- steps that did not run, members, many attempts ------------------------------------------------


def test_a_step_that_was_left_as_it_was_says_by_which_run(local):
    """A run that begins behind committed steps links to who made what it read."""
    code = keep_code(local)
    before = leave(local, record_of("features", code=code, run="before", order=1))
    leave(local, record_of("score", code=code, inputs={"features": reads(before)}))
    cards = {one["step"]: one for one in open_client(local).get(f"/api{PAGE}").json()["cards"]}
    assert cards["features"]["note"] == "as run before left it"
    assert cards["features"]["address"] == run_path(PIPELINE, DAY, "before")
    assert cards["report"]["note"] == ""


def test_without_the_pipelines_file_the_steps_tell_their_graph(local):
    """A run whose code was not kept is shown with what its steps read, and in UTC."""
    load = leave(local, record_of("load"))
    leave(local, record_of("features", inputs={"raw": reads(load)}))
    facts = open_client(local).get(f"/api{PAGE}").json()
    assert facts["zone"] == "UTC"
    assert {one["step"]: one["needs"] for one in facts["cards"]} == {
        "load": [],
        "features": ["load"],
    }


MEMBERS_YAML = f"""\
pipeline: {PIPELINE}
steps:
  score: {{notebook: s.ipynb, members: 80, outputs: {{scores: s.parquet}}}}
"""


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Leave a step of which 60 of 80 members have run, and two of them failed."""
    store = open_store("store", base=tmp_path_factory.mktemp("mapped"))
    code = keep_code(store, MEMBERS_YAML)
    for number in range(60):
        facts = {"code": code, "member": str(number), "duration_s": 30.0 + number}
        is_bad = number in (3, 17)
        made = failed("score", Cause.NOTEBOOK_ERROR, **facts) if is_bad else None
        write(store, Ended(made or record_of("score", **facts), written_ms=number))
    return open_client(store)


def test_members_are_one_card(mapped):
    """The card counts them all, and how many are fine; the longest tells the time."""
    facts = mapped.get(f"/api{PAGE}").json()
    (card,) = facts["cards"]
    assert (card["members"], card["members_done"], card["state"]) == (80, 58, "failed")
    assert card["seconds"] == 89.0
    assert facts["sentence"] == "2 members of score failed."
    assert "58 of 80 members" in mapped.get(PAGE).text


def test_members_that_failed_come_first_and_the_rest_is_a_click_away(mapped):
    """Ten are on the page of the run; all of them, in the order of their numbers, on their own."""
    (part,) = mapped.get(f"/api{PAGE}").json()["sections"]
    shown = [one["member"] for one in part["attempts"]]
    assert shown == ["3", "17", *(str(n) for n in (0, 1, 2, 4, 5, 6, 7, 8))]
    assert (part["left_out"], part["all_page"]) == (50, f"{PAGE}?step=score")
    first = mapped.get(f"/api{PAGE}?step=score").json()
    second = mapped.get("/api" + first["later_page"]).json()
    both = [one["member"] for page in (first, second) for one in page["sections"][0]["attempts"]]
    assert sorted(both, key=int) == [str(n) for n in range(60)]
    assert (first["earlier_page"], second["later_page"]) == (None, None)
    assert second["earlier_page"] == f"{PAGE}?step=score&page=1"


@pytest.mark.parametrize("query", ["step=nothing", "step=score&page=0", "step=score&page=x", "a=b"])
def test_a_query_that_means_nothing_is_not_an_error(mapped, query):
    """The page is shown as without it."""
    assert mapped.get(f"{PAGE}?{query}").status_code == 200


def test_long_lists_are_cut_and_say_so(local):
    """A thousand metrics and a failure of each of 15 members are not all on the page."""
    leave(local, record_of("load", metrics={f"m{n}": n for n in range(1000)}))
    for number in range(15):
        leave(local, failed("score", Cause.NOTEBOOK_ERROR, member=str(number)))
    client = open_client(local)
    facts = client.get(f"/api{PAGE}").json()
    (attempt,) = section(facts, "load")["attempts"]
    assert (len(attempt["metrics"]), attempt["left_out"]) == (100, ["900 more metrics"])
    assert (len(facts["failures"]), facts["left_out"]) == (10, ["5 more failed attempts"])
    assert "5 more failed attempts are not shown here" in client.get(PAGE).text


SENTENCES = {
    "All 2 steps succeeded.": [record_of("load"), record_of("weather")],
    "The step succeeded.": [record_of("load")],
    "load and weather failed.": [failed("load", Cause.STORE), failed("weather", Cause.STORE)],
    "score was rejected; 1 of 2 steps succeeded.": [
        record_of("load"),
        held("score", review=REJECTED),
    ],
    "score is held for review.": [held("score")],
    "load is silent.": [running("load")],
    "load[b] failed in cell 14: store.": [
        record_of("load", member="a"),
        failed("load", Cause.STORE, member="b"),
    ],
    "load, weather and 2 others failed.": [
        failed(step, Cause.STORE, minutes=minutes)
        for minutes, step in enumerate(("load", "weather", "features", "score"))
    ],
}


@pytest.mark.parametrize(("sentence", "records"), SENTENCES.items(), ids=SENTENCES.keys())
def test_each_way_a_run_can_stand_has_its_sentence(local, sentence, records):
    """The gravest comes first, and steps are named."""
    for record in records:
        leave(local, record)
    assert open_client(local).get(f"/api{PAGE}").json()["sentence"] == sentence


def test_a_step_that_began_just_now_is_running(local):
    """What has not yet had the time for a sign of life is not silent."""
    leave(local, record_of("load"))
    leave(local, running("features", started_at=datetime.now(UTC)))
    said = open_client(local).get(f"/api{PAGE}").json()["sentence"]
    assert said == "features is running; 1 of 2 steps succeeded."


# -- what is not as it should be -------------------------------------------------------------------


def test_what_people_and_notebooks_wrote_is_inert(local):
    """Scripts are text, halves of characters are codes, and the page is whole."""
    why = {"title": HOSTILE, "ename": HOSTILE, "evalue": HOSTILE, "traceback": (HOSTILE,)}
    more = {"evidence": {"said": HOSTILE}}
    leave(local, failed("score", Cause.NOTEBOOK_ERROR, failure={**why, **more}))
    facts = {"metrics": {HOSTILE: HOSTILE}, "parameters": {"p": {"deep": HOSTILE}}}
    results = (check("raw", message=HOSTILE, observed=HOSTILE, expected=HOSTILE),)
    leave(local, record_of("load", warnings=(HOSTILE,), checks=results, **facts))
    notes.add(local, PIPELINE, DAY, RUN, notes.make_note(by="<b>x", text="<script>alert(2)"))
    client = open_client(local)
    answer = client.get(PAGE)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<b>x" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\ud800" in answer.text
    attempt = client.get(f"{PAGE}/score/1")
    assert attempt.status_code == 200
    assert "<script>alert" not in attempt.text
    assert client.get(f"/api{PAGE}").status_code == 200


def test_a_run_that_is_not_there_says_what_to_do(local):
    """Whoever follows an old link learns why there may be nothing."""
    answer = open_client(local).get(PAGE)
    assert answer.status_code == 404
    assert f"there is no record of the run {RUN}" in answer.text
    assert "`nightmill runs` lists what there is" in answer.text


def test_records_that_cannot_be_read_are_named(local):
    """The rest of the run is shown; where nothing else is there, that is said."""
    place = prefix_of(record_of("weather"))
    local.write(f"{place}/record.json", b"{}")
    client = open_client(local)
    alone = client.get(PAGE)
    assert (alone.status_code, "none of this run&#39;s 1 records" in alone.text) == (404, True)
    leave(local, record_of("load"))
    with_others = client.get(PAGE)
    assert with_others.status_code == 200
    assert local.address(f"{place}/record.json") in with_others.text


def test_a_failure_without_a_cell_leads_to_the_attempt(local):
    """What was lost before its first cell has a message, and no place in the notebook."""
    nowhere = {"cell": None, "cells": None, "title": None, "message": "image: pull failed"}
    leave(local, failed("score", Cause.IMAGE, failure=nowhere))
    client = open_client(local)
    (failure,) = client.get(f"/api{PAGE}").json()["failures"]
    assert failure["address"] == f"{PAGE}/score/1"
    assert "image: pull failed" in client.get(PAGE).text


def test_a_long_traceback_keeps_its_end(local):
    """The last 60 lines say where it failed; how many came before is told."""
    lines = tuple(f"line {number}" for number in range(100))
    leave(local, failed("score", Cause.NOTEBOOK_ERROR, failure={"traceback": lines}))
    (failure,) = open_client(local).get(f"/api{PAGE}").json()["failures"]
    shown = failure["traceback"].split("\n")
    assert shown[:2] == ["... 40 lines before ...", "line 40"]
    assert shown[-1] == "line 99"


def test_a_run_with_a_very_long_name_has_its_page(local):
    """Airflow allows 250 characters, which the store cuts and closes with a hash."""
    name = "manual__" + "é" * 150
    record = leave(local, record_of("load", run=name))
    page = "/" + "/".join(prefix_of(record).split("/")[:4])
    facts = open_client(local).get(f"/api{page}").json()
    assert facts["run"] == name
    assert section(facts, "load")["attempts"][0]["address"] == f"{page}/load/1"


def test_commands_name_the_very_run_and_survive_a_shell(local):
    """A partition with blanks and quotes is one argument; the store is named."""
    leave(local, record_of("load", partition="it's a day", store="s3://b/p?region=x&y"))
    page = run_path(PIPELINE, "it's a day", RUN)
    facts = open_client(local).get(f"/api{page}").json()
    where = f"--pipeline {PIPELINE} --partition 'it'\"'\"'s a day'"
    store = "--store 's3://b/p?region=x&y'"
    assert facts["show"]["text"] == f"nightmill show {RUN} {where} {store}"
    (attempt,) = section(facts, "load")["attempts"]
    replay = f"nightmill replay {RUN} {where} --step load --attempt 1 {store}"
    assert [one["text"] for one in attempt["commands"]] == [f"{replay} --open", replay]


def test_among_thousands_of_attempts_a_run_asks_for_little(local):
    """The number of requests is that of the run's own attempts, and runs/ is never listed whole."""
    fill(local, 600, with_records=False)
    made = leave(local, record_of("load"))
    leave(local, record_of("features", inputs={"raw": reads(made)}))
    asked = Asked(local)
    client = open_client(asked)
    client.get("/api/runs")  # the index is read once for all pages
    asked.calls.clear()
    facts = client.get(f"/api{PAGE}").json()
    attempts = sum(len(one["attempts"]) for one in facts["sections"])
    assert attempts == 2
    assert len(asked.calls) <= 12
    listed = [key for name, key in asked.calls if name in ("list", "children")]
    assert all(key.startswith((PAGE[1:], "notes/", "index/", "active")) for key in listed)


def test_a_silent_attempt_is_no_running_one(local):
    """Where the heartbeat stopped long ago the run's state says so."""
    record = running("load", started_at=datetime.now(UTC) - timedelta(hours=1))
    long_ago = datetime.now(UTC) - timedelta(minutes=4)
    leave(local, record, progress_of(record, heartbeat=long_ago))
    mark(local, prefix_of(record), order=record.order)
    facts = open_client(local).get(f"/api{PAGE}").json()
    assert (facts["state"], facts["cards"][0]["state"]) == ("silent", "silent")
    assert facts["ended_at"] is None


def test_an_attempt_that_left_no_duration_is_counted_as_unknown(local):
    """The cost does not make up a time."""
    cut_off = Failure(cause=Cause.NODE_LOST, message="node_lost: gone")
    record = failed("load", Cause.NODE_LOST, duration_s=None, ended_at=None)
    leave(local, record.model_copy(update={"failure": cut_off}))
    (cost,) = open_client(local).get(f"/api{PAGE}").json()["costs"]
    assert (cost["pod_seconds"], cost["untimed"]) == (0.0, 1)


def test_a_version_that_was_taken_back_says_so(tmp_path):
    """The run's page tells who rolled it back, when and why, and leads to what is current."""
    store = open_store("store", base=tmp_path)
    files = {"scores": {"s.csv": b"a"}}
    bad = Night(files=files, partition="2013-03-01", number=2)
    add(store, Night(files=files, partition="2013-03-01", number=1))
    add(store, bad)
    roll_back(store, bad, output="scores", to="run-1:1", by="ann", reason="half is <missing>")
    pages = open_client(store)
    (told,) = get(pages, "/runs/flights/2013-03-01/run-2")["taken_back"]
    assert (told["kind"], told["by"], told["reason"]) == ("rollback", "ann", "half is <missing>")
    assert told["now"] == "/runs/flights/2013-03-01/run-1/score/1"
    assert "half is &lt;missing&gt;" in pages.get("/runs/flights/2013-03-01/run-2").text
    assert get(pages, "/runs/flights/2013-03-01/run-1")["taken_back"] == []


@pytest.mark.parametrize(
    ("attempt", "said"), [(2, "another attempt may help"), (3, "no attempts left")]
)
def test_after_the_last_try_no_attempt_is_promised(tmp_path, attempt, said):
    """The page says what the launcher said, who counts the attempts."""
    store = open_store("store", base=tmp_path)
    code = keep_code(store, f"{YAML}retries: 2\n")
    leave(store, failed("score", Cause.KERNEL_DIED, attempt=attempt, code=code))
    (failure,) = get(open_client(store), run_path(PIPELINE, DAY, RUN))["failures"]
    assert failure["outlook"] == said


def test_a_run_whose_outputs_were_replaced_says_so(tmp_path):
    """It names the steps that a later run has made anew, with links to what is current now."""
    store = open_store("store", base=tmp_path)
    files = {"scores": {"s.csv": b"a"}}
    for number in (1, 2):
        for step in ("load", "score"):
            add(store, Night(step=step, files=files, partition="2013-03-01", number=number))
    add(store, Night(step="same", files=files, partition="2013-03-01", number=1))
    pages = open_client(store)
    page = get(pages, "/runs/flights/2013-03-01/run-1")
    assert [(one["label"], one["now"]) for one in page["replaced"]] == [
        (step, f"/runs/flights/2013-03-01/run-2/{step}/1") for step in ("load", "score")
    ]
    text = pages.get("/runs/flights/2013-03-01/run-1").text
    assert "another version is current of" in text
    assert "No longer current" not in pages.get("/runs/flights/2013-03-01/run-2").text


def test_an_attempt_that_its_own_run_replaced_is_no_news(tmp_path):
    """What a newer attempt of the same run has replaced is told below it, and not as a remark."""
    store = open_store("store", base=tmp_path)
    for attempt in (1, 2):
        add(store, Night(attempt=attempt, files={"scores": {"s.csv": b"a"}}))
    assert get(open_client(store), "/runs/flights/2013-03-01/run-0")["replaced"] == []


def test_of_many_replaced_steps_ten_are_named(tmp_path):
    """The others are counted."""
    store = open_store("store", base=tmp_path)
    for number in (1, 2):
        for step in range(12):
            night = Night(step=f"s{step:02}", partition="2013-03-01", number=number)
            add(store, replace(night, files={"o": {"o.csv": b"a"}}))
    pages = open_client(store)
    page = get(pages, "/runs/flights/2013-03-01/run-1")
    assert (len(page["replaced"]), page["replaced_left_out"]) == (10, 2)
    assert "and 2 more steps" in pages.get("/runs/flights/2013-03-01/run-1").text
