import ast
import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from nightmill.spec.contract import read_contract
from nightmill.spec.notebook import read_notebook
from nightmill.spec.project import Project

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = REPOSITORY / "notebooks"
IN_ORDER = (
    "flight_model/training_set", "flight_model/train", "flight_delays/ingest",
    "flight_delays/features", "flight_delays/score", "flight_delays/evaluate",
)  # fmt: skip
OUTCOME = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"}
MODULES = sorted(NOTEBOOKS.glob("*.py"))


def cells(name):
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]


def code(name):
    return ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


# --- as files -----------------------------------------------------------------------------------


def test_every_notebook_is_a_step():
    """No notebook lies about that no pipeline runs, and both pipelines are without errors."""
    project = Project.load(REPOSITORY)
    steps = {
        f"{name}/{Path(step.notebook).stem}"
        for name, pipeline in project.pipelines.items()
        for step in pipeline.spec.steps.values()
    }
    on_disk = {str(path.relative_to(NOTEBOOKS))[:-6] for path in NOTEBOOKS.glob("*/*.ipynb")}
    assert steps == on_disk == set(IN_ORDER)
    assert not project.errors


@pytest.mark.parametrize("name", IN_ORDER)
def test_sources_carry_no_outputs(name):
    """A committed notebook holds what its author wrote, and nothing that a run left in it."""
    for cell in cells(name):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert set(cell["metadata"]) <= {"tags"}


