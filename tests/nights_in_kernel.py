"""Nights of the shipped pipelines on made-up pasts and futures; run by the kernel's own Python.

    PYTHONPATH=NOTEBOOKS python nights_in_kernel.py NOTEBOOKS WORK

runs the cells of the notebooks, as they are, once for each variant of the data, and leaves
WORK/<variant>/ with the outputs and WORK/facts.json with what the tests compare. Apart from the
tests because it needs the kernel's libraries, which the tests' environment does not have.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from flights import find_file, landed_at, load_flights

DAY = date(2013, 2, 5)
OUTCOME = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"]
KEY = ["year", "month", "day", "origin", "carrier", "flight"]
Tables = tuple[pd.DataFrame, pd.DataFrame]


def run_cells(notebook: Path, parameters: Mapping[str, object]) -> dict[str, Any]:
    """Run the code cells in one namespace, from the notebook's folder; return that namespace."""
    os.chdir(notebook.parent)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)  # noqa: S102 - these cells are what is tested
        if "parameters" in cell["metadata"].get("tags", []):
            namespace.update(parameters)
    plt.close("all")
    return namespace


def run_night(notebooks: Path, folder: Path) -> None:
    """Train on the days before DAY, score DAY, and judge DAY on the next day."""
    place = {path: str(folder / path) for path in ("model.ubj", "training_set.parquet")}
    run = {"source": str(folder), "partition": DAY}
    files = ("schedule", "actuals", "weather", "features", "scores", "evaluation")
    tables = {name: str(folder / f"{name}.parquet") for name in files}
    model = {"training_set": place["training_set.parquet"], "model": place["model.ubj"]}
    run_cells(notebooks / "flight_model/training_set.ipynb", run | model)
    run_cells(notebooks / "flight_model/train.ipynb", run | model | {"max_trees": 25})
    for step in ("ingest", "features", "score"):
        run_cells(notebooks / f"flight_delays/{step}.ipynb", run | tables | model)


def judge_night(notebooks: Path, folder: Path) -> dict[str, Any]:
    """Judge the scores of DAY; return the evaluation, and each flight's outcome and score."""
    run = {"source": str(folder), "partition": DAY + timedelta(days=1)}
    next_day = {
        name: str(folder / f"next_{name}.parquet") for name in ("schedule", "actuals", "weather")
    }
    run_cells(notebooks / "flight_delays/ingest.ipynb", run | next_day)
    where = {"yesterday": str(folder / "scores.parquet"), "actuals": next_day["actuals"]}
    facts = {}
    for name, yesterday in (("evaluation", where["yesterday"]), ("first_evaluation", None)):
        output = {"evaluation": str(folder / f"{name}.parquet"), "yesterday": yesterday}
        run_cells(notebooks / "flight_delays/evaluate.ipynb", run | where | output)
        facts[name] = rows_of(folder / f"{name}.parquet")
    return facts


