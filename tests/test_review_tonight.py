"""The first page: who needs somebody this morning, and how the newest partitions stand."""

from datetime import datetime, timedelta

import pytest

from nightmill.causes import Cause
from nightmill.review.pages.grid import Column
from nightmill.store.keys import code_key, encode
from tests.many_runs import asked_for, lists_runs
from tests.past_nights import ALIVE, DUE, NOW, Morning, night, nightly
from tests.review_client import Viewer, get

OWNED = "owner: mobility"
HOURLY = "expect_by: 1h"
SCORED = nightly(HOURLY).replace("score.ipynb}", "score.ipynb, outputs: {o: o.csv}}")
TEXT = "partition: text\nsteps:\n  score: {notebook: score.ipynb}\n"
HOSTILE = "<script>alert(1)</script> & \u202e"


def run_night(morning, pipeline, back, *steps, **last):
    """Run steps of a night one after another; the last of them ends as it is told."""
    for number, step in enumerate(steps):
        facts = last if number == len(steps) - 1 else {}
        began = DUE - timedelta(days=back) + timedelta(minutes=number)
        morning.attempt(pipeline, night(back), step, **{"began": began, **facts})


@pytest.fixture(scope="module")
def morning(tmp_path_factory):
    """Make a project whose pipelines went in all the ways there are."""
    made = Morning.at(tmp_path_factory.mktemp("morning"))
    both = ("ingest", "score")
    for name, *keys in (
        ("good", OWNED), ("flights", OWNED), ("late", HOURLY), ("half", HOURLY), ("held",),
        ("silent",), ("busy", "expect_by: 1d"), ("retried",), ("never", HOURLY),
    ):  # fmt: skip
        made.pipeline(name, nightly(*keys))
    for name in ("good", "flights", "late", "half", "held", "silent", "busy", "retried"):
        run_night(made, name, 1, *both)
    run_night(made, "good", 0, *both)
    run_night(made, "flights", 0, *both, fails=Cause.OUT_OF_MEMORY, cell=14)
    run_night(made, "flights", 2, *both, fails=Cause.CHECK_FAILED)
    run_night(made, "half", 0, "ingest")
    run_night(made, "held", 0, *both, held=True)
    run_night(made, "silent", 0, *both, ends=False, heartbeat=NOW - timedelta(hours=1))
    run_night(made, "busy", 0, *both, ends=False, heartbeat=ALIVE)
    run_night(made, "retried", 0, *both, fails=Cause.EVICTED)
    run_night(made, "retried", 0, "score", number=2, began=DUE + timedelta(minutes=20))
    # A night that failed, and whose step somebody ran again by hand.
    run_night(made, "good", 2, *both, fails=Cause.STORE)
    run_night(made, "good", 2, "score", run="by-hand", began=DUE - timedelta(hours=30))
    return made


@pytest.fixture(scope="module")
def facts(morning):
    """Ask for the page as JSON."""
    return morning.pages().get("/api/").json()


def test_needs(facts):
    """What failed, fell silent, is late or held is named, the gravest first, with its cause."""
    keys = ("state", "pipeline", "partition", "step", "cause", "cell", "more")
    assert [tuple(need[key] for key in keys) for need in facts["needs"]] == [
        ("failed", "flights", night(0), "score", "out_of_memory", 14, 1),
        ("silent", "silent", night(0), "score", None, None, 0),
        *[("late", name, night(0), "", None, None, 0) for name in ("half", "late", "never")],
        ("held", "held", night(0), "score", None, None, 0),
    ]


def test_summary(facts):
    """One sentence tells how many pipelines need somebody, and why."""
    assert facts["summary"] == "6 of 9 pipelines need you: 1 failed, 1 silent, 3 late, 1 held"


def test_messages(facts):
    """Each need is explained in one line: the failure's own words, and what is late by what."""
    said = {need["pipeline"]: need["message"] for need in facts["needs"]}
    failed = 'out_of_memory in cell 14/22 "Score the day": it went wrong'
    assert said["flights"] == failed
    due, by = f"due {DUE:%H:%M} UTC", DUE + timedelta(hours=1)
    expected = f"expected by {by.day} {by:%b %Y, %H:%M} UTC (expect_by)"
    assert said["late"] == said["never"] == f"nothing has run, {due}, {expected}"
    assert said["half"] == f"1 of 2 steps done, {due}, {expected}"
    assert "no sign of life for 3 min or longer; `nightmill sweep`" in said["silent"]
    assert "waits for a decision since" in said["held"]


