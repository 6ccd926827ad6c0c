"""The pages about outputs: what is current, how that came, who reads it, and what is in it."""

import html
import re
import shlex
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightmill.review.html import HERE
from nightmill.review.pages import catalog
from nightmill.spec.record import CheckResult, CheckState, Decision, InputRecord
from nightmill.store.approval import approve, reject
from nightmill.store.history import prefix_of
from nightmill.store.open import open_store
from tests import many_runs
from tests.faulty_store import FaultyStore
from tests.review_client import Viewer, get, open_client
from tests.reviewed_nights import FIRST, Night, add, keep_code, roll_back

FLIGHTS = """
pipeline: flights
schedule: "30 2 * * *"
timezone: America/New_York
start: 2013-01-01
steps:
  features: {notebook: features.ipynb, outputs: {features: features.parquet}}
  score:
    notebook: score.ipynb
    inputs: [features]
    outputs: {scores: scores.csv, plots: plots/}
  never: {notebook: never.ipynb, inputs: {all: flights.scores}, outputs: {never: never.csv}}
"""
REPORT = """
pipeline: report
timezone: Europe/Berlin
steps:
  table:
    notebook: table.ipynb
    inputs: {scores: flights.scores}
    outputs: {table: {path: table.csv, review: required}}
"""
TEMPLATES = HERE / "templates"
HOSTILE = "<script>alert(1)</script>"


def counted(rows, **facts):
    known = {"output": "scores", "check": "rows", "state": CheckState.PASSED, "duration_s": 0.1}
    told = {"message": f"{rows} rows", "profile": {"rows": rows}, "expected": "> 0"}
    return CheckResult(**(known | told | facts))


def scores(number):
    return {
        "scores": {"scores.csv": f"n,text\n{number},{HOSTILE}\n".encode()},
        "plots": {"a.txt": b"a", "b/c.txt": b"c"},
    }


