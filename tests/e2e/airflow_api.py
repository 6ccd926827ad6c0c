"""Airflow's REST API, as tests of a whole Airflow use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from nightmill.airflow.standalone import USER, StandaloneAirflow

DEADLINE_S = 480


class Client:
    """Airflow's REST API, signed in."""

    def __init__(self, airflow: StandaloneAirflow) -> None:
        self._scheduler_log = airflow.home / "scheduler.log"
        self._http = httpx.Client(base_url=airflow.address, timeout=90)
        self.close = self._http.close
        answer = self._http.post(
            "/auth/token", json={"username": USER, "password": airflow.password}
        )
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Ask, and insist on success."""
        answer = self._http.request(method, f"/api/v2/{path}", **options)
        assert answer.is_success, answer.text
        return answer.json()

    def trigger(self, dag: str, **body: Any) -> str:
        """Start a run by hand; return its id."""
        self.call("PATCH", f"dags/{dag}", json={"is_paused": False})
        body = {"logical_date": None, **body}
        return self.call("POST", f"dags/{dag}/dagRuns", json=body)["dag_run_id"]

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """List the runs of a DAG."""
        return self.call("GET", f"dags/{dag}/dagRuns")["dag_runs"]

    def ended(self, dag: str, run: str) -> str:
        """Wait until a run is over; return its state."""

        def state() -> str | None:
            found = self.call("GET", f"dags/{dag}/dagRuns/{run}")["state"]
            return found if found in ("success", "failed") else None

        return eventually(state, f"the end of {dag} {run}")

    def tries(self, dag: str, run: str) -> Mapping[str, tuple[str, int]]:
        """Map each task of a run to its state and its number of tries."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances"
        return {
            one["task_id"]: (one["state"], one["try_number"])
            for one in self.call("GET", path)["task_instances"]
        }

    def is_left(self, dag: str, run: str, task: str) -> bool:
        """Tell whether the scheduler knows that the worker of a task has ended."""
        line = f"TaskInstance Finished: dag_id={dag}, task_id={task}, run_id={run},"
        return line in self._scheduler_log.read_text(errors="replace")


def eventually(find: Callable[[], Any], what: str) -> Any:
    """Poll until something is found."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(0.5)  # a poll with a deadline
    return pytest.fail(f"{what} did not come within {DEADLINE_S} s")
