"""What parsing the DAGs costs beside a bare KubernetesPodOperator; prints a table of ratios.

    .venv/bin/python benchmarks/dag_parsing.py [--rounds 3]

Each figure is the best of some fresh processes, measured in turns so that a busy machine slows all
alike: importing Airflow, importing KubernetesPodOperator as well, and loading DAGs as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DAGS = Path(__file__).resolve().parents[1] / "dags"
AIRFLOW = "from airflow.sdk import DAG"
OPERATOR = f"{AIRFLOW}; import airflow.providers.cncf.kubernetes.operators.pod"
LOAD = f"""
from pathlib import Path
from nightmill.airflow.dags import load_dags
load_dags(Path({str(DAGS)!r}))
"""
STAGES = {
    "import airflow.sdk": AIRFLOW,
    "and KubernetesPodOperator": OPERATOR,
    "and load_dags": f"{OPERATOR}\n{LOAD}",
}


def processor_seconds(code: str, home: str) -> float:
    """Run code in a fresh process; return the processor time it took."""
    timed = f"{code}\nimport time; print('took', time.process_time())"
    env = os.environ | {"AIRFLOW_HOME": home, "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
    done = subprocess.run(
        [sys.executable, "-c", timed], check=True, capture_output=True, text=True, env=env
    )
    return float(done.stdout.rpartition("took ")[2])


def main() -> None:
    """Measure in turns, print each stage's best and what it adds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    best = dict.fromkeys(STAGES, float("inf"))
    with tempfile.TemporaryDirectory() as home:
        for _ in range(rounds):
            for name, code in STAGES.items():
                best[name] = min(best[name], processor_seconds(code, home))
    before, whole = 0.0, best["and KubernetesPodOperator"]
    for name, seconds in best.items():
        added = seconds - before
        print(f"{name:28} {seconds:6.2f} s  adds {added:5.2f} s = {added / whole:5.1%}")
        before = seconds


if __name__ == "__main__":
    main()