@pytest.mark.parametrize("name", IN_ORDER)
def test_cell_ids_are_unique(name):
    """Every cell has an id of its own, by which a review can point at it."""
    ids = [cell["id"] for cell in cells(name)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", IN_ORDER)
def test_notebook_is_for_the_shipped_kernel(name):
    """JupyterLab opens each notebook in the kernel that also runs it at night."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "tabular"
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)


@pytest.mark.parametrize("name", IN_ORDER)
def test_notebook_needs_no_nightmill(name):
    """A notebook runs where Nightmill is not installed."""
    assert "nightmill" not in {module for source in code(name) for module in imported(source)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_need_no_nightmill_and_stay_small(path):
    """The shared modules run without Nightmill too, and each fits in a reader's head."""
    source = path.read_text()
    assert "nightmill" not in imported(source)
    assert len(source.splitlines()) <= 250
    assert ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("name", IN_ORDER)
def test_every_parameter_is_annotated_and_explained(name):
    """Exactly one parameters cell, and each parameter in it has a type, a default and help."""
    tagged = [cell for cell in cells(name) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    contract = read_contract(read_notebook(NOTEBOOKS / f"{name}.ipynb"))
    for parameter in contract.parameters.values():
        assert parameter.annotation
        assert parameter.help
        assert parameter.has_default


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_reviewer_can_read_it(name):
    """A title and a paragraph come first, code is headed by prose, and no cell is long."""
    all_cells = cells(name)
    title = "".join(all_cells[0]["source"])
    assert title.startswith("# ")
    assert len(title.splitlines()) >= 3
    headings = [cell for cell in all_cells if "".join(cell["source"]).startswith("## ")]
    assert len(headings) >= 3
    imports, *rest = code(name)
    assert len(imports.splitlines()) <= 20
    for source in rest:
        assert len(source.splitlines()) <= 15
        assert max(map(len, source.splitlines())) <= 100


# --- as run by the kernel -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def nights(kernel_python, tmp_path_factory):
    """Return the folder with the outputs of a night for each variant of the data."""
    folder = tmp_path_factory.mktemp("nights")
    notebooks = shutil.copytree(NOTEBOOKS, folder / "notebooks")
    work = folder / "work"
    work.mkdir()
    # Every warning is an error but scrapbook's own, which misses Jupyter around it.
    strict = ["-W", "error", "-W", "ignore:No kernel detected"]
    driver = Path(__file__).with_name("nights_in_kernel.py")
    ended = subprocess.run(
        [kernel_python, "-B", *strict, driver, notebooks, work],
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(notebooks)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return work


@pytest.fixture(scope="module")
def facts(nights):
    """Return the tables and errors of the night on unchanged data."""
    return json.loads((nights / "facts.json").read_text())


@pytest.fixture
def in_kernel(kernel_python):
    """Return a function that runs code beside the shared modules and reads the JSON it prints."""

    def run(source):
        command = [kernel_python, "-B", "-W", "error", "-c", source]
        printed = subprocess.run(command, cwd=NOTEBOOKS, capture_output=True, text=True, check=True)
        return json.loads(printed.stdout)

    return run


def same_bytes(nights, variant, file):
    return (nights / "as_it_was" / file).read_bytes() == (nights / variant / file).read_bytes()


@pytest.mark.parametrize("file", ["features.parquet", "scores.parquet", "model.ubj"])
@pytest.mark.parametrize(
    ("variant", "moves"),
    [
        ("once_more", set()),
        ("other_future", set()),
        ("other_landings", set()),
        ("other_yesterday", {"features.parquet", "scores.parquet", "model.ubj"}),
        ("other_evening", {"features.parquet", "scores.parquet"}),
    ],
)
def test_only_what_was_known_at_midnight_counts(nights, variant, moves, file):
    """No outcome or weather from the day on moves a byte; those known when it began do.

    Nor does a flight tell its end that was still in the air at that midnight.
    """
    assert same_bytes(nights, variant, file) is (file not in moves)


def test_the_future_was_changed(nights):
    """The leak test would be worth nothing if the changed source were the same."""
    assert not same_bytes(nights, "other_future", "flights.csv")
    assert not same_bytes(nights, "other_future", "weather.csv")
    assert not same_bytes(nights, "other_landings", "flights.csv")


def test_the_model_learns_from_what_nights_see(facts):
    """For a past day, the training set has the very features that day's night computed."""
    assert facts["differing_features"] == []


def test_schedule_holds_no_outcome(facts):
    """The timetable of the day has no column that is written after the fact."""
    assert not OUTCOME & set(facts["schedule"][0])
    assert not {"seats", "plane_year"} & set(facts["schedule"][0])


def test_known_tables_end_before_the_day(facts):
    """Actuals and weather stop at the midnight with which the day begins."""
    assert max(row["day"] for row in facts["actuals"])[:10] == "2013-02-04"
    assert max(row["time_hour"] for row in facts["weather"]) == "2013-02-05T04:00:00.000Z"


def test_every_flight_of_the_day_is_scored_once(facts, nights):
    """One probability for each line of the timetable, also for flights that were cancelled."""
    with (nights / "as_it_was" / "flights.csv").open() as file:
        planned = [
            f"20130205-{row['origin']}-{row['carrier']}{row['flight']}"
            for row in csv.DictReader(file)
            if (row["month"], row["day"]) == ("2", "5")
        ]
    assert sorted(row["flight_id"] for row in facts["scores"]) == sorted(planned)
    assert all(0 < row["p_late"] < 1 for row in facts["scores"])
    assert {row["model_partition"] for row in facts["scores"]} == {"2013-02-05"}


def test_evaluation_is_what_arithmetic_says(facts):
    """AUC, Brier score and counts of the evaluation agree with their definitions."""
    p_late = {row["flight_id"]: row["p_late"] for row in facts["scores"]}
    ended = [row for row in facts["next_actuals"] if row["day"].startswith("2013-02-05")]
    ended = [row for row in ended if row["arr_delay"] is not None]
    late = [p_late[row["flight_id"]] for row in ended if row["arr_delay"] >= 15]
    punctual = [p_late[row["flight_id"]] for row in ended if row["arr_delay"] < 15]
    wins = sum((a > b) + (a == b) / 2 for a in late for b in punctual)
    squares = sum((1 - p) ** 2 for p in late) + sum(p**2 for p in punctual)
    (evaluation,) = facts["evaluation"]
    assert evaluation["n"] == len(ended)
    assert evaluation["share_late"] == pytest.approx(len(late) / len(ended))
    assert evaluation["auc"] == pytest.approx(wins / len(late) / len(punctual))
    assert evaluation["brier"] == pytest.approx(squares / len(ended))


def test_baseline_is_the_share_of_carrier_and_hour(in_kernel):
    """The baseline is the past's share by carrier and hour, drawn by ten flights to the whole."""
    answer = in_kernel(
        """
import json
import pandas as pd
from flight_scores import baseline
past = pd.DataFrame({
    "carrier": ["AA"] * 20 + ["UA"] * 20, "hour": [9] * 40,
    "late": [1.0] * 20 + [0.0] * 18 + [None] * 2,
})
coming = pd.DataFrame({"carrier": ["AA", "UA", "B6"], "hour": [9, 9, 9]})
print(json.dumps(list(baseline(past, coming))))
"""
    )
    whole = 20 / 38
    expected = [(20 + 10 * whole) / 30, 10 * whole / 28, whole]
    assert answer == pytest.approx(expected)


def test_first_evaluation_is_empty_and_kind(facts):
    """With no scores of the day before, the evaluation says n = 0 and claims nothing."""
    (evaluation,) = facts["first_evaluation"]
    assert evaluation.pop("n") == 0
    assert evaluation.pop("day").startswith("2013-02-05")
    assert set(evaluation.values()) == {None}


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ("outside", "ValueError: no flights on 2013-06-01: the data has days from 2013-01-01"),
        ("too_early", "ValueError: nothing to learn from"),
        ("too_short", "ValueError: the training set must reach back more than 99 days"),
        ("wrong_day", "ValueError: the features are not of 2013-02-06: run features.ipynb"),
        ("no_input", "nowhere.parquet is not there yet: run flight_delays/ingest.ipynb first"),
    ],
)
def test_failures_say_what_to_do(facts, fact, message):
    """What cannot work ends in one line that names the days there are, or the notebook to run."""
    assert message in facts[fact]
    assert "\n" not in facts[fact]


LATE_CASES = {
    # scheduled arrival, delay in minutes (None: never arrived), departed; known at midnight
    "landed in time": ("22:00", 5, True, 0),
    "landed late": ("22:00", 15, True, 1),
    "in the air, not due": ("23:50", 30, True, None),
    "in the air, overdue": ("23:30", 300, True, 1),
    "in the air, overdue, diverted in the end": ("23:30", None, True, 1),
    "due a minute after midnight": ("23:46", 15, True, None),
    "cancelled": ("22:00", None, False, None),
}


def test_late_is_known_only_once_it_can_be(in_kernel):
    """A flight counts as late or punctual at midnight only if a clock on the wall could tell."""
    cases = [(due, delay, departed) for due, delay, departed, _ in LATE_CASES.values()]
    answer = in_kernel(
        f"""
import json
import pandas as pd
from flights import late_known_at, midnight
flights = pd.DataFrame({cases!r}, columns=["due", "arr_delay", "departed"])
flights["sched_arr"] = pd.to_datetime("2013-03-01 " + flights["due"]).dt.tz_localize(
    "America/New_York")
flights["arr_delay"] = flights["arr_delay"].astype(float)
flights["dep_delay"] = flights["departed"].map({{True: 0.0, False: None}}).astype(float)
print(late_known_at(flights, midnight(pd.Timestamp("2013-03-02"))).to_json(orient="values"))
"""
    )
    assert dict(zip(LATE_CASES, answer, strict=True)) == {
        name: known for name, (_, _, _, known) in LATE_CASES.items()
    }


CLOCK_CASES = {
    "20130101-EWR-UA1545": ("2013-01-01T05:15-05:00", "2013-01-01T08:19-06:00"),
    "20130101-JFK-HA51": ("2013-01-01T09:00-05:00", "2013-01-01T15:30-10:00"),
    "20130101-JFK-B6739": ("2013-01-01T23:59-05:00", "2013-01-02T04:45-04:00"),
    "20130701-JFK-HA51": ("2013-07-01T10:00-04:00", "2013-07-01T14:30-10:00"),
    "20130701-JFK-B6703": ("2013-07-01T14:29-04:00", "2013-07-01T18:30-04:00"),
}


def test_clocks_of_other_zones_are_understood(in_kernel):
    """Arrivals in Houston, Honolulu and Puerto Rico are compared with New York's midnight right."""
    answer = in_kernel(
        f"""
import json
from datetime import date
from flights import load_flights
flights = load_flights("", date(2013, 1, 1), date(2013, 7, 1)).set_index("flight_id")
rows = flights.loc[{list(CLOCK_CASES)!r}, ["sched_dep", "sched_arr"]]
print(json.dumps([[time.isoformat() for time in row] for row in rows.itertuples(index=False)]))
"""
    )
    times = [tuple(datetime.fromisoformat(text) for text in row) for row in answer]
    expected = [tuple(datetime.fromisoformat(t) for t in row) for row in CLOCK_CASES.values()]
    assert times == expected


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zip"])
def test_a_source_may_be_compressed_and_without_registries(in_kernel, tmp_path, ending):
    """Flights are read from .csv, .csv.gz and .csv.zip alike, and need no airports.csv beside."""
    text = (
        "year,month,day,sched_dep_time,dep_delay,sched_arr_time,arr_delay,carrier,flight,"
        "tailnum,origin,dest,air_time,distance\n"
        "2013,5,1,900,NA,1000,NA,AA,7,NA,JFK,BOS,NA,187\n"
    )
    path = tmp_path / f"flights.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending == "csv.gz" else text.encode())
    if ending == "csv.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("flights.csv", text)
    answer = in_kernel(
        f"""
import json
from datetime import date
from flights import load_flights
flights = load_flights({str(tmp_path)!r}, date(2013, 5, 1), date(2013, 5, 1))
print(flights[["flight_id", "hour"]].to_json(orient="values"))
"""
    )
    assert answer == [["20130501-JFK-AA7", 9]]


# --- as in JupyterLab ---------------------------------------------------------------------------


def test_runs_top_to_bottom_from_its_own_defaults(kernel_environment, tmp_path):
    """In a fresh folder, in the order of the pipelines, every notebook runs without a parameter.

    Nothing is written to stderr, the last output is the conclusion, and what the notebooks make
    lies in the ignored folder of explorations.
    """
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    env = {**os.environ, "JUPYTER_PATH": str(kernel_environment.jupyter_path)}
    for name in IN_ORDER:
        notebook = tmp_path / "notebooks" / f"{name}.ipynb"
        papermill = [sys.executable, "-m", "papermill", "--no-progress-bar"]
        ended = subprocess.run(
            [*papermill, notebook, tmp_path / "executed.ipynb", "--cwd", notebook.parent],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        executed = json.loads((tmp_path / "executed.ipynb").read_text())["cells"]
        outputs = [output for cell in executed for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "stream"]
        assert "**" in "".join(outputs[-1]["data"]["text/markdown"])
    made = {path.name for path in (tmp_path / ".nightmill" / "explore").iterdir()}
    tables = {"schedule", "actuals", "weather", "features", "scores", "evaluation", "training_set"}
    assert made == {f"{name}.parquet" for name in tables} | {"model.ubj"}