def was_read(store, night):
    return InputRecord(
        pipeline=night.pipeline,
        output="scores",
        partition=night.day,
        run=f"run-{night.number}",
        attempt=night.attempt,
        address=store.address("x"),
        files=(),
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Fill a store with four nights of scores, read by a report that is held for review."""
    folder = tmp_path_factory.mktemp("outputs")
    store = open_store("store", base=folder)
    flights, report = keep_code(store, folder, FLIGHTS), keep_code(store, folder, REPORT)
    drift = counted(0, check="drift", severity="warn", state=CheckState.FAILED, profile=None)
    for number in range(4):
        checks = (counted(100 + number), drift)
        facts = {"files": scores(number), "checks": checks, "bundle": flights}
        add(store, Night(number=number, **facts, state="failed" if number == 2 else "succeeded"))
    again = scores(33)
    add(store, Night(number=3, attempt=2, files=again, checks=(counted(133),), bundle=flights))
    night = Night(number=3)
    table = {"table": {"table.csv": b"a\n1\n"}}
    held = Night(pipeline="report", step="table", number=3, state="held", bundle=report)
    held = Night(**{**vars(held), "inputs": {"scores": was_read(store, night)}, "files": table})
    add(store, held)
    why = {"by": "ann", "at": FIRST, "reason": f"too many {HOSTILE}"}
    roll_back(store, night, output="scores", to="run-3:1", **why)
    return store


@pytest.fixture(scope="module")
def pages(filled):
    """Open the pages of that store."""
    return open_client(filled)


# -- the list -----------------------------------------------------------------------------------


def test_the_list(pages):
    """Every output that was made or is meant stands in the list, with what is newest of it."""
    found = {f"{one['pipeline']}.{one['output']}": one for one in get(pages, "/outputs")["outputs"]}
    assert list(found) == [
        "flights.features", "flights.never", "flights.plots", "flights.scores", "report.table"
    ]  # fmt: skip
    row = found["flights.scores"]
    assert (row["step"], row["partition"], row["made"]) == ("score", "2013-03-04", "2013-03-04")
    assert (row["standing"], row["rows"], row["zone"]) == ("succeeded", 103, "America/New_York")
    assert row["size"] == len(scores(3)["scores"]["scores.csv"])  # a person took the newest back
    assert row["readers"] == ["flights.never", "report.table"]
    assert found["report.table"]["standing"] == "held"
    assert found["flights.never"]["standing"] is None
    assert row["address"] in pages.get("/outputs").text


def test_members_are_summed_up(tmp_path):
    """Of a step with members the list has the size and the rows of all together."""
    store = open_store("store", base=tmp_path)
    for member, rows in (("a", 2), ("b", 3)):
        files = {"scores": {"s.csv": b"x" * rows}}
        add(store, Night(member=member, files=files, checks=(counted(rows),)))
    (row,) = get(open_client(store), "/outputs")["outputs"]
    assert (row["members"], row["rows"], row["size"]) == (2, 5, 5)


def test_a_failed_night_is_newest(tmp_path):
    """Where the newest night failed, its state is shown beside what was made before."""
    store = open_store("store", base=tmp_path)
    add(store, Night(files=scores(0), checks=(counted(7),)))
    add(store, Night(number=1, state="failed"))
    row = get(open_client(store), "/outputs")["outputs"][1]
    assert (row["output"], row["partition"], row["standing"]) == ("scores", "2013-03-02", "failed")
    assert (row["made"], row["rows"]) == ("2013-03-01", 7)


# -- one output ---------------------------------------------------------------------------------


def test_partitions(pages):
    """Each partition tells its current version, from which attempt and with what checks."""
    page = get(pages, "/outputs/flights/scores")
    rows = {one["partition"]: one for one in page["partitions"]}
    assert list(rows) == ["2013-03-04", "2013-03-03", "2013-03-02", "2013-03-01"]
    first = rows["2013-03-01"]
    assert (first["version"], first["rows"], first["standing"]) == ("run-0:1", 100, "succeeded")
    assert first["checks"] == {"passed": 1, "failed": 1}
    assert first["version_address"] == "/runs/flights/2013-03-01/run-0/score/1"
    assert rows["2013-03-03"]["version"] == ""
    assert rows["2013-03-03"]["standing"] == "failed"
    assert (page["schedule"], page["path"]) == (
        "every day at 02:30, America/New_York",
        "scores.csv",
    )


def test_a_rollback_is_told(pages):
    """Who changed what is current, when and why stands beside the version that is current now."""
    row = get(pages, "/outputs/flights/scores")["partitions"][0]
    assert row["version"] == "run-3:1"
    (move,) = row["moves"]
    assert (move["kind"], move["by"], move["replaced"]) == ("rollback", "ann", "run-3:2")
    text = pages.get("/outputs/flights/scores").text
    assert "too many &lt;script&gt;" in text
    assert HOSTILE not in text


def test_the_chart_of_rows(pages):
    """The rows of the partitions are followed as metrics are; a failed night does not count."""
    page = get(pages, "/outputs/flights/scores")
    assert page["figure"] == "Rows"
    assert page["told"][0]["value"] == 103  # as in the rows below, and not what was taken back
    assert page["partitions"][0]["rows"] == 103
    assert page["told"][0]["words"] == "the highest of 3 nights"
    assert "<svg" in pages.get("/outputs/flights/scores").text


@pytest.mark.parametrize(
    ("size", "figure", "value"),
    [(3 << 19, "Size in MiB", 1.5), (1536, "Size in KiB", 1.5), (7, "Size in bytes", 7)],
)
def test_the_chart_of_sizes(tmp_path, size, figure, value):
    """Where nobody counts rows the chart tells the size."""
    store = open_store("store", base=tmp_path)
    add(store, Night(files={"scores": {"s.csv": b"x" * size}}))
    page = get(open_client(store), "/outputs/flights/scores")
    assert (page["figure"], page["told"][0]["value"]) == (figure, value)


def test_readers(pages):
    """Who reads an output is told with the version that was read last, or that none was."""
    never, table = get(pages, "/outputs/flights/scores")["readers"]
    assert (never["step"], never["is_meant"], never["run"]) == ("never", True, "")
    assert (table["pipeline"], table["step"], table["is_meant"]) == ("report", "table", True)
    assert (table["partition"], table["run"], table["attempt"]) == ("2013-03-04", "run-3", 1)
    assert (table["read_for"], table["zone"]) == ("2013-03-04", "Europe/Berlin")
    assert table["address"] == "/runs/report/2013-03-04/run-3/table/1"


def test_a_reader_of_old(tmp_path):
    """A step that read it last and is not meant to any more is told as such."""
    store = open_store("store", base=tmp_path)
    code = keep_code(store, tmp_path, FLIGHTS)
    night = Night(files=scores(0), bundle=code)
    add(store, night)
    read = {"x": was_read(store, night)}
    add(store, Night(step="features", number=1, inputs=read, bundle=code))
    readers = get(open_client(store), "/outputs/flights/scores")["readers"]
    assert [(one["step"], one["is_meant"]) for one in readers] == [
        ("features", False),
        ("never", True),
    ]


def test_the_project_tells_what_is_meant(tmp_path, make_project):
    """With a project at hand, outputs and readers that never ran are known by it."""
    project = make_project()
    project.pipeline("fresh", "a: {notebook: a.ipynb, outputs: {model: model.json}}\n", a=["1"])
    steps = "b: {notebook: b.ipynb, inputs: {model: fresh.model}}\n"
    project.pipeline("user", steps, b=["1"])
    pages = open_client(open_store("store", base=tmp_path), root=project.root)
    (row,) = get(pages, "/outputs")["outputs"]
    assert (row["output"], row["standing"], row["readers"]) == ("model", None, ["user.b"])
    page = get(pages, "/outputs/fresh/model")
    assert (page["known"], page["readers"][0]["step"]) == (0, "b")
    assert "nightmill run fresh" in pages.get("/outputs/fresh/model").text
    store = open_store("store", base=tmp_path)
    (row,) = get(open_client(store, Viewer("fresh"), root=project.root), "/outputs")["outputs"]
    assert row["readers"] == []


def test_partitions_are_paged(tmp_path):
    """A page shows 50 partitions and the address of the others."""
    store = open_store("store", base=tmp_path)
    for number in range(53):
        add(store, Night(number=number, files={"scores": {"s.csv": b"x"}}))
    pages = open_client(store)
    page = get(pages, "/outputs/flights/scores")
    assert (len(page["partitions"]), page["known"], page["newer"]) == (50, 53, None)
    older = get(pages, page["older"])
    assert [one["version"] for one in older["partitions"]] == ["run-2:1", "run-1:1", "run-0:1"]
    assert get(pages, older["newer"])["partitions"] == page["partitions"]


def test_more_pipelines_than_are_looked_at(tmp_path, monkeypatch):
    """The list says how many pipelines it leaves out; each one's own page is there all the same."""
    monkeypatch.setattr(catalog, "_MOST_PIPELINES", 2)
    store = open_store("store", base=tmp_path)
    for pipeline in "abcd":
        add(store, Night(pipeline=pipeline, files=scores(0)))
    pages = open_client(store)
    page = get(pages, "/outputs")
    assert {one["pipeline"] for one in page["outputs"]} == {"a", "b"}
    assert page["pipelines_left_out"] == 2
    assert get(pages, "/outputs/d/scores")["partitions"][0]["version"] == "run-0:1"


def test_a_damaged_pointer(tmp_path):
    """A pointer that cannot be read is told where it belongs, and the page stays."""
    store = open_store("store", base=tmp_path)
    add(store, Night(files=scores(0)))
    store.write("current/flights/score/2013-03-01.json", b"{")
    (row,) = get(open_client(store), "/outputs/flights/scores")["partitions"]
    assert "is no pointer" in row["problem"]


# -- the versions of a partition ----------------------------------------------------------------


def test_versions(pages):
    """All versions stand there, the newest first, with how each stands and what it holds."""
    page = get(pages, "/outputs/flights/scores/2013-03-04")
    newest, older = page["versions"]
    assert (newest["name"], newest["state"], newest["rows"]) == ("run-3:2", "was_current", 133)
    assert (older["name"], older["state"], older["is_chosen"]) == ("run-3:1", "current", True)
    assert page["moves"][0]["kind"] == "rollback"
    (failed,) = get(pages, "/outputs/flights/scores/2013-03-03")["versions"]
    assert (failed["state"], failed["cause"]) == ("never_current", "notebook_error")


def test_the_current_version_is_shown(pages):
    """Without a choice it is what is current that is looked into."""
    chosen = get(pages, "/outputs/flights/scores/2013-03-04")["chosen"]
    assert chosen["name"] == "run-3:1"
    assert chosen["preview"]["rows"]["rows"] == [["3", HOSTILE]]
    assert [one["type"] for one in chosen["preview"]["rows"]["columns"]] == ["BIGINT", "VARCHAR"]
    text = pages.get("/outputs/flights/scores/2013-03-04").text
    assert "&lt;script&gt;alert(1)" in text
    assert HOSTILE not in text


@pytest.mark.parametrize("wanted", ["run-3:2", "previous"])
def test_another_version(pages, wanted):
    """The query chooses a version, as `nightmill rollback --to` does."""
    address = "/outputs/flights/scores/2013-03-04"
    if wanted == "previous":
        answer = pages.get(f"/api{address}", params={"version": wanted})
        assert answer.status_code == 404
        assert "no older version" in answer.json()["error"]["text"]
        return
    chosen = get(pages, address, version=wanted)["chosen"]
    assert chosen["preview"]["rows"]["rows"] == [["33", HOSTILE]]


def test_checks_in_full(pages):
    """The checks of this output are shown with what was expected and found."""
    checks = get(pages, "/outputs/flights/scores/2013-03-01")["chosen"]["checks"]
    assert [(one["check"], one["state"]) for one in checks] == [
        ("drift", "failed"),
        ("rows", "passed"),
    ]
    assert "warned" in pages.get("/outputs/flights/scores/2013-03-01").text
    assert get(pages, "/outputs/flights/plots/2013-03-01")["chosen"]["checks"] == []


def test_where_it_is(pages, filled):
    """The address that never changes, and the plain one, which holds what is current."""
    chosen = get(pages, "/outputs/flights/scores/2013-03-04")["chosen"]
    below = "runs/flights/2013-03-04/run-3/score/1/outputs/scores/scores.csv"
    assert chosen["stored_at"] == filled.address(below)
    plain = "data/flights/scores/partition=2013-03-04/scores.csv"
    assert chosen["published_at"] == filled.address(plain)
    lines = {one["purpose"]: one["text"] for one in chosen["reads"]}
    assert lines["pandas"] == f"import pandas as pd; df = pd.read_csv({filled.address(below)!r})"
    assert set(lines) == {"pandas", "polars", "DuckDB"}


def test_what_the_file_says_of_its_columns(tmp_path):
    """A preview tells a column's own name beside that of the checks, and the unit of durations."""
    table = pa.Table.from_arrays(
        [pa.array([1]), pa.array([2]), pa.array([90], pa.duration("s"))], names=["a", "A<", "A<"]
    )
    pq.write_table(table, tmp_path / "s.parquet")
    store = open_store("store", base=tmp_path)
    add(store, Night(files={"it": {"s.parquet": (tmp_path / "s.parquet").read_bytes()}}))
    text = open_client(store).get("/outputs/flights/it/2013-03-01").text
    assert "<bdi>A&lt;_1</bdi> " in text
    assert "in the file <bdi>A&lt;</bdi>" in text
    assert "durations in <bdi>s</bdi>" in text
    assert "<bdi>00:01:30</bdi>" in text


def test_folders(pages):
    """A folder's files are listed; a folder of plain files is not published."""
    chosen = get(pages, "/outputs/flights/plots/2013-03-04")["chosen"]
    assert [file["path"] for file in chosen["files"]] == ["a.txt", "b/c.txt"]
    assert (chosen["kind"], chosen["published_at"], chosen["reads"]) == ("directory", "", [])


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        (
            {"s.parquet": b"x"},
            {
                "pandas": "pd.read_parquet('{}/s.parquet')",
                "polars": "pl.read_parquet('{}/s.parquet')",
                "DuckDB": "duckdb.read_parquet('{}/s.parquet')",
            },
        ),
        (
            {"s.jsonl": b"{}"},
            {
                "pandas": "pd.read_json('{}/s.jsonl', lines=True)",
                "polars": "pl.read_ndjson('{}/s.jsonl')",
                "DuckDB": "duckdb.read_json('{}/s.jsonl')",
            },
        ),
        (
            {"a.parquet": b"x", "b.parquet": b"x"},
            {
                "pandas": "pd.read_parquet('{}')",
                "polars": "pl.read_parquet('{}/**/*.parquet')",
                "DuckDB": "duckdb.read_parquet('{}/**/*.parquet')",
            },
        ),
        (
            {"a.png": b"x", "b.parquet": b"x"},
            {
                "polars": "pl.read_parquet('{}/**/*.parquet')",
                "DuckDB": "duckdb.read_parquet('{}/**/*.parquet')",
            },
        ),
        ({"a.csv": b"x", "b.csv": b"x"}, {}),
        ({"model.pkl": b"x"}, {}),
    ],
)
def test_lines_for_every_kind(tmp_path, files, lines):
    """Files and folders of tables have lines for each library that can read them."""
    store = open_store("store", base=tmp_path)
    add(store, Night(files={"it": files}))
    reads = get(open_client(store), "/outputs/flights/it/2013-03-01")["chosen"]["reads"]
    place = store.address("runs/flights/2013-03-01/run-0/score/1/outputs/it")
    found = {one["purpose"]: one["text"].partition("= ")[2] for one in reads}
    assert found == {library: line.format(place) for library, line in lines.items()}


