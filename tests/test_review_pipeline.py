"""A pipeline's own page: when it runs, how its steps did, and its newest runs."""

import html
import re
from datetime import datetime, timedelta

import pytest

from nightmill.causes import Cause
from tests.many_runs import asked_for
from tests.past_nights import DUE, NOW, Morning, night, nightly
from tests.review_client import Viewer

YAML = f"""\
owner: data-science
description: Scores <b>flights</b>.
tags: [flights]
schedule: "{DUE.minute} {DUE.hour} * * *"
start: 2013-01-01
end: {night(0)}
expect_by: 90m
steps:
  ingest: {{notebook: ingest.ipynb, outputs: {{raw: raw.parquet}}}}
  score: {{notebook: score.ipynb, inputs: [raw], members: 3, outputs: {{scores: s.parquet}}}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Make a pipeline with three nights; in the last one member 1 failed, and 2 has not run."""
    made = Morning.at(tmp_path_factory.mktemp("pipeline"))
    bundle = made.pipeline("flights", YAML)
    for back in (2, 1, 0):
        began = DUE - timedelta(days=back)
        made.attempt("flights", night(back), "ingest", began=began, bundle=bundle)
        for member in "012" if back else "01":
            fails = Cause.OUT_OF_MEMORY if (back, member) == (0, "1") else None
            facts = {"began": began + timedelta(minutes=1), "member": member, "bundle": bundle}
            made.attempt("flights", night(back), "score", fails=fails, **facts)
    made.attempt("flights", night(2), "cleanup", began=DUE - timedelta(days=2), bundle=bundle)
    made.pipeline("waiting", "after: [flights.scores]\nsteps:\n  s: {notebook: s.ipynb}\n")
    made.attempt("gone", "a/b", "late", began=NOW - timedelta(minutes=4))
    made.attempt("gone", "a/b", "early", began=NOW - timedelta(minutes=9))
    return made


@pytest.fixture(scope="module")
def facts(project):
    """Ask for the pipeline as JSON."""
    return project.pages().get("/api/pipelines/flights").json()


def test_what_its_author_says(facts):
    """Owner, words, schedule with its zone, and until when it is expected are told."""
    assert (facts["owner"], facts["description"], facts["tags"]) == (
        "data-science", "Scores <b>flights</b>.", ["flights"]
    )  # fmt: skip
    assert facts["schedule"] == f"every day at {DUE:%H:%M}, UTC"
    assert facts["next_due"] is None  # its last day is over
    assert facts["expected"] == "1 h 30 min after it is due (expect_by)"


def test_next_time(project):
    """The next time that it is due is told."""
    project.pipeline("nightly", nightly())
    found = project.pages().get("/api/pipelines/nightly").json()
    due = (DUE + timedelta(days=1)).replace(second=0, microsecond=0)
    assert datetime.fromisoformat(found["next_due"]) == due


def test_steps_and_partitions(facts):
    """Each step has a sign for each of the newest partitions: the gravest of its members."""
    assert [column["partition"] for column in facts["columns"]] == [night(0), night(1), night(2)]
    states = {
        row["step"]: [cell["state"] if cell else None for cell in row["cells"]]
        for row in facts["steps"]
    }
    assert states == {
        "ingest": ["succeeded", "succeeded", "succeeded"],
        "score": ["failed", "succeeded", "succeeded"],
        "cleanup": [None, None, "succeeded"],
    }
    assert [cell["state"] for cell in facts["partitions"]] == ["failed", "succeeded", "succeeded"]


def test_cell_of_a_step(facts):
    """The sign of a step says in a sentence how many members it is about, and leads to one."""
    cell = facts["steps"][1]["cells"][0]
    day = f"{DUE.day} {DUE:%B %Y}"
    assert cell["sentence"] == f"score, {day}: failed, out_of_memory, 1 of 2 members"
    assert cell["address"] == f"/runs/flights/{night(0)}/run-{night(0)}/score/1/1"


