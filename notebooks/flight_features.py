"""One day's features, from the timetable of that day and from what was known when it began.

The night's `features` notebook and the weekly training set both call `day_features`, so the model
meets at night exactly what it learned from. Which plane and which weather a flight will meet is not
known at midnight: both enter only as what was seen before.
"""

from __future__ import annotations

from datetime import date

import pandas as pd

from flights import WEATHER, landed_at, late_known_at, midnight

HISTORY_DAYS = 28
WEATHER_HOURS = 6
EVENING = 18
PRIOR_FLIGHTS = 10
IDENTITY = ["flight_id", "day", "carrier", "flight", "origin", "dest", "hour", "sched_dep"]
# Of the actuals; the others would only be copied, day after day.
USED = [
    "day", "carrier", "flight", "origin", "dest", "hour", "sched_arr",
    "dep_delay", "arr_delay", "air_time", "seats", "plane_year",
]  # fmt: skip

# How often similar flights were late: what makes them similar, and after how many days
# a flight counts half.
RATES = {
    "rate_carrier": (["carrier"], 3),
    "rate_origin": (["origin"], 3),
    "rate_dest": (["dest"], 7),
    "rate_origin_hour": (["origin", "hour"], 7),
    "rate_carrier_hour": (["carrier", "hour"], 14),
    "rate_carrier_dest": (["carrier", "dest"], 14),
    "rate_number": (["carrier", "flight"], 14),
}


def day_features(
    schedule: pd.DataFrame, actuals: pd.DataFrame, weather: pd.DataFrame
) -> pd.DataFrame:
    """Compute one row a flight of `schedule`, a single day's: its identity and its features."""
    rows = schedule.reset_index(drop=True)
    day = rows["day"].iloc[0].date()
    known = known_before(actuals, day)
    features = [
        calendar(rows, day),
        timetable(rows),
        past_rates(rows, known),
        last_day(rows, known),
        usual_plane(rows, known),
        last_weather(rows, weather, day),
    ]
    return pd.concat([rows[IDENTITY], pd.concat(features, axis=1).astype("float32")], axis=1)


def feature_names(table: pd.DataFrame) -> list[str]:
    """Name the columns a model may learn from."""
    return [name for name in table.columns if name not in {*IDENTITY, "late"}]


def known_before(actuals: pd.DataFrame, day: date) -> pd.DataFrame:
    """Keep the flights of the four weeks before `day`, and of them what was known when it began.

    A flight still in the air at midnight has no `air_time` yet, and no `late` unless it is late
    already.
    """
    today = pd.Timestamp(day)
    first = today - pd.Timedelta(days=HISTORY_DAYS)
    known = actuals.loc[actuals["day"].between(first, today, inclusive="left"), USED]
    return known.assign(
        late=late_known_at(known, midnight(day)),
        age=(today - known["day"]).dt.days,
        air_time=known["air_time"].where(landed_at(known) < midnight(day)),
        cancelled=known["dep_delay"].isna().astype(float),
    )


def smoothed_rate(late: pd.Series, weight: pd.Series, keys: list[pd.Series]) -> pd.Series:
    """Share of late flights by `keys`, drawn towards the overall share where flights are few."""
    overall = (late * weight).sum() / weight.sum()
    sums = pd.DataFrame({"late": late * weight, "n": weight}).groupby(keys).sum()
    return (sums["late"] + PRIOR_FLIGHTS * overall) / (sums["n"] + PRIOR_FLIGHTS)


# --- the parts ----------------------------------------------------------------------------------


def calendar(rows: pd.DataFrame, day: date) -> pd.DataFrame:
    """The hour, in minutes after midnight, and the weekday.

    No holidays and no months: a year has each of them once, and trees would learn single days by
    heart.
    """
    return pd.DataFrame(
        {
            "minute_of_day": (rows["sched_dep"] - midnight(day)).dt.total_seconds() / 60,
            "weekday": day.weekday(),
        }
    )


