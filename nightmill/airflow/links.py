"""Links of a task in Airflow's pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs
from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from nightmill.airflow.plugin import PREFIX, can_review
from nightmill.airflow.steprun_operator import RESULT
from nightmill.spec.names import check_name
from nightmill.spec.problems import Faults
from nightmill.store.keys import attempt_names, attempts_at

MOUNTED = PREFIX.removeprefix("/")
"""Where the review pages are in Airflow's own, from its base: a link there is relative to that."""


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
    prefix = next(_attempts(notebook), "")
    return f"{review_url}/{prefix}" if prefix and review_url else notebook


def _attempts(notebook: str) -> Iterator[str]:
    """Name the attempt of a notebook first: its step has a name that a run of Airflow never has.

    Where the store's folder is called `runs`, the run would seem to be the step.
    """
    for prefix in attempts_at(notebook):
        with suppress(Faults):
            check_name(attempt_names(prefix).step)
            yield prefix
