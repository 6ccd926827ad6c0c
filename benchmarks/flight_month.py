"""How good a month of nightly scores was, beside the baseline; prints a table for the README.

    KERNEL_PYTHON benchmarks/flight_month.py [--month 2013-03] [--store .nightmill/store]

Reads the committed scores of `flight_delays` from a store in a directory, and what happened from
the data itself. Run it with the Python of the kernel `tabular` (`nightmill kernels list` says where
that is), which has the libraries of the notebooks. The baseline is learned anew for each night, on
the four weeks before it.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "notebooks"))

from flight_features import HISTORY_DAYS  # noqa: E402 - the notebooks' own modules, found above
from flight_scores import baseline, judge  # noqa: E402 - as above
from flights import load_flights, outcome_of  # noqa: E402 - as above


def read_scores(store: Path, day: pd.Timestamp) -> pd.DataFrame:
    """Read the current scores of a day; exits with advice when there are none."""
    pointer = store / "current" / "flight_delays" / "score" / f"{day.date()}.json"
    if not pointer.exists():
        command = f"nightmill run flight_delays --partition {day.date()} --store {store}"
        sys.exit(f"{store} has no scores of {day.date()}\n  -> run `{command}`")
    output = json.loads(pointer.read_text())["outputs"]["scores"]
    return pd.read_parquet(store / output["prefix"] / output["files"][0]["path"])


def judged_nights(store: Path, month: pd.Period) -> pd.DataFrame:
    """Put score, baseline and outcome of every flight of the month that arrived side by side."""
    days = pd.date_range(month.start_time, month.end_time.normalize())
    first = days[0].date() - timedelta(days=HISTORY_DAYS)
    flights = load_flights("", first, days[-1].date())
    flights["late"] = outcome_of(flights)
    nights = []
    for day in days:
        scores = read_scores(store, day).set_index("flight_id")["p_late"]
        age = (day - flights["day"]).dt.days
        night = flights[age == 0].join(scores, on="flight_id")
        past = flights[age.between(1, HISTORY_DAYS)]
        nights.append(night.assign(baseline=baseline(past, night)))
    return pd.concat(nights).dropna(subset="late")


def summary(judged: pd.DataFrame) -> pd.DataFrame:
    """Compute the metrics of scores and baseline: a mean over nights, and over all flights."""
    columns = {}
    for name, column in {"scores": "p_late", "baseline": "baseline"}.items():
        nightly = [judge(night["late"], night[column])["auc"] for _, night in judged.groupby("day")]
        pooled = judge(judged["late"], judged[column])
        columns[name] = {
            "AUC, mean of the nights": sum(nightly) / len(nightly),
            "AUC, all flights together": pooled["auc"],
            "log loss": pooled["log_loss"],
            "Brier score": pooled["brier"],
        }
    return pd.DataFrame(columns)


def print_table(judged: pd.DataFrame, month: pd.Period) -> None:
    """Print the summary as a Markdown table."""
    nights = judged["day"].nunique()
    print(f"| {month:%B %Y}: {nights} nights, {len(judged):,} flights | scores | baseline |")
    print("|---|---:|---:|")
    for name, row in summary(judged).iterrows():
        print(f"| {name} | {row['scores']:.3f} | {row['baseline']:.3f} |")


def main() -> None:
    """Read the arguments, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--month", type=pd.Period, default=pd.Period("2013-03"))
    parser.add_argument("--store", type=Path, default=REPOSITORY / ".nightmill" / "store")
    arguments = parser.parse_args()
    print_table(judged_nights(arguments.store, arguments.month), arguments.month)


if __name__ == "__main__":
    main()