def differing_features(notebooks: Path, folder: Path) -> list[str]:
    """Name the features that the training set has otherwise than the night of that day had."""
    day = DAY - timedelta(days=3)
    names = ("schedule", "actuals", "weather", "features")
    tables = {name: str(folder / f"earlier_{name}.parquet") for name in names}
    for step in ("ingest", "features"):
        run = {"source": str(folder), "partition": day}
        run_cells(notebooks / f"flight_delays/{step}.ipynb", run | tables)
    night = pd.read_parquet(tables["features"]).set_index("flight_id")
    learned = pd.read_parquet(folder / "training_set.parquet").set_index("flight_id")
    learned = learned[learned["day"] == pd.Timestamp(day)].drop(columns="late")
    night = night.loc[learned.index]
    return [name for name in learned if learned.empty or not learned[name].equals(night[name])]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read a table as JSON-like rows: missing values are None, times are text."""
    return json.loads(pd.read_parquet(path).to_json(orient="records", date_format="iso"))


# --- variants of the data -----------------------------------------------------------------------


def _days(flights: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(flights[["year", "month", "day"]]).dt.date


def _midnight() -> pd.Timestamp:
    return pd.Timestamp(DAY).tz_localize("America/New_York")


def other_future(flights: pd.DataFrame, weather: pd.DataFrame) -> Tables:
    """Change every outcome of DAY and later, the order of the rows, and all weather from DAY on."""
    coming = _days(flights) >= DAY
    changed = flights.copy()
    shuffled = flights.loc[coming, OUTCOME].sample(frac=1, random_state=1)
    changed.loc[coming, OUTCOME] = shuffled.to_numpy()
    changed.loc[coming, ["dep_delay", "arr_delay"]] += 40
    hours = pd.to_datetime(weather["time_hour"]) >= _midnight()
    sky = weather.copy()
    sky.loc[hours, ["temp", "wind_speed", "pressure"]] += 25
    sky.loc[hours, ["precip", "visib"]] = 3
    return changed.iloc[::-1], sky.iloc[::-1]


def other_landings(flights: pd.DataFrame, weather: pd.DataFrame) -> Tables:
    """Change how the flights ended that were in the air when DAY began."""
    known = load_flights("", DAY - timedelta(days=1), DAY - timedelta(days=1))
    aloft = known.loc[landed_at(known) >= _midnight(), "flight_id"]
    ids = (
        pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y%m%d")
        + "-" + flights["origin"] + "-" + flights["carrier"] + flights["flight"].astype(str)
    )  # fmt: skip
    changed = flights.copy()
    changed.loc[ids.isin(aloft), ["arr_delay", "air_time"]] += 200
    return changed, weather


def other_yesterday(flights: pd.DataFrame, weather: pd.DataFrame) -> Tables:
    """Make every fifth flight of the day before DAY late."""
    yesterday = (_days(flights) == DAY - timedelta(days=1)) & (flights["flight"] % 5 == 0)
    changed = flights.copy()
    changed.loc[yesterday & flights["arr_delay"].notna(), "arr_delay"] = 90
    return changed, weather


def other_evening(flights: pd.DataFrame, weather: pd.DataFrame) -> Tables:
    """Let the wind blow harder, and rain fall, in the last hours before DAY."""
    times = pd.to_datetime(weather["time_hour"])
    hours = (times < _midnight()) & (times >= _midnight() - pd.Timedelta(hours=3))
    sky = weather.copy()
    sky.loc[hours, ["wind_speed", "pressure", "precip"]] += 20
    return flights, sky


VARIANTS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Tables]] = {
    "as_it_was": lambda flights, weather: (flights, weather),
    "once_more": lambda flights, weather: (flights, weather),
    "other_future": other_future,
    "other_landings": other_landings,
    "other_yesterday": other_yesterday,
    "other_evening": other_evening,
}


def real_tables() -> Tables:
    """Read five weeks of the real flights and weather, as text files have them."""
    flights = pd.read_csv(find_file("flights", ""))
    weather = pd.read_csv(find_file("weather", ""))
    return flights[_days(flights) < DAY + timedelta(days=3)], weather[weather["month"] < 3]


def failure(notebook: Path, parameters: Mapping[str, object]) -> str:
    """Run a notebook that must fail, and return the error's type and text."""
    try:
        run_cells(notebook, parameters)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
        return f"{type(error).__name__}: {error}"
    return "no failure"


def main(notebooks: Path, work: Path) -> None:
    """Run all variants, and write WORK/facts.json."""
    real = real_tables()
    for name, change in VARIANTS.items():
        folder = work / name
        folder.mkdir()
        flights, weather = change(*real)
        flights.to_csv(folder / "flights.csv", index=False, na_rep="NA")
        weather.to_csv(folder / "weather.csv", index=False, na_rep="NA")
        run_night(notebooks, folder)
    here = work / "as_it_was"
    facts: dict[str, Any] = judge_night(notebooks, here)
    facts["differing_features"] = differing_features(notebooks, here)
    names = ("schedule", "actuals", "weather", "scores", "next_actuals")
    facts |= {name: rows_of(here / f"{name}.parquet") for name in names}
    source = {"source": str(here), "partition": date(2013, 6, 1)}
    facts["outside"] = failure(notebooks / "flight_delays/ingest.ipynb", source)
    facts["too_early"] = failure(
        notebooks / "flight_model/training_set.ipynb", {"partition": date(2013, 1, 2)}
    )
    facts["too_short"] = failure(
        notebooks / "flight_model/train.ipynb",
        {"partition": DAY, "holdout_days": 99, "training_set": str(here / "training_set.parquet")},
    )
    nowhere = {"schedule": str(work / "nowhere.parquet")}
    facts["no_input"] = failure(notebooks / "flight_delays/features.ipynb", nowhere)
    facts["wrong_day"] = failure(
        notebooks / "flight_delays/score.ipynb",
        {"features": str(here / "features.parquet"), "partition": date(2013, 2, 6)},
    )
    (work / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