@pytest.mark.parametrize(
    ("meant", "plain"),
    [
        ("s.csv", "data/flights/it/partition=2013-03-01/s.csv"),
        ("{path: s.parquet, format: delta}", "data/flights/it"),
        ("{path: s.csv, publish: false}", ""),
    ],
)
def test_the_plain_address(tmp_path, meant, plain):
    """The plain address is that of the published file, or of the Delta table; or there is none."""
    store = open_store("store", base=tmp_path)
    steps = f"steps: {{score: {{notebook: s.ipynb, outputs: {{it: {meant}}}}}}}"
    code = keep_code(store, tmp_path, f"pipeline: flights\n{steps}\n")
    add(store, Night(files={"it": {"s.csv": b"a\n1\n"}}, bundle=code))
    chosen = get(open_client(store), "/outputs/flights/it/2013-03-01")["chosen"]
    assert chosen["published_at"] == (store.address(plain) if plain else "")


@pytest.mark.parametrize("state", ["held", "failed"])
@pytest.mark.parametrize(
    ("meant", "also"), [("s.csv", ""), ("{path: s.parquet, format: delta}", ", as a Delta table")]
)
def test_the_plain_address_before_anything_is_current(tmp_path, state, meant, also):
    """Until a version is approved, nobody is told that something is at the plain address."""
    store = open_store("store", base=tmp_path)
    steps = f"steps: {{score: {{notebook: s.ipynb, outputs: {{it: {meant}}}}}}}"
    code = keep_code(store, tmp_path, f"pipeline: flights\n{steps}\n")
    add(store, Night(state=state, files={"it": {"s.csv": b"a\n1\n"}}, bundle=code))
    address = "/outputs/flights/it/2013-03-01"
    pages = open_client(store)
    assert get(pages, address)["chosen"]["has_current"] is False
    assert f"Nothing is current yet; it will be at{also}<" in pages.get(address).text
    add(store, Night(attempt=2, files={"it": {"t.csv": b"a\n1\n"}}, bundle=code))
    pages = open_client(store)
    text = pages.get(f"{address}?version=run-0:1").text
    assert f"What is current{also}<" in text
    assert "t.csv</code>" in text or also
    assert "Nothing is current" not in text