def test_one_click_to_the_failing_cell(morning, facts):
    """The first need leads to the page of the failing attempt, at its cell; others to their run."""
    failed, silent, half, *_others = facts["needs"]
    prefix = f"/runs/flights/{night(0)}/run-{night(0)}"
    assert failed["address"] == f"{prefix}/score/1#cell-14"
    assert failed["run_address"] == prefix
    assert silent["address"] == f"/runs/silent/{night(0)}/run-{night(0)}/score/1"
    assert half["address"] == f"/runs/half/{night(0)}/run-{night(0)}"
    assert facts["needs"][4]["address"] == "/pipelines/never"
    page = morning.pages()
    assert all(page.get(need["address"]).status_code == 200 for need in facts["needs"])
    assert f'href="{failed["address"]}"' in page.get("/").text


def cells(facts, pipeline):
    """Return the states of a row by partition."""
    row = next(row for row in facts["rows"] if row["pipeline"] == pipeline)
    return {cell["partition"]: cell["state"] for cell in row["cells"] if cell}


@pytest.mark.parametrize(
    ("pipeline", "states"),
    [
        ("good", ["succeeded", "succeeded", "succeeded"]),
        ("flights", ["failed", "succeeded", "failed"]),
        ("late", ["late", "succeeded"]),
        ("half", ["late", "succeeded"]),
        ("held", ["held", "succeeded"]),
        ("silent", ["silent", "succeeded"]),
        ("busy", ["running", "succeeded"]),
        ("retried", ["succeeded", "succeeded"]),
        ("never", ["late"]),
    ],
)
def test_grid(facts, pipeline, states):
    """A partition stands as the newest attempt of each step does, or is late."""
    found = cells(facts, pipeline)
    assert [found[night(back)] for back in range(len(states))] == states


def test_rows_come_by_gravity_and_good_ones_are_quiet(facts):
    """Pipelines that need somebody stand first; those whose nights are good are told quietly."""
    assert [row["pipeline"] for row in facts["rows"]] == [
        "flights", "silent", "half", "late", "never", "held", "busy", "good", "retried",
    ]  # fmt: skip
    quiet = {row["pipeline"] for row in facts["rows"] if row["is_quiet"]}
    assert quiet == {"busy", "good", "retried"}


def test_cells_have_a_sentence_and_a_link(facts):
    """A sign is also a sentence, and leads to the run that is the reason for it."""
    rows = {row["pipeline"]: row["cells"] for row in facts["rows"]}
    newest = next(cell for cell in rows["flights"] if cell["partition"] == night(0))
    day = f"{DUE.day} {DUE:%B %Y}"
    assert newest["sentence"] == f"flights, {day}: failed, out_of_memory in score"
    assert newest["address"] == f"/runs/flights/{night(0)}/run-{night(0)}"


@pytest.mark.parametrize(
    ("query", "pipelines"),
    [
        ("pipeline=LAT", ["late"]),
        ("owner=mobility", ["flights", "good"]),
        ("state=late", ["half", "late", "never"]),
        ("state=&pipeline=good", ["good"]),
        ("owner=nobody", []),
    ],
)
def test_filters(morning, query, pipelines):
    """The page can be asked for some pipelines only, by an address."""
    found = morning.pages().get(f"/api/?{query}").json()
    assert [row["pipeline"] for row in found["rows"]] == pipelines
    assert {need["pipeline"] for need in found["needs"]} <= set(pipelines)


def test_a_state_that_there_is_not(morning):
    """Nobody takes all pipelines for those of a state that no partition can have."""
    answer = morning.pages().get("/api/?state=fails")
    assert answer.status_code == 400
    possible = (
        "failed, silent, late, held, unindexed, rejected, running, unfinished, due, succeeded."
    )
    said = f"state=`fails` is not known here. Possible: {possible}"
    assert answer.json()["error"]["text"] == said
    page = morning.pages().get("/?state=fails")
    assert page.status_code == 200
    assert said in page.text


