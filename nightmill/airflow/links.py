"""Links of a task in Airflow's pages."""

from __future__ import annotations

import re
from typing import Any

import attrs
from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from nightmill.airflow.plugin import PREFIX, can_review
from nightmill.airflow.steprun_operator import RESULT

MOUNTED = PREFIX.removeprefix("/")
"""Where the review pages are in Airflow's own, from its base: a link there is relative to that."""
_ATTEMPT = re.compile(r".*/runs/(?P<place>(?:[^/]+/){4,5}\d+)/notebook\.ipynb")


@attrs.define
class NotebookLink(BaseOperatorLink):
    """Leads to the executed notebook: on the review pages if there are any, else in the store."""

    name = "Executed notebook"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address, empty where the attempt left no notebook."""
        result = XCom.get_value(key=RESULT, ti_key=ti_key)
        notebook = result.get("notebook") if isinstance(result, dict) else None
        elsewhere = getattr(operator, "review_url", "")
        return notebook_link(notebook or "", elsewhere or (MOUNTED if can_review() else ""))


def notebook_link(notebook: str, review_url: str) -> str:
    """Return what a browser opens for a notebook of the store."""
    found = _ATTEMPT.fullmatch(notebook)
    return f"{review_url}/runs/{found['place']}" if found and review_url else notebook
