"""A real attempt at a step with two outputs and no kernel: its store calls are the real ones.

Everything of an attempt is real but the engine: the cells "ran" at once, and left outputs that tell
which attempt wrote them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn, Self
from unittest.mock import patch

from nightmill.spec.project import Project
from nightmill.spec.record import Record
from nightmill.spec.steprun import StepRun
from nightmill.step import attempt as attempt_module
from nightmill.step import findings, notebook_run
from nightmill.step.attempt import Attempt
from nightmill.step.ground import begin
from nightmill.step.plan import Plan
from nightmill.step.stop import StopRequest
from nightmill.step.supervisor import Watched
from nightmill.store import s3
from nightmill.store.interface import Store
from nightmill.store.keys import attempt_prefix, data_partition_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit, read_pointer
from nightmill.store.s3_settings import S3Settings
from tests.faulty_store import Fault, FaultyStore
from tests.stored_versions import store_outputs

PIPELINE, STEP, DAY = "p", "make", "2013-01-01"
STEPS = "make: {notebook: make.ipynb, outputs: {scores: scores.bin, plots: plots/}}\n"
CELLS = [("scores: str = 's'\nplots: str = 'p'", "parameters"), "1"]

OLD, NEW = 10, 20  # orders of the run that is current at first, and of the one that replaces it

Outputs = Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True)
class Site:
    """Where attempts run: a project's folder, a store, and the environment both need."""

    root: str
    store_url: str
    env: Mapping[str, str]

    @classmethod
    def of(cls, project, store_url: str) -> Site:
        """Write the pipeline into a project of the fixture `make_project`."""
        project.pipeline(PIPELINE, STEPS, make=CELLS)
        names = ("NIGHTMILL_KERNELS", "COLUMNS")
        aws = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
        return cls(str(project.root), store_url, {name: project.env[name] for name in names} | aws)

    def at(self, name: str) -> Site:
        """Name a store of its own beside this one, for a case that others must not disturb."""
        place, question, settings = self.store_url.partition("?")
        return replace(self, store_url=f"{place}/{name}{question}{settings}")

    def open(self) -> Store:
        """Open the store as a reader does."""
        return open_store(self.store_url, base=Path(self.root))


@cache
def load(root: str) -> Project:
    """Read a project once for all attempts."""
    return Project.load(Path(root))


class Inert:
    """An engine that is no process."""

    def start_kernel(self, _order: object) -> None:
        """Start nothing."""

    def close(self) -> None:
        """End nothing."""