@pytest.mark.parametrize(
    ("asked", "columns"), [("1", 1), ("2", 2), ("0", 14), ("x", 14), ("9999", 92)]
)
def test_days(morning, asked, columns):
    """So many days as were asked for are shown, within bounds; only those with something on."""
    found = morning.pages().get(f"/api/?days={asked}").json()
    assert found["filters"]["days"] == columns
    days = [column["partition"] for column in found["columns"]]
    assert len(days) <= columns
    assert days == sorted(days, reverse=True)


def test_only_what_may_be_seen(morning):
    """Whoever may see one pipeline is told of no other, planned or run."""
    page = morning.pages(Viewer("held"))
    found = page.get("/api/").json()
    assert found["summary"] == "1 of 1 pipeline needs you: 1 held"
    assert not any(name in page.get("/").text for name in ("flights", "never", "mobility"))


def test_steps_added_later(tmp_path):
    """A night is judged by the steps that the pipeline had then; one without all is unfinished."""
    made = Morning.at(tmp_path)
    then = made.pipeline("grown", "steps:\n  ingest: {notebook: i.ipynb}\n")
    now = made.pipeline(
        "grown",
        "steps:\n  ingest: {notebook: i.ipynb}\n  score: {notebook: s.ipynb}\n"
        "  tell: {notebook: t.ipynb, inputs: [], trigger_rule: one_failed}\n",
    )
    made.attempt("grown", "2013-03-01", "ingest", bundle=then)
    made.attempt("grown", "2013-03-02", "ingest", bundle=now)
    made.attempt("grown", "2013-03-03", "ingest", bundle=now)
    made.attempt("grown", "2013-03-03", "score", bundle=now)
    for with_project in (True, False):
        found = made.pages(with_project=with_project).get("/api/").json()
        assert cells(found, "grown") == {
            "2013-03-03": "succeeded", "2013-03-02": "unfinished", "2013-03-01": "succeeded",
        }  # fmt: skip
        assert found["summary"] == "Nothing needs you in 1 pipeline"


def test_success_with_warnings_is_no_plain_green(tmp_path):
    """Case 24: what succeeded with a warning has a sign and words of its own in every list."""
    made = Morning.at(tmp_path)
    made.pipeline("thread", nightly())
    warned = {"warnings": ("a thread raised ValueError: lost",)}
    made.attempt("thread", night(0), "ingest")
    made.attempt("thread", night(0), "score", facts=warned)
    page = made.pages()
    found = page.get("/api/").json()
    (row,) = found["rows"]
    assert not row["is_quiet"]
    cell = next(one for one in row["cells"] if one and one["partition"] == night(0))
    assert (cell["state"], cell["warnings"]) == ("succeeded", 1)
    assert cell["sentence"].endswith(": succeeded, 1 warning")
    assert 'class="cell warned"' in page.get("/").text
    assert "succeeded, 1 warning" in page.get("/runs").text
    text = page.get("/pipelines/thread").text
    assert text.count('class="cell warned"') == 2  # of all steps, and of the one that warns
    assert 'class="cell succeeded"' in text


def test_other_partitions(tmp_path):
    """Partitions that are no days stand in a list of their own, the newest run first."""
    made = Morning.at(tmp_path)
    made.pipeline("regions", TEXT)
    for hours, name in enumerate(["north/east", "תל אביב", HOSTILE]):
        made.attempt(
            "regions", name, "score", run=f"r{hours}", began=NOW - timedelta(hours=9 - hours)
        )
    page = made.pages()
    found = page.get("/api/").json()
    (row,) = found["texts"]
    assert [cell["partition"] for cell in row["cells"]] == [HOSTILE, "תל אביב", "north/east"]
    assert row["cells"][0]["address"] == f"/runs/regions/{encode(HOSTILE)}/r2"
    assert not found["rows"]
    text = page.get("/").text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_old_failures_are_history(tmp_path):
    """What failed before the days that are shown needs nobody; what is held waits for ever."""
    made = Morning.at(tmp_path)
    long_ago = NOW - timedelta(days=20)
    made.attempt("p", "2013-03-01", "s", began=long_ago, fails=Cause.STORE)
    made.attempt("p", "2013-03-02", "s", began=long_ago, held=True)
    page = made.pages()
    states = {
        days: [need["state"] for need in page.get(f"/api/?days={days}").json()["needs"]]
        for days in (14, 21)
    }
    assert states == {14: ["held"], 21: ["failed", "held"]}


