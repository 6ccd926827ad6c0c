"""A morning as reviewers find it: real runs of the last nights, one of which went wrong.

flights   scores every night; last night a column was renamed upstream, and `score` failed
fraud     its scores wait for a person every night; those of last night still do
energy    all is well
prices    was due last night, and nothing ran
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from nightmill.spec.record import Record
from nightmill.store.index import note
from nightmill.store.open import open_store
from tests.conftest import ProjectFiles

ZONE = "America/New_York"
NIGHTS = 3
_OVER_AT = timedelta(hours=5)  # the night of 02:30 is late by then, even where the clocks skip

FEATURES = """\
# %% [markdown]
# # Features of the day
# One row a flight, as they are known in the *evening before*.
# %% tags=["parameters"]
from datetime import date
partition: date = date(2013, 3, 1)  # the day to score
features: str = "features.parquet"
renamed: bool = False  # a column has another name
# %%
import numpy as np
import pandas as pd

rng = np.random.default_rng(partition.toordinal())
n = 900
flights = pd.DataFrame({
    "flight_id": np.arange(n),
    "carrier": rng.choice(["AA", "B6", "DL", "EV", "UA", "WN"], n),
    "hour": rng.integers(5, 23, n),
    "distance": rng.gamma(3.0, 350.0, n).round(),
})
flights["late"] = rng.random(n) < 0.08 + 0.018 * (flights["hour"] - 5)
# %%
if renamed:
    flights = flights.rename(columns={"carrier": "carrier_code"})
flights.to_parquet(features)
flights.head(8)
"""
SCORE = r"""# %% [markdown]
# # Scores of the day
#
# The probability of a late arrival, from hour and carrier:
#
# $$p = \frac{1}{1 + e^{-(\beta_0 + \beta_h h + \beta_c)}}$$
# %% tags=["parameters"]
from datetime import date
partition: date = date(2013, 3, 1)
features: str = "features.parquet"
scores: str = "scores.parquet"
# %%
import matplotlib.pyplot as plt
import pandas as pd
import scrapbook as sb
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

flights = pd.read_parquet(features)
missing = sorted({"carrier", "hour", "late"} - {*flights.columns})
print(f"{len(flights):,} flights on {partition:%d %B %Y}")
# %% [markdown]
# ## Predict
# %%
assert not missing, f"the features of today lack {', '.join(missing)}"
known = pd.get_dummies(flights["carrier"]).assign(hour=flights["hour"])
model = LogisticRegression(max_iter=500).fit(known, flights["late"])
flights["p_late"] = model.predict_proba(known)[:, 1]
flights[["flight_id", "p_late"]].to_parquet(scores)
# %%
auc = roc_auc_score(flights["late"], flights["p_late"])
sb.glue("auc", float(auc))
sb.glue("flights", len(flights))
print(f"AUC {auc:.3f}")
# %% [markdown]
# ## The day ahead
# %%
figure, axes = plt.subplots(figsize=(7, 2.6))
flights.groupby("hour")["p_late"].mean().plot.bar(ax=axes, color="#2456c4")
axes.set_ylabel("p(late)")
figure.tight_layout()
plt.show()
# %%
at_risk = flights.nlargest(6, "p_late")
shades = at_risk.style.background_gradient(subset=["p_late"], cmap="Reds")
shades.format({"p_late": "{:.1%}"})
"""
SMALL = """\
# %% tags=["parameters"]
from datetime import date
partition: date = date(2013, 3, 1)
scores: str = "scores.parquet"
until: str = ""  # a file: it works until that is there
# %%
import time
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import scrapbook as sb

rng = np.random.default_rng(partition.toordinal())
frame = pd.DataFrame({"id": np.arange(500), "score": rng.random(500).round(4)})
frame.describe()
# %%
for step in count():
    if not until or Path(until).exists():
        break
    print(f"batch {step}", flush=True)
    time.sleep(0.2)
