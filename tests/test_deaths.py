"""Every way to die that this machine can make, for real; afterwards everything tells one truth."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest

from nightmill.spec.record import SCHEMA_FILE
from tests.deaths.here import run_here
from tests.deaths.surroundings import Ground
from tests.deaths.table import HERE
from tests.deaths.way import authors_cells, states_of

RECORDED = [way for way in HERE if way.recorded]
BY_ITSELF = [way for way in HERE if not way.mended_by]
AT_ONCE = 2  # CI has two cores; most of a death is the start of a kernel
LARGEST_NOTEBOOK = 10 << 20


@pytest.fixture(scope="module")
def deaths(request, make_project, tmp_path_factory, s3_server):
    """Start to die in every way that is asked for, a few at a time, and return what is awaited."""
    asked = [item.callspec.params["way"] for item in request.session.items if is_a_death(item)]
    grounds = [Ground(tmp_path_factory.mktemp(way.name), s3_server) for way in asked]
    projects = [make_project() for _way in asked]
    pool = ThreadPoolExecutor(AT_ONCE)
    yield {
        way.name: pool.submit(run_here, way, project, ground)
        for way, project, ground in zip(asked, projects, grounds, strict=True)
    }
    pool.shutdown(cancel_futures=True)


def is_a_death(item) -> bool:
    """Whether a collected test is one of this file's deaths."""
    return getattr(item, "originalname", "") == test_a_way_to_die.__name__


@pytest.mark.parametrize("way", HERE, ids=str)
def test_a_way_to_die(way, deaths):
    """Cause, exit code and retry are right; record, notebook and pointer say the same, and true."""
    seen = deaths[way.name].result()
    told = {"exit": seen.exit, "left": seen.left, **told_by_store(way, seen)}
    assert told == {"exit": way.fate.exit, "left": (), **expected_of_store(way)}, seen.said


def expected_of_store(way) -> dict:
    """Say what must be in the store."""
    if not way.recorded:
        return {"record": None, "notebook": None, "pointer": None}
    return {
        "state": "failed" if way.cause else "succeeded",
        "ended": True,
        "cause": way.cause,
        "retry": way.fate.retry,
        "cell": way.cell,
        "evidence": set(way.evidence),
        "warned": True,
        "amended": bool(way.mended_by),
        "committed": way.cause is None,
        "pointer": way.cause is None,
        "cells of the record": list(way.states),
        "cells of the notebook": list(way.states),
        "notebook is named": way.states != (),
        "error in the cell": way.cell is not None,
        "claims": "proven",
    }


def told_by_store(way, seen) -> dict:
    """Say what is in the store; what the cells said of themselves is put beside it."""
    if seen.record is None:
        return {"record": None, "notebook": seen.notebook, "pointer": seen.pointer}
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_bytes())).validate(seen.record)
    record, failure = seen.record, seen.record["failure"] or {}
    known = {**record["evidence"], **failure.get("evidence", {})}
    cells = authors_cells(seen.notebook)
    states = [cell["state"] for cell in record["cells"] if not cell["injected"]]
    failing = cells[failure["cell"] - 1] if failure.get("cell") and cells else {"outputs": []}
    return {
        "state": record["state"],
        "ended": bool(record["ended_at"]),
        "cause": failure.get("cause"),
        "retry": failure.get("retry", ""),
        "cell": failure.get("cell"),
        "evidence": {name for name in way.evidence if known.get(name)},
        "warned": way.warns in "\n".join(record["warnings"]),
        "amended": bool(record["amendments"]),
        "committed": record["committed"],
        "pointer": seen.pointer is not None,
        "cells of the record": states,
        "cells of the notebook": states_of(seen.notebook),
        "notebook is named": record["notebook"] is not None,
        "error in the cell": "error" in [one["output_type"] for one in failing["outputs"]],
        "claims": judge_claims(
            way, seen, [c["state"] for c in record["cells"] if not c["injected"]]
        ),
    }


def judge_claims(way, seen, states) -> str:
    """Compare the cells called completed with those that told of their end themselves."""
    claimed = {n for n, state in enumerate(states, 1) if state == "completed"} - set(way.silent)
    proven = set(seen.proven)
    is_true = claimed <= proven if way.forgets else claimed == proven
    return "proven" if is_true else f"claimed {claimed}, proven {proven}"


@pytest.mark.parametrize("way", [way for way in RECORDED if way in BY_ITSELF], ids=str)
def test_the_last_words(way, deaths):
    """Log and termination message end with the cause that the record has."""
    seen = deaths[way.name].result()
    assert seen.result["state"] == seen.record["state"]
    assert seen.result["cause"] == way.cause
    assert (way.cause or "succeeded") in seen.said.splitlines()[-1]


@pytest.mark.parametrize("way", RECORDED, ids=str)
def test_the_notebook_can_be_opened(way, deaths):
    """Whatever happened, the executed notebook is small enough for a browser."""
    assert len(json.dumps(deaths[way.name].result().notebook)) < LARGEST_NOTEBOOK


@pytest.mark.parametrize("way", BY_ITSELF, ids=str)
def test_nothing_stays_on_the_local_disk(way, deaths):
    """What ended by itself has given everything to the store and cleared the local disk."""
    assert deaths[way.name].result().scratch == ()


@pytest.mark.parametrize("way", [way for way in HERE if way.mended_by == "amend"], ids=str)
def test_what_no_store_took_stays_on_the_local_disk(way, deaths):
    """Work of hours that no store took is kept, and the log says in which folder."""
    seen = deaths[way.name].result()
    assert seen.scratch
    assert all(name in seen.said for name in seen.scratch)