def test_an_output_that_moved_to_another_step(tmp_path):
    """The versions are those of the step that stored it last."""
    store = open_store("store", base=tmp_path)
    add(store, Night(step="old", files=scores(0)))
    add(store, Night(step="new", number=1, partition="2013-03-01", files=scores(1)))
    add(store, Night(step="other", number=2, partition="2013-03-01"))
    page = get(open_client(store), "/outputs/flights/scores/2013-03-01")
    assert (page["step"], [one["name"] for one in page["versions"]]) == ("new", ["run-1:1"])


def test_many_files(tmp_path):
    """Of a folder with many files the first hundred are listed, and the others counted."""
    store = open_store("store", base=tmp_path)
    add(store, Night(files={"it": {f"{number:03}.txt": b"x" for number in range(103)}}))
    chosen = get(open_client(store), "/outputs/flights/it/2013-03-01")["chosen"]
    assert (len(chosen["files"]), chosen["files_left_out"]) == (100, 3)
    text = open_client(store).get("/outputs/flights/it/2013-03-01").text
    assert "103 files" in text
    assert "3 more files" in text


def test_lines_that_read(pages):
    """The line for DuckDB does read the rows."""
    reads = get(pages, "/outputs/flights/scores/2013-03-04")["chosen"]["reads"]
    (line,) = [one["text"] for one in reads if one["purpose"] == "DuckDB"]
    found = {}
    exec(line, found)  # noqa: S102 - what people are told to type
    assert found["rows"].fetchall() == [(3, HOSTILE)]


