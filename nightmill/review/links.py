"""Addresses of the pages: below whatever path they are mounted at, and never with a host.

The address of an attempt is its prefix in the store, so a link in a log can be made by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from nightmill.store.keys import encode, run_prefix_of

RUNS = "runs"
RUN_PARTS = ("pipeline", "partition", "run")


@dataclass(frozen=True)
class Links:
    """Makes addresses; `base` is the path that the application is mounted at, or empty."""

    base: str = ""

    @property
    def home(self) -> str:
        """The address of the first page."""
        return f"{self.base}/"

    def at(self, path: str, /, **query: str | int | None) -> str:
        """Return the address of a path below the base; what is None is left out of the query."""
        return f"{self.base}{path}{_query(query)}"

    def page(self, *parts: str, **query: str | int | None) -> str:
        """Return the address of a page; each part is a name.

        The first part is the page's own: ``page("metrics", pipeline, step, metric="auc")``.
        """
        return self.at(f"/{'/'.join(map(encode, parts))}", **query)

    def attempt(
        self, page: str, prefix: str, /, *, cell: int | None = None, **query: str | int | None
    ) -> str:
        """Return the address of a page about an attempt, or a run, by its prefix in the store.

        With `cell` the page opens at that cell of the attempt's notebook, by its author's number.
        """
        place = "" if cell is None else f"#cell-{cell}"
        return self.at(f"/{page}/{prefix.removeprefix(f'{RUNS}/')}", **query) + place

    def run(self, prefix: str) -> str:
        """Return the address of the run that an attempt belongs to."""
        return self.attempt(RUNS, run_prefix_of(prefix))

    def api(self, address: str) -> str:
        """Return the address of the same page as JSON."""
        return f"{self.base}/api{address.removeprefix(self.base)}"

    def static(self, file: str) -> str:
        """Return the address of a file that comes with the pages."""
        return f"{self.base}/static/{file}"


def _query(query: dict[str, str | int | None]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""