def test_damaged_code(tmp_path):
    """One bundle that somebody damaged costs its runs their time zone, and nobody the page."""
    made = Morning.at(tmp_path)
    sha256 = made.pipeline("p", "timezone: Asia/Kolkata\nsteps:\n  s: {notebook: s.ipynb}\n")
    made.attempt("p", "2013-03-01", "s", bundle=sha256)
    made.store.write(code_key(sha256), b"something else")
    (row,) = made.pages(with_project=False).get("/api/").json()["rows"]
    assert (row["pipeline"], row["zone"]) == ("p", "UTC")


@pytest.fixture
def kept(tmp_path):
    """Make a pipeline that is late tonight, and whose code its last run kept; and a good one."""
    made = Morning.at(tmp_path)
    sha256 = made.pipeline("p", nightly(HOURLY, OWNED, "description: Scores flights"))
    run_night(made, "p", 1, "ingest", "score", bundle=sha256)
    made.pipeline("good", nightly(HOURLY))
    run_night(made, "good", 0, "ingest", "score")
    return made


def file_of(made, name):
    """Name the pipeline.yaml of a pipeline."""
    return made.root / "notebooks" / name / "pipeline.yaml"


def test_a_pipeline_that_is_not_in_the_project_is_not_late(kept):
    """Nothing is due of it, and its owner is still known; code alone is not so.

    Where no project is there, the code that runs kept tells what is due.
    """
    file_of(kept, "p").unlink()
    for with_project, late in ((True, []), (False, ["p"])):
        pages = kept.pages(with_project=with_project)
        assert [need["pipeline"] for need in get(pages, "/")["needs"]] == late
    pages = kept.pages()
    (row,) = (row for row in get(pages, "/")["rows"] if row["pipeline"] == "p")
    assert (row["owner"], row["next_due"]) == ("mobility", None)
    page = get(pages, "/pipelines/p")
    assert (page["schedule"], page["next_due"], page["expected"]) == ("", None, "")
    assert page["description"] == "Scores flights"


def test_a_store_of_several_projects(kept):
    """Another project's pipeline is not called taken out or run by hand: it is not in this one."""
    run_night(kept, "other", 0, "ingest", "score", bundle=kept.pipeline("other", SCORED))
    file_of(kept, "other").unlink()
    pages = kept.pages()
    found = get(pages, "/")
    assert [need["pipeline"] for need in found["needs"]] == ["p"]
    elsewhere = {row["pipeline"]: row["is_elsewhere"] for row in found["rows"]}
    assert elsewhere == {"p": False, "good": False, "other": True}
    assert pages.get("/").text.count("not in this project") == 1
    assert "Not in this project: it is another project's" in pages.get("/pipelines/other").text
    for address in ("/", "/pipelines/other", "/outputs/other/o"):
        text = pages.get(address).text
        assert "by hand" not in text
        assert "Taken out" not in text
    assert get(pages, "/pipelines/other")["partitions"][0]["state"] == "succeeded"


@pytest.mark.parametrize("text", ["pipeline: p\nsteps: [\n", "pipeline: p\nsteps: {}\n"])
def test_a_broken_pipeline_stays_due(kept, text):
    """A pipeline.yaml that broke is told first, with what is wrong, and the pipeline stays late."""
    file_of(kept, "p").write_text(text)
    found = get(kept.pages(), "/")
    assert [(need["pipeline"], need["state"]) for need in found["needs"]] == [("p", "late")]
    (broken,) = found["broken"]
    assert (broken["pipeline"], broken["address"]) == ("p", "/pipelines/p")
    assert found["summary"] == "1 of 2 pipelines needs you: 1 broken, 1 late"


