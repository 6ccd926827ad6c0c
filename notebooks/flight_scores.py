"""Judging probabilities: the baseline to beat, the metrics, and the calibration table."""

from __future__ import annotations

import pandas as pd
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from flight_features import smoothed_rate


def baseline(past: pd.DataFrame, flights: pd.DataFrame) -> pd.Series:
    """Predict for `flights` the share of late ones of `past` with the same carrier and hour.

    `past` has a column `late`, and flights without an outcome in it teach nothing.
    """
    taught = past.dropna(subset="late")
    weight = pd.Series(1.0, index=taught.index)
    keys = ["carrier", "hour"]
    rate = smoothed_rate(taught["late"], weight, [taught[key] for key in keys]).rename("p")
    return flights[keys].join(rate, on=keys)["p"].fillna(taught["late"].mean())


def judge(late: pd.Series, p: pd.Series) -> dict[str, float]:
    """Score probabilities against outcomes; AUC is left out on a day with one kind of outcome."""
    known = late.notna()
    outcome, probability = late[known], p[known].astype(float)
    if outcome.empty:
        return {}
    ranking = {"auc": roc_auc_score(outcome, probability)} if outcome.nunique() > 1 else {}
    metrics = ranking | {
        "log_loss": log_loss(outcome, probability, labels=[0, 1]),
        "brier": brier_score_loss(outcome, probability),
    }
    return {name: float(value) for name, value in metrics.items()}


def calibration(late: pd.Series, p: pd.Series, groups: int = 10) -> pd.DataFrame:
    """Compare prediction and outcome in `groups` groups of equal size, from safe to risky."""
    known = late.notna()
    ranks = p[known].rank(method="first")
    group = pd.qcut(ranks, groups, labels=False).rename("group")
    table = pd.DataFrame({"predicted": p[known].astype(float), "late": late[known]})
    means = table.groupby(group).agg(
        flights=("late", "size"), predicted=("predicted", "mean"), observed=("late", "mean")
    )
    return means.reset_index(drop=True)