class Finished:
    """A supervisor whose engine has run every cell at once, and written all outputs."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        pass

    def run(self, plan: Plan) -> Watched:
        """Leave what a notebook leaves."""
        notebook = json.loads(Path(plan.notebook).read_text())
        for number, cell in enumerate(notebook["cells"], start=1):
            cell["metadata"]["nightmill"] = {"number": number, "title": "", "state": "completed"}
        Path(plan.executed).write_text(json.dumps(notebook))
        names = re.search(r"/run-(\d+)/make/(\d+)/spilled$", plan.spilled_address)
        for name, files in outputs_of(int(names[1]), int(names[2])).items():
            for path, data in files.items():
                place = Path(plan.parameters[name])
                place = place / path if name == "plots" else place
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
        return Watched(outcome={"cause": None})


_make_client = s3._client
_clients: dict[tuple[S3Settings, bool], object] = {}
_making = Lock()


def _shared_client(*arguments: object, hasty: bool) -> object:
    """Make a client once for all prefixes of a bucket: it takes longer than a whole attempt."""
    settings = next(one for one in arguments if isinstance(one, S3Settings))
    key = replace(settings, prefix=""), hasty
    with _making:
        if key not in _clients:
            _clients[key] = _make_client(*arguments, hasty=hasty)
        return _clients[key]


Wrap = Callable[[Store], Store]
_wrap: ContextVar[Wrap] = ContextVar("wrap", default=lambda store: store)


@contextmanager
def no_engine() -> Iterator[None]:
    """Have attempts of this process run no engine."""

    def open_it(url: str, *, base: Path) -> Store:
        return _wrap.get()(open_store(url, base=base))

    with (
        patch.object(notebook_run, "Supervisor", Finished),
        patch.object(attempt_module, "open_store", open_it),
        patch.object(findings, "describe_kernel", lambda *_arguments: None),  # reads 70 files
        patch.object(s3, "_client", _shared_client),
    ):
        yield


def outputs_of(order: int, number: int) -> Outputs:
    """Make what an attempt leaves: bytes that no other attempt has."""
    text = f"{order}/{number} ".encode() * 400
    return {
        "scores": {"scores.bin": b"scores " + text},
        "plots": {"a.png": b"a " + text, "city=1/b.png": b"b " + text},
    }


def run_attempt(
    site: Site,
    order: int,
    number: int = 1,
    *,
    wrap: Wrap | None = None,
    listener: Callable[[Mapping[str, Any]], None] = lambda _event: None,
) -> Record:
    """Run one attempt in this process; only inside of `no_engine`.

    `wrap` may stand before the store, as this attempt alone sees it; `listener` hears its events.
    """
    run = described(site, order, number)
    project, stop = load(site.root), StopRequest()
    attempt = Attempt(run, project, begin(run, project, Inert()), stop=stop, listener=listener)
    given = _wrap.set(wrap or _wrap.get())
    try:
        return attempt.execute()
    finally:
        _wrap.reset(given)


def described(site: Site, order: int, number: int = 1) -> StepRun:
    """Describe an attempt as its launcher does."""
    return StepRun(
        pipeline=PIPELINE,
        step=STEP,
        partition=DAY,
        as_of=DAY,
        run=f"run-{order}",
        order=order,
        attempt=number,
        store=site.store_url,
    )


def plant(store: Store, order: int) -> Pointer:
    """Commit what an attempt would have left, but for its notebook and record."""
    prefix = attempt_prefix(PIPELINE, DAY, f"run-{order}", STEP, 1)
    pointer = Pointer(
        pipeline=PIPELINE,
        step=STEP,
        partition=DAY,
        run=f"run-{order}",
        token=Token(order=order, attempt=1),
        attempt_prefix=prefix,
        outputs=store_outputs(store, prefix, outputs_of(order, 1)),
    )
    return commit(store, pointer)


class Mortal:
    """Runs attempts in processes that may be killed: forks of one that has imported everything."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, site.store_url],
            cwd=Path(__file__).parents[1],
            env={**os.environ, **site.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.communicate()

    def run(self, store_url: str, fault: Fault) -> int:
        """Run the new attempt with a fault; return the exit code, negative for a signal."""
        site = {"root": self._site.root, "store_url": store_url, "env": {}}
        case = {"site": site, "fault": asdict(fault)}
        self._server.stdin.write(json.dumps(case) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def _serve(url: str) -> None:
    """Fork for each case of standard input, and say how the fork ended."""
    with no_engine():
        open_store(url, base=Path())  # a client for all forks; it has not connected yet
        for line in sys.stdin:
            process = os.fork()
            if not process:
                _run_case(**json.loads(line))
            ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            sys.stdout.write(f"{ended}\n")
            sys.stdout.flush()


def _run_case(site: Mapping[str, Any], fault: Mapping[str, Any]) -> NoReturn:
    try:
        run_attempt(Site(**site), NEW, wrap=lambda store: FaultyStore(store, Fault(**fault)))
    finally:
        os._exit(0)


def read_current(store: Store) -> Pointer | None:
    """Read what is current as any reader does."""
    return read_pointer(store, PIPELINE, STEP, DAY)


def check_whole(store: Store, pointer: Pointer) -> None:
    """See that every file of every output is there, as the pointer and as its writer say."""
    expected = outputs_of(int(pointer.run.removeprefix("run-")), pointer.attempt)
    assert set(pointer.outputs) == set(expected)
    for name, output in pointer.outputs.items():
        assert {file.path for file in output.files} == set(expected[name])
        for file in output.files:
            data = store.read(f"{output.prefix}/{file.path}").data
            assert data == expected[name][file.path]
            assert hashlib.sha256(data).hexdigest() == file.sha256


def check_published(store: Store, *makers: tuple[int, int]) -> None:
    """See that the plain address holds the whole file of one of these attempts, or nothing yet."""
    blob = store.read(f"{data_partition_prefix(PIPELINE, 'scores', DAY)}/scores.bin")
    wholes = [outputs_of(*maker)["scores"]["scores.bin"] for maker in makers]
    assert (blob is None and len(makers) > 1) or blob.data in wholes


def read_record(store: Store, order: int, number: int = 1) -> Record | None:
    """Read an attempt's record, if it has one."""
    prefix = attempt_prefix(PIPELINE, DAY, f"run-{order}", STEP, number)
    blob = store.read(f"{prefix}/record.json")
    return Record.from_json(blob.data) if blob else None


if __name__ == "__main__":
    _serve(*sys.argv[1:])
