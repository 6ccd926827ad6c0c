"""Every address of the review pages with names to try it with, and a store with something to hide.

A route that has a name without an example here fails the tests: whoever adds it says what it means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx import Response
from starlette.requests import Request
from starlette.testclient import TestClient

from nightmill.review.access import User
from nightmill.review.links import Links
from nightmill.review.pages import PAGES
from nightmill.review.views import Action, Document, Part, View, addresses
from nightmill.review.visit import API
from nightmill.spec.record import InputRecord
from nightmill.store.history import prefix_of
from nightmill.store.interface import Backend
from nightmill.store.open import open_store
from tests.conftest import notebook_json
from tests.reviewed_nights import Night, add

SHOWN, HIDDEN = "shown", "hushhush"  # pipelines: one that a user may see, one that they may not
SECRET = "TELLTALE"  # stands in the notebook, the metrics and the parameters of what is hidden

EXAMPLES = {
    "partition": "2013-03-01",
    "run": "run-0",
    "step": "score",
    "member": "north",
    "attempt": "1",
    "output": "scores",
    "cell:place": "1",
    "output:place": "1",
    "mimetype": "image~2Fpng",
    "dag_run": "manual__1",
    "task": "score",
    "map_index": "-1",
}
"""What each name in a path may be, or what it is as a number; the pipeline is the test's choice."""


@dataclass(frozen=True)
class Address:
    """One route: how it is asked, and its path below the base."""

    kind: type[View | Action | Document | Part]
    path: str
    is_api: bool = False

    @property
    def method(self) -> str:
        """What it is asked with."""
        return "POST" if self.kind is Action else "GET"

    @property
    def names(self) -> list[str]:
        """The names in its path, a number as `name:place`."""
        return re.findall(r"\{(\w+(?::place)?)", self.path)

    def of(self, pipeline: str) -> str:
        """Return its path for a pipeline, with an example for every other name."""
        examples = EXAMPLES | {"pipeline": pipeline}
        names = re.compile(r"\{(\w+(?::place)?)(?::\w+)?\}")
        return names.sub(lambda found: examples[found[1]], self.path)

    @property
    def is_about_a_pipeline(self) -> bool:
        """Whether its path names one."""
        return "pipeline" in self.names


def ask(
    client: TestClient, address: Address, pipeline: str = SHOWN, *, base: str = "", **more: Any
) -> Response:
    """Ask for an address as it is meant to be asked, below the path that the pages are at."""
    data = {"data": {}} if address.method == "POST" else {}
    return client.request(address.method, base + address.of(pipeline), **data, **more)


def codes(
    client: TestClient, addresses: Iterable[Address], pipeline: str = SHOWN, **more: Any
) -> dict[str, int]:
    """Ask for many addresses; return the code of each."""
    return {
        f"{one.method} {one.path}": ask(client, one, pipeline, **more).status_code
        for one in addresses
    }


def all_of(code: int, addresses: Iterable[Address]) -> dict[str, int]:
    """Say the same code of many addresses."""
    return {f"{one.method} {one.path}": code for one in addresses}


def every_address() -> Iterator[Address]:
    """Give the address of every page, of its JSON, of every act and of every document."""
    for page in PAGES:
        for path in addresses(page.path):
            yield Address(type(page), path)
            if isinstance(page, View | Action):
                yield Address(type(page), f"{API}{path}", is_api=True)


@dataclass(frozen=True)
class Rights:
    """Lets in `name`, who may read some pipelines and act on others, by a cookie or by none."""

    readable: frozenset[str] = frozenset()
    actable: frozenset[str] = frozenset()
    name: str = "Ada"
    has_session: bool = True

    async def user(self, request: Request) -> User | None:
        """Return whom it lets in."""
        del request
        return User(self.name, has_session=self.has_session)

    def may_read(self, user: User, pipeline: str) -> bool:
        """Say yes to what is readable."""
        del user
        return pipeline in self.readable

    def may_act(self, user: User, pipeline: str) -> bool:
        """Say yes to what can be acted on."""
        del user
        return pipeline in self.actable

    def sign_in(self, links: Links, page: str) -> None:
        """Name no place."""


PIPELINES = {
    SHOWN: """\
pipeline: shown
schedule: "30 2 * * *"
steps:
  score: {notebook: n.ipynb, outputs: {scores: s.parquet}}
""",
    HIDDEN: f"""\
pipeline: hushhush
description: {SECRET}
owner: {SECRET}
after: [shown.scores]
steps:
  score:
    notebook: n.ipynb
    inputs: {{scores: {{from: shown.scores, version: same_partition}}}}
    outputs: {{heard: h.parquet}}
""",
}


@dataclass
class Entangled:
    """A project of two pipelines that have the same names inside, and their store."""

    root: Path
    store: Backend
    prefixes: dict[tuple[str, str], str] = field(default_factory=dict)


def entangled(folder: Path) -> Entangled:
    """Make both: what is hidden reads what is shown, and waits for a decision as well."""
    made = Entangled(folder, open_store(str(folder / "store"), base=folder))
    for pipeline, text in PIPELINES.items():
        place = folder / "notebooks" / pipeline
        place.mkdir(parents=True)
        (place / "pipeline.yaml").write_text(text, encoding="utf-8")
        (place / "n.ipynb").write_bytes(_notebook(pipeline))
        for member in ("", "north"):
            for number, state in ((-1, "succeeded"), (0, "held")):
                night = Night(
                    **_facts(pipeline, number, member), state=state, files={"scores": {"s": b"1"}}
                )
                prefix = prefix_of(add(made.store, night))
                made.store.write(f"{prefix}/notebook.ipynb", _notebook(pipeline))
                made.prefixes[pipeline, member] = prefix
    return made


def _facts(pipeline: str, number: int, member: str) -> Mapping[str, Any]:
    """Give a night's facts; the night named by the examples is number 0."""
    facts: dict[str, Any] = {"pipeline": pipeline, "number": number, "member": member}
    facts["metrics"] = {SECRET.lower() if pipeline == HIDDEN else "auc": 0.5}
    facts["partition"] = EXAMPLES["partition"] if number == 0 else "2013-02-28"
    if pipeline == HIDDEN:
        facts["inputs"] = {"scores": _input()}
    return facts


def _input() -> InputRecord:
    return InputRecord(
        pipeline=SHOWN,
        output="scores",
        partition="2013-02-28",
        run="run--1",
        attempt=1,
        address=f"runs/{SHOWN}/2013-02-28/run--1/score/1/outputs/scores",
        files=(),
    )


def _notebook(pipeline: str) -> bytes:
    text = SECRET if pipeline == HIDDEN else "nothing to hide"
    return json.dumps(json.loads(notebook_json([f"print({text!r})"]))).encode()


def keys(store: Backend) -> dict[str, int]:
    """List everything in a store, to see that nothing changed."""
    return {entry.key: entry.size for entry in store.list("")}
