"""A reader of the review pages without a browser, and a store that notes what it is asked."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from starlette.testclient import TestClient

from nightmill.review.access import Access, OwnerAccess, User
from nightmill.review.app import make_app
from nightmill.review.site import Site
from nightmill.store.interface import Store
from nightmill.store.keys import run_prefix


class Viewer(OwnerAccess):
    """Somebody who may see some pipelines, and decide nothing."""

    def __init__(self, *pipelines: str) -> None:
        super().__init__("Vic")
        self._pipelines = pipelines

    def may_read(self, user: User, pipeline: str) -> bool:
        """Say yes to those that were named."""
        del user
        return pipeline in self._pipelines

    def may_act(self, user: User, pipeline: str) -> bool:
        """Say no."""
        del user, pipeline
        return False


class Asked:
    """A store that counts its calls by name, and by the first argument's first part."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in ("url", "address", "local_path", "library_options"):
            return found

        def asked(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, str(arguments[0]) if arguments else ""))
            return found(*arguments, **options)

        return asked

    def count(self) -> Counter[str]:
        """Count the calls by name."""
        return Counter(name for name, _key in self.calls)


def open_client(store: Store, access: Access | None = None, **options: Any) -> TestClient:
    """Open the pages of a store as Ada, unless somebody else is to look."""
    site = Site.open(store, access or OwnerAccess("Ada"), **options)
    return TestClient(make_app(site), follow_redirects=False)


def get(client: TestClient, address: str, **query: str) -> Any:
    """Ask for the facts of a page, which has to be there."""
    answer = client.get(f"/api{address}", params=query or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def run_path(pipeline: str, partition: str, run: str) -> str:
    """Name the address of a run's page."""
    return f"/{run_prefix(pipeline, partition, run)}"


def post(client: TestClient, page: str, address: str, **fields: str) -> Any:
    """Send the form of a page that was opened before, as a browser does."""
    proof = re.search(r'name="proof" value="(\w+)"', client.get(page).text)
    return client.post(address, data={**fields, "proof": proof[1] if proof else ""})