def test_commands_to_change_what_is_current(tmp_path, cli):
    """The command that is offered for a version makes it current."""
    store = open_store("my store", base=tmp_path)
    for attempt in (1, 2):
        add(store, Night(partition="it's", attempt=attempt, files=scores(attempt)))
    pages = open_client(store)
    address = get(pages, "/outputs/flights/scores")["partitions"][0]["address"]
    assert get(pages, address)["chosen"]["name"] == "run-0:2"
    (change,) = get(pages, address, version="run-0:1")["chosen"]["changes"]
    words = shlex.split(change["text"])
    assert words[:3] == ["nightmill", "rollback", "flights.scores"]
    ended = cli(*words[1:], cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert get(pages, address)["chosen"]["name"] == "run-0:1"


def test_no_command_for_what_may_not_become_current(pages):
    """A failed attempt's version, and one that is held, are offered no such command."""
    assert get(pages, "/outputs/flights/scores/2013-03-03")["chosen"]["changes"] == []
    assert get(pages, "/outputs/report/table/2013-03-04")["chosen"]["changes"] == []


def test_decisions_are_told(tmp_path):
    """What people decided about held versions stands beside them, in their own words."""
    store = open_store("store", base=tmp_path)
    decided = {"by": "ben", "at": FIRST}
    first = add(store, Night(state="held", files=scores(1)))
    second = add(store, Night(state="held", attempt=2, files=scores(2)))
    third = add(store, Night(state="held", attempt=3, files=scores(3)))
    reject(store, prefix_of(first), Decision(approved=False, comment="too few", **decided))
    approve(store, prefix_of(second), Decision(approved=True, comment="fine", **decided))
    page = get(open_client(store), "/outputs/flights/scores/2013-03-01")
    states = {one["name"]: one["state"] for one in page["versions"]}
    assert states == {"run-0:3": "held", "run-0:2": "current", "run-0:1": "rejected"}
    assert page["versions"][2]["decision"]["comment"] == "too few"
    assert [(one["kind"], one["by"]) for one in page["moves"]] == [("approval", "ben")]
    assert third.is_held


def test_members_have_versions_of_their_own(store):
    """The query chooses a member of the step that makes it."""
    for member in ("a", "b"):
        files = {"scores": {"s.csv": f"m\n{member}\n".encode()}}
        add(store, Night(member=member, files=files))
    pages = open_client(store)
    address = get(pages, "/outputs/flights/scores")["partitions"][1]["address"]
    page = get(pages, address)
    assert (page["member"], page["members"]) == ("b", ["a", "b"])
    assert page["chosen"]["preview"]["rows"]["rows"] == [["b"]]
    assert get(pages, "/outputs/flights/scores/2013-03-01", member="b")["member"] == "b"
    odd = "/outputs/flights/scores/2013-03-01?member=../x"
    assert "member=`../x` is not known here. Possible: a, b." in pages.get(odd).text
    assert pages.get(f"/api{odd}").status_code == 400
    add(store, Night(member="c", state="failed"))
    pages = open_client(store)  # which knows by now
    assert get(pages, "/outputs/flights/scores/2013-03-01")["members"] == ["a", "b", "c"]
    lacking = pages.get("/outputs/flights/scores/2013-03-01?member=c")
    assert (lacking.status_code, "can be read here" in lacking.text) == (404, True)


def test_many_versions(tmp_path):
    """Of many attempts the newest 50 are read, and the one that is current."""
    store = open_store("store", base=tmp_path)
    for attempt in range(1, 54):
        state = "succeeded" if attempt == 1 else "failed"
        add(store, Night(attempt=attempt, state=state, files={"scores": {"s.csv": b"a\n1\n"}}))
    page = get(open_client(store), "/outputs/flights/scores/2013-03-01")
    assert (len(page["versions"]), page["left_out"]) == (51, 2)
    assert (page["versions"][0]["name"], page["versions"][-1]["name"]) == ("run-0:53", "run-0:1")
    assert page["chosen"]["name"] == "run-0:1"


def test_the_command_that_lists_all_versions(tmp_path, cli, monkeypatch):
    """A shell takes it as one command, whatever a partition's name holds, and finds the member."""
    store = open_store("my store", base=tmp_path)
    partition = f"x'; touch {tmp_path}/run; echo '"
    for member in ("a", "b"):
        for attempt in range(1, 53):
            facts = {"member": member, "attempt": attempt, "files": {"scores": {"s.csv": b"a\n"}}}
            add(store, Night(partition=partition, **facts))
    pages = open_client(store)
    address = get(pages, "/outputs/flights/scores")["partitions"][1]["address"]
    page = get(pages, address)
    text = re.search(r'<code class="copy">(nightmill versions.*?)</code>', pages.get(address).text)
    assert (page["left_out"], html.unescape(text[1])) == (2, page["command"])
    monkeypatch.chdir(tmp_path)
    told = subprocess.run(
        ["bash", "-c", f"nightmill() {{ printf '%s\\0' \"$@\"; }}; {page['command']}"],
        check=True,
        capture_output=True,
        text=True,
    )
    words = told.stdout.split("\0")[:-1]
    assert words[:2] == ["versions", "flights.scores"]
    assert not (tmp_path / "run").exists()
    ended = cli(*words, cwd=tmp_path)
    assert (ended.code, ended.out.count("run-0:")) == (0, 52), ended.err


def test_no_template_quotes_a_command():
    """What a name holds could leave the quotes: whatever has one is made by `shlex`."""
    made_by_hand = re.compile(r"""nightmill [^<>\n]*?(?:\{[{%]|["'] *~)""")
    texts = {file.name: file.read_text() for file in TEMPLATES.iterdir()}
    assert {name for name, text in texts.items() if made_by_hand.search(text)} == set()


def test_records_that_are_gone(tmp_path):
    """Where the index tells of attempts that are gone, the page says what to do."""
    store = open_store("store", base=tmp_path)
    record = add(store, Night(files=scores(0)))
    store.write(f"{prefix_of(record)}/record.json", b"{")
    answer = open_client(store).get("/outputs/flights/scores/2013-03-01")
    assert answer.status_code == 404
    assert "nightmill reindex" in answer.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/outputs/flights/scroes", "scores"),
        ("/outputs/nothing/x", "no step of"),
        ("/outputs/flights/scores/2013-03-09", "has stored the output"),
        ("/outputs/flights/scroes/2013-03-01", "scores"),
    ],
)
def test_unknown_names(pages, address, said):
    """What was never made is said to be none, with the nearest name."""
    answer = pages.get(address)
    assert answer.status_code == 404
    assert said in answer.text


