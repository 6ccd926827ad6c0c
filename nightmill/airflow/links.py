"""Links of a task in Airflow's pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import attrs
from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from nightmill.airflow.steprun_operator import RESULT


@attrs.define
class NotebookLink(BaseOperatorLink):
    """Leads to the executed notebook: on the review pages if there are any, else in the store."""

    name = "Executed notebook"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address, empty where the attempt left no notebook."""
        result = XCom.get_value(key=RESULT, ti_key=ti_key)
        notebook = result.get("notebook") if isinstance(result, dict) else None
        return notebook_link(notebook or "", getattr(operator, "review_url", ""))


def notebook_link(notebook: str, review_url: str) -> str:
    """Return what a browser opens for a notebook of the store."""
    attempt, runs, _ = notebook.rpartition("/notebook.ipynb")
    place = attempt.partition("/runs/")[2]
    if not (review_url and runs and place):
        return notebook
    return f"{review_url}/runs/{quote(place)}"