def timetable(rows: pd.DataFrame) -> pd.DataFrame:
    """What the day's timetable says of a flight, and of the crowd around it."""
    at_origin = rows.groupby("origin")["hour"].transform("size")
    of_carrier = rows.groupby(["origin", "carrier"])["hour"].transform("size")
    return pd.DataFrame(
        {
            "distance": rows["distance"],
            "block_minutes": _block_minutes(rows),
            "flights_at_hour": rows.groupby(["origin", "hour"])["hour"].transform("size"),
            "flights_before": rows.groupby("origin")["sched_dep"].rank(method="min") - 1,
            "carrier_share": of_carrier / at_origin,
        }
    )


def _block_minutes(rows: pd.DataFrame) -> pd.Series:
    return (rows["sched_arr"] - rows["sched_dep"]).dt.total_seconds() / 60


def past_rates(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The recent share of late flights, and how far flights like this one lie above or below it."""
    ended = known.dropna(subset="late")
    level = ended["late"].mean()
    columns = {"rate_all": pd.Series(level, index=rows.index)}
    for name, (keys, half_life) in RATES.items():
        weight = 0.5 ** (ended["age"] / half_life)
        rate = smoothed_rate(ended["late"], weight, [ended[key] for key in keys])
        columns[name] = rows.join(rate.rename("rate"), on=keys)["rate"] - level
    count = ended.groupby(["carrier", "flight"]).size().rename("count")
    columns["number_flights"] = rows.join(count, on=["carrier", "flight"])["count"].fillna(0)
    return pd.DataFrame(columns)


def last_day(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """How the day before went, and how it ended."""
    last = known[known["age"] == 1]
    evening = last[last["hour"] >= EVENING]
    return pd.DataFrame(
        {
            "last_day_all": last["late"].mean(),
            "last_day_origin": rows["origin"].map(last.groupby("origin")["late"].mean()),
            "last_day_carrier": rows["carrier"].map(last.groupby("carrier")["late"].mean()),
            "last_day_dest": rows["dest"].map(last.groupby("dest")["late"].mean()),
            "last_evening_origin": rows["origin"].map(evening.groupby("origin")["late"].mean()),
            "last_day_cancelled": rows["origin"].map(last.groupby("origin")["cancelled"].mean()),
        }
    )


def usual_plane(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The planes that flew under this number lately, and the minutes in hand over the usual air time.

    The plane of the day itself is no feature: it is recorded after the fact, and only if it flew.
    """
    planes = known.groupby(["carrier", "flight"])[["seats", "plane_year"]].mean()
    air_time = known.groupby(["origin", "dest"])["air_time"].mean()
    usual = rows[["carrier", "flight", "origin", "dest"]].join(planes, on=["carrier", "flight"])
    usual = usual.join(air_time, on=["origin", "dest"])
    return pd.DataFrame(
        {
            "usual_seats": usual["seats"],
            "usual_plane_year": usual["plane_year"],
            "slack_minutes": _block_minutes(rows) - usual["air_time"],
        }
    )


def last_weather(rows: pd.DataFrame, weather: pd.DataFrame, day: date) -> pd.DataFrame:
    """The weather at the airport of departure in the last hours before midnight."""
    hours = (midnight(day) - weather["time_hour"]).dt.total_seconds() / 3600
    seen = weather[(hours > 0) & (hours <= WEATHER_HOURS)].groupby("origin")[WEATHER]
    first, last = seen.first(), seen.last()
    summary = pd.DataFrame(
        {
            "temp": last["temp"],
            "humid": last["humid"],
            "dew_gap": last["temp"] - last["dewp"],
            "wind": seen.mean()["wind_speed"],
            "gust": seen.max()["wind_gust"].fillna(0),
            "rain": seen.sum()["precip"],
            "visibility": seen.min()["visib"],
            "pressure": seen.mean()["pressure"],
            "pressure_trend": last["pressure"] - first["pressure"],
        }
    )
    return rows[["origin"]].join(summary, on="origin").drop(columns="origin")