def test_a_file_that_cannot_be_read_may_be_of_any_pipeline(kept):
    """A folder of another name leaves a pipeline due while its file is broken."""
    folder = file_of(kept, "p").parent
    folder.rename(folder.with_name("folder")).joinpath("pipeline.yaml").write_text("pipeline: [")
    assert [need["pipeline"] for need in get(kept.pages(), "/")["needs"]] == ["p"]


def test_a_new_pipeline_that_is_broken(kept):
    """It is named with the first line of its error and the command, where it may be seen."""
    file = file_of(kept, "new")
    file.parent.mkdir()
    file.write_text("pipeline: new\nsteps: {s: {book: s.py}}\nowner: [1]\n")
    (broken,) = get(kept.pages(), "/")["broken"]
    assert (broken["pipeline"], broken["address"]) == ("new", None)
    assert broken["message"].startswith("notebooks/new/pipeline.yaml:")
    assert broken["message"].endswith("; `nightmill check` tells all")
    text = kept.pages().get("/").text
    assert "its pipeline.yaml cannot be used" in text
    assert "2 of 3 pipelines need you: 1 broken, 1 late" in text
    assert get(kept.pages(Viewer("p")), "/")["broken"] == []
    shown = {query: len(get(kept.pages(), f"/?{query}")["broken"]) for query in _BROKEN}
    assert shown == _BROKEN


_BROKEN = {"pipeline=NE": 1, "pipeline=good": 0, "state=late": 0, "owner=mobility": 1}


def test_nothing_but_a_broken_pipeline(tmp_path):
    """The first page of a project that never ran tells of its broken file, and not of no runs."""
    made = Morning.at(tmp_path)
    made.pipeline("p", "steps: [")
    found = get(made.pages(), "/")
    assert found["summary"] == "1 of 1 pipeline needs you: 1 broken"
    assert "Nothing has run yet" not in made.pages().get("/").text


def test_first_run_begins_the_lateness(tmp_path):
    """A pipeline that began yesterday was not late before; days after its end are not due."""
    made = Morning.at(tmp_path)
    made.pipeline("young", nightly(HOURLY))
    run_night(made, "young", 1, "ingest", "score")
    made.pipeline("over", nightly(HOURLY, f"end: {night(1)}"))
    run_night(made, "over", 3, "ingest", "score")
    found = made.pages().get("/api/").json()
    assert cells(found, "young").items() >= {night(0): "late", night(1): "succeeded"}.items()
    assert night(2) not in cells(found, "young")
    assert cells(found, "over") == {
        night(1): "late", night(2): "late", night(3): "succeeded",
    }  # fmt: skip
    (over,) = (need for need in found["needs"] if need["pipeline"] == "over")
    assert (over["partition"], over["more"]) == (night(1), 1)


def test_late_after_others(tmp_path):
    """What should run after another's outputs is late some time after all of them were made."""
    made = Morning.at(tmp_path)
    two = "steps:\n  a: {notebook: a.ipynb, outputs: {a: a.parquet}}\n"
    made.pipeline("first", two + "  b: {notebook: b.ipynb, members: 2, outputs: {b: b.parquet}}\n")
    for name, keys in {
        "late": "after: [first.a, first.b]\nexpect_by: 1h\n",
        "soon": "after: [first.a]\nexpect_by: 1d\n",
        "calm": "after: [first.a]\n",
    }.items():
        made.pipeline(name, keys + "steps:\n  s: {notebook: s.ipynb}\n")
        made.attempt(name, "2013-03-01", "s", began=DUE - timedelta(days=1))
    for day in ("2013-03-01", "2013-03-02", "2013-03-03"):
        made.attempt("first", day, "a", began=DUE)
    for day, members in {"2013-03-01": "01", "2013-03-02": "01", "2013-03-03": "0"}.items():
        for member in members:
            began = DUE + timedelta(minutes=5 * int(member))
            made.attempt("first", day, "b", member=member, began=began)
    found = made.pages().get("/api/").json()
    assert cells(found, "late") == {"2013-03-02": "late", "2013-03-01": "succeeded"}
    assert set(cells(found, "soon").values()) == {"due", "succeeded"}
    assert cells(found, "calm") == {"2013-03-01": "succeeded"}
    (need,) = (one for one in found["needs"] if one["pipeline"] == "late")
    assert datetime.fromisoformat(need["at"]) == DUE + timedelta(minutes=6)
    hidden = made.pages(Viewer("late")).get("/api/").json()
    assert cells(hidden, "late") == {"2013-03-01": "succeeded"}