sb.glue("mean", float(frame["score"].mean()))
frame.to_parquet(scores)
"""
FLIGHTS = f"""\
pipeline: flights
description: How likely is it that a flight arrives late?
owner: Data science
schedule: "30 2 * * *"
timezone: {ZONE}
{{days}}
expect_by: 1h
steps:
  features:
    notebook: features.py
    outputs: {{{{features: features.parquet}}}}
  score:
    notebook: score.py
    inputs: [features]
    outputs: {{{{scores: scores.parquet}}}}
    checks:
      scores: {{{{rows: ">100", not_null: [flight_id, p_late], between: {{{{p_late: [0, 1]}}}}}}}}
"""


@dataclass(frozen=True)
class Morning:
    """The project of a morning, and its nights, the last of which is this one."""

    project: ProjectFiles
    nights: tuple[str, ...]

    @property
    def tonight(self) -> str:
        """The partition of last night."""
        return self.nights[-1]


def make_morning(project: ProjectFiles) -> Morning:
    """Run the last nights of four pipelines for real."""
    now = datetime.now(ZoneInfo(ZONE))
    newest = (now - _OVER_AT).date()  # the night that is over by now
    nights = tuple(f"{newest - timedelta(days=ago):%Y-%m-%d}" for ago in range(NIGHTS)[::-1])
    # Where the next night has begun, or may before the tests end, nobody is to wait for it.
    _write(project, nights[0], nights[-1] if newest < now.date() else "")
    first, before, last = nights[0], nights[-2], nights[-1]
    _run(project, "flights", "--from", first, "--to", before, "--workers", "2")
    _run(project, "energy", "--from", first, "--to", last, "--workers", "2")
    _run(project, "prices", "--from", first, "--to", before, "--workers", "2")
    _run(project, "fraud", "--from", first, "--to", last, "--workers", "2")
    for night in nights[:-1]:
        _approve(project, night)
    ended = project.run("run", "flights", "--partition", last, "-p", "renamed=true")
    assert ended.code == 1, ended.err
    _put_in_their_nights(project)
    return Morning(project, nights)


def _write(project: ProjectFiles, start: str, end: str) -> None:
    days = f"start: {start}\nend: {end}" if end else f"start: {start}"
    project.write("notebooks/flights/pipeline.yaml", FLIGHTS.format(days=days))
    project.write("notebooks/flights/features.py", FEATURES)
    project.write("notebooks/flights/score.py", SCORE)
    for name, review in (("fraud", ", review: required"), ("energy", ""), ("prices", "")):
        project.write(f"notebooks/{name}/score.py", SMALL)
        project.write(
            f"notebooks/{name}/pipeline.yaml",
            f'pipeline: {name}\nowner: Data science\nschedule: "0 2 * * *"\ntimezone: {ZONE}\n'
            f"{days}\nexpect_by: 1h\nsteps:\n  score:\n    notebook: score.py\n"
            f"    outputs: {{scores: {{path: scores.parquet{review}}}}}\n"
            '    checks: {scores: {rows: ">100", between: {score: [0, 1]}}}\n',
        )


def _put_in_their_nights(project: ProjectFiles) -> None:
    """Move what was run just now to the hours at which it was due."""
    store = open_store(str(project.store), base=project.root)
    for file in project.store.glob("runs/*/*/*/*/*/record.json"):
        record = Record.from_json(file.read_bytes())
        due = datetime.fromisoformat(f"{record.partition}T02:31:00").replace(tzinfo=ZoneInfo(ZONE))
        earlier = due - record.started_at + timedelta(seconds=40 * (record.step == "score"))
        moved = Record.model_validate(_moved(record.model_dump(), earlier))
        file.write_bytes(moved.to_json())
        note(store, moved)


def _moved(value: Any, by: timedelta) -> Any:
    if isinstance(value, datetime):
        return value + by
    if isinstance(value, dict):
        return {name: _moved(one, by) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_moved(one, by) for one in value]
    return value


def _run(project: ProjectFiles, *arguments: str) -> None:
    ended = project.run("run", *arguments)
    assert ended.code == 0, ended.err + ended.out


def _approve(project: ProjectFiles, night: str) -> None:
    (record,) = project.store.glob(f"runs/fraud/{night}/*/score/1/record.json")
    run = record.parts[-4]
    ended = project.run("approve", run, "--partition", night, "--comment", "As usual.")
    assert ended.code == 0, ended.err + ended.out