@pytest.mark.parametrize("version", ["nothing", "../x", "run-3:9", HOSTILE])
def test_unknown_versions(pages, version):
    """A version that there is not is refused in words."""
    answer = pages.get("/outputs/flights/scores/2013-03-04", params={"version": version})
    assert answer.status_code == 404
    assert "names no version" in answer.text
    assert HOSTILE not in answer.text


# -- who may see what, and what it costs --------------------------------------------------------


def test_what_may_not_be_seen(filled):
    """A pipeline that one may not see is named nowhere, neither as a reader nor as a source."""
    pages = open_client(filled, Viewer("flights"))
    for address in ("/outputs", "/outputs/flights/scores", "/outputs/flights/scores/2013-03-04"):
        assert "report" not in pages.get(address).text
    assert pages.get("/outputs/report/table").status_code == 403
    assert pages.get("/outputs/report/table/2013-03-04").status_code == 403
    assert "flights" not in open_client(filled, Viewer("report")).get("/outputs").text


def test_what_the_pages_cost(tmp_path):
    """With many runs a page asks a bounded number of times, and never lists the runs."""
    store = FaultyStore(open_store("store", base=tmp_path))
    many_runs.fill(store.store, 600)
    pages = open_client(store)
    for address, most in (
        ("/outputs", 30),
        ("/outputs/flights/scores", 150),
        ("/outputs/flights/scores/2013-10-30", 20),
    ):
        before = len(store.calls)
        get(pages, address)
        assert len(store.calls) - before < most, store.calls[before:]
    looks = [call for call in store.calls if call.startswith(("list runs", "children runs"))]
    assert looks == ["children runs #1"]  # the names of pipelines, which are few