def test_times_are_the_pipelines_own(tmp_path):
    """Times are told in the pipeline's zone, which is named, and the clocks of all are shown."""
    made = Morning.at(tmp_path)
    steps = "steps:\n  score: {notebook: score.ipynb}\n"
    made.pipeline("flights", f"timezone: Asia/Kolkata\n{steps}")
    made.attempt("flights", "2013-03-01", "score", fails=Cause.STORE)
    page = made.pages()
    ended = NOW - timedelta(minutes=59) + timedelta(hours=5, minutes=30)
    assert f"{ended.day} {ended:%b %Y, %H:%M} IST" in page.get("/").text
    zones = {one["zone"]: one["now"] for one in page.get("/api/").json()["zones"]}
    assert set(zones) == {"UTC", "Asia/Kolkata"}
    assert zones["Asia/Kolkata"].endswith("+05:30")


def test_many_pipelines(tmp_path):
    """With many pipelines the page is bounded, says what it leaves out, and where that is."""
    made = Morning.at(tmp_path)
    names = [f"p{number:02}" for number in range(65)]
    for number, name in enumerate(names):
        fails = Cause.STORE if number < 45 else None
        made.attempt(name, "2013-03-01", "s", fails=fails)
    page = made.pages()
    first = page.get("/api/?days=7").json()
    assert (len(first["needs"]), first["hidden_needs"]) == (40, 5)
    assert [row["pipeline"] for row in first["rows"]] == names[:60]
    assert (first["hidden_rows"], first["next_page"]) == (5, "/?days=7&page=2")
    second = page.get(f"/api{first['next_page']}").json()
    assert [row["pipeline"] for row in second["rows"]] == names[60:]
    assert (second["summary"], second["next_page"]) == (first["summary"], None)
    text = page.get("/").text
    assert "5 more things not shown" in text
    assert "5 more pipelines" in text


def test_bounded_requests(tmp_path):
    """The page asks a store as little after 900 attempts as after 90, and lists no runs."""
    few, many = (asked_for(tmp_path, size, "/", after="/") for size in (90, 900))
    assert not lists_runs(few)
    assert not lists_runs(many)
    assert few.count() == many.count()
    assert len(few.calls) < 20


@pytest.mark.parametrize(
    ("partitions", "heads"),
    [
        (["2026-11-02", "2026-11-01", "2026-10-31"], ["Nov 2026", "", "Oct"]),
        (["2026-11-26", "2026-01-02", "2025-12-31"], ["Nov 2026", "Jan", "Dec 2025"]),
        (["2026-11-26", "2025-11-26"], ["Nov 2026", "Nov 2025"]),
        (["2026-11-26", "by hand", "2026-11-25"], ["Nov 2026", "", "Nov 2026"]),
        ([], []),
    ],
)
def test_months_and_years(partitions, heads):
    """A day's month and year stand at the head of a grid wherever they are not those before it."""
    columns = Column.all_of(partitions)
    assert [f"{one.month} {one.year}".strip() for one in columns] == heads


def test_a_run_of_another_month(tmp_path):
    """A night of long ago beside one of now has its month and year, on both pages with grids."""
    made = Morning.at(tmp_path)
    made.pipeline("byhand", "steps:\n  score: {notebook: score.ipynb}\n")
    run_night(made, "byhand", 0, "score")
    run_night(made, "byhand", 500, "score")
    for address in ("/", "/pipelines/byhand"):
        text = made.pages().get(address).text
        for back in (0, 500):
            day = datetime.fromisoformat(night(back))
            names = f'<span class="name">{day:%b}</span><span class="name">{day.year}</span>'
            assert f"{day.day}{names}" in text