def test_links_of_a_step(facts):
    """From a step it is one click to its metrics and its outputs."""
    ingest = facts["steps"][0]
    assert ingest["metrics_address"] == "/metrics/flights/ingest"
    assert ingest["outputs"] == [{"name": "raw", "address": "/outputs/flights/raw"}]


def crawled(pages, start):
    """Follow every way from a page; return each address with its code, and where it stood."""
    found, ways = {}, [(start, "")]
    while ways:
        address, source = ways.pop()
        if address in found:
            continue
        answer = pages.get(address)
        found[address] = (answer.status_code, source)
        if answer.headers["content-type"].startswith("text/html"):
            links = re.findall(r'href="(/[^"#]*)', answer.text)
            ways += [(html.unescape(link), address) for link in links]
    return found


def test_no_way_leads_nowhere(tmp_path):
    """Whatever has run, has not, or is new in pipeline.yaml: no page has a link to one of none."""
    made = Morning.at(tmp_path)
    steps = "steps:\n  a: {notebook: a.ipynb, outputs: {raw: r.parquet}}\n"
    made.pipeline("never", steps)
    made.pipeline("first", steps + "  b: {notebook: b.ipynb, inputs: [raw]}\n")
    made.attempt("first", night(0), "a", began=DUE, fails=Cause.STORE)
    made.attempt("gone", "a/b", "late", began=NOW - timedelta(minutes=4))
    found = crawled(made.pages(), "/")
    assert {"/pipelines/never", "/outputs/never/raw", "/metrics/first/a"} <= set(found)
    assert {address: one for address, one in found.items() if one[0] >= 400} == {}
    assert "/metrics/never/a" not in found


def test_newest_runs_and_needs(facts):
    """The newest runs are listed, and what of them needs somebody stands above."""
    assert [(row["partition"], row["done"], row["steps"]) for row in facts["runs"]] == [
        (night(0), 2, 4), (night(1), 4, 4), (night(2), 5, 5),
    ]  # fmt: skip
    assert [(need["state"], need["step"]) for need in facts["needs"]] == [("failed", "score[1]")]
    assert facts["runs_address"] == "/runs?pipeline=flights"


def test_fewer_partitions(project):
    """The grid has as many partitions as were asked for."""
    found = project.pages().get("/api/pipelines/flights?last=1").json()
    assert [column["partition"] for column in found["columns"]] == [night(0)]


def test_text_of_others_is_text(project):
    """What its author wrote is shown, and is never markup; old steps are called that."""
    text = project.pages().get("/pipelines/flights").text
    assert "Scores &lt;b&gt;flights&lt;/b&gt;." in text
    assert "no longer in the pipeline" in text


def test_never_ran(project):
    """A pipeline of the project that never ran says after what it runs, and how to run it."""
    page = project.pages()
    assert page.get("/api/pipelines/waiting").json()["schedule"] == "after flights.scores"
    assert "nightmill run waiting" in page.get("/pipelines/waiting").text


def test_without_its_yaml(project):
    """A pipeline whose yaml is nowhere is told by what ran, steps as they began, and says so."""
    page = project.pages()
    found = page.get("/api/pipelines/gone").json()
    assert (found["has_spec"], found["zone"]) == (False, "UTC")
    assert [row["step"] for row in found["steps"]] == ["early", "late"]
    assert "No pipeline.yaml of it was found" in page.get("/pipelines/gone").text


def test_unknown(project):
    """An unknown name is answered with 404 and with what it may have meant, if that may be seen."""
    answer = project.pages().get("/api/pipelines/flihgts")
    assert answer.status_code == 404
    assert "flights" in answer.json()["error"]["advice"]
    hidden = project.pages(Viewer("flihgts")).get("/pipelines/flihgts")
    assert hidden.status_code == 404
    assert "flights" not in hidden.text
    assert project.pages(Viewer("gone")).get("/pipelines/flights").status_code == 403


def test_bounded_requests(tmp_path):
    """The page asks a store as little after 900 attempts as after 300."""
    page = "/pipelines/flights"
    counts = [len(asked_for(tmp_path, size, page, after=page).calls) for size in (300, 900)]
    assert counts[0] == counts[1] < 10
