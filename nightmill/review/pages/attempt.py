"""An attempt and its executed notebook.

The page is ours; the notebook in its frame is a document of its own in an opaque origin, which may
run nothing, load nothing from elsewhere and is given no cookie. What is too large to be in it is
loaded by signed addresses.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import AwareDatetime
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from nightmill.review.commands import Command, replays
from nightmill.review.confined import require_inside
from nightmill.review.links import RUNS, Links
from nightmill.review.pages.decide import DecisionView, decision_of
from nightmill.review.pages.fact import LISTED, Fact, line
from nightmill.review.pages.live import LiveView, live_of
from nightmill.review.pages.no_longer import NoLonger, no_longer_of
from nightmill.review.pages.now_current import NowCurrent
from nightmill.review.pages.run_findings import FailureFact, failures_of
from nightmill.review.pages.stored import no_record, notebook_at, part_addresses, record_at
from nightmill.review.render import (
    POLICY,
    VERSION,
    NotebookPage,
    asset_of,
    render,
    render_too_large,
)
from nightmill.review.rendered import Rendered, Streamed
from nightmill.review.signing import ASSET_S, RENEWED_S
from nightmill.review.site import Site
from nightmill.review.views import ATTEMPT, Document, Part, View
from nightmill.review.visit import Visit, prefix_in
from nightmill.spec.record import AttemptState, Record
from nightmill.spec.summary import Standing
from nightmill.store.amend import read_progress
from nightmill.store.interface import Entry, Store
from nightmill.store.keys import NOTEBOOK, RECORD, decode

SANDBOX = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'self'",
    # The document has no origin, so to the browser everything it loads is another site's.
    "cross-origin-resource-policy": "cross-origin",
}

_NONE = "This attempt has left no executed notebook."
_OTHERS = 20
_RENDERED = Rendered()


class OtherAttempt(Fact):
    """Another attempt at the same step in the same run."""

    attempt: int
    address: str


class AttemptPage(Fact):
    """One attempt: how it stands, why, and where its notebook is; `state` knows of silence, too.

    `no_longer` is there where what it made was current, and something else is now.
    """

    pipeline: str
    partition: str
    run: str
    step: str
    member: str
    attempt: int
    label: str
    zone: str
    standing: Standing
    state: str
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    duration_s: float | None
    peak_bytes: int | None
    limit_bytes: int | None
    pool: str | None
    failure: FailureFact | None
    warnings: tuple[str, ...]
    warnings_left_out: int
    notebook: str | None
    notebook_bytes: int | None
    frame: str | None
    run_page: str
    compare_page: str
    others: tuple[OtherAttempt, ...]
    commands: tuple[Command, ...]
    live: LiveView
    decision: DecisionView | None
    no_longer: NoLonger | None


def attempt_page(visit: Visit) -> AttemptPage:
    """Tell everything about the attempt that the address names."""
    store, prefix, links = visit.site.store, visit.prefix, visit.links
    record, notebook = record_at(store, prefix), notebook_at(store, prefix)
    progress = read_progress(store, prefix) if record.state is AttemptState.RUNNING else None
    cell = record.failure.cell if record.failure else None
    memory = record.memory
    live = live_of(visit, record, progress)
    return AttemptPage(
        **record.model_dump(include=_SHOWN),
        failure=next(iter(failures_of(visit, [record])), None),
        warnings=tuple(map(line, record.warnings[:LISTED])),
        warnings_left_out=max(len(record.warnings) - LISTED, 0),
        label=record.label,
        zone=visit.site.specs.zone_of(record),
        standing=Standing.of(record),
        state=next((one.state for one in live.attempts), Standing.of(record).value),
        peak_bytes=memory.peak_bytes if memory else None,
        limit_bytes=memory.limit_bytes if memory else None,
        notebook=store.address(f"{prefix}/{NOTEBOOK}") if notebook else None,
        notebook_bytes=notebook and notebook.size,
        frame=links.attempt("notebook", prefix, cell=cell) if notebook else None,
        run_page=links.run(prefix),
        compare_page=links.attempt("compare", prefix),
        others=_others(store, links, prefix),
        commands=tuple(replays(record)),
        live=live,
        decision=decision_of(visit, record),
        no_longer=_no_longer(visit, record),
    )


_SHOWN = {
    "pipeline", "partition", "run", "step", "member", "attempt", "started_at", "ended_at",
    "duration_s", "pool",
}  # fmt: skip


def _no_longer(visit: Visit, record: Record) -> NoLonger | None:
    """Tell what is current instead; of an attempt that never was current nobody asks."""
    if not record.committed:
        return None
    return next(iter(no_longer_of(visit, [record], NowCurrent.beside(visit, record))), None)


def notebook_document(visit: Visit) -> Response:
    """Send the executed notebook as a document that can do nothing."""
    site, prefix = visit.site, visit.prefix
    record, notebook = record_at(site.store, prefix), notebook_at(site.store, prefix)
    if notebook is None:
        raise HTTPException(404, _NONE)
    require_inside(site.store, notebook.key)
    page = _notebook_page(visit, record)
    if notebook.size > page.limits.notebook_bytes:  # it is not even read: it would fill the memory
        return Streamed(render_too_large(notebook.size, page), 413, SANDBOX, "text/html")
    made = _made(site.store, prefix, page)
    is_over = record.state is not AttemptState.RUNNING
    chunks = _RENDERED.document(_key(visit, record, notebook), made) if is_over else made
    return Streamed(chunks, media_type="text/html", headers=SANDBOX)


def _made(store: Store, prefix: str, page: NotebookPage) -> Iterator[str]:
    blob = store.read(f"{prefix}/{NOTEBOOK}")  # gone since it was looked at: that is told, too
    yield from render(blob.data if blob else b"", page)


def _key(visit: Visit, record: Record, notebook: Entry) -> str:
    """Name all that a document depends on; its signed addresses are those of an hour."""
    hour = int(time.time() // RENEWED_S)
    stamp = (notebook.size, notebook.modified.isoformat())
    facts = (
        visit.site.store.url,
        visit.prefix,
        visit.links.base,
        *stamp,
        len(record.amendments),
        VERSION,
        hour,
    )
    return "|".join(map(str, facts))


def part_of_notebook(site: Site, names: Mapping[str, str]) -> Response:
    """Send one large output of a notebook, for the document that holds the signed address."""
    cell, output, mimetype = int(names["cell"]), int(names["output"]), decode(names["mimetype"])
    found = asset_of(_data(site.store, prefix_in(names)), cell, output, mimetype)
    if found is None:
        raise HTTPException(404, "The notebook has no such output any more.")
    data, media_type = found
    # Its address changes with the document that holds it: a browser need not ask again.
    headers = {**SANDBOX, "cache-control": f"private, max-age={ASSET_S}"}
    return Response(data, media_type=media_type, headers=headers)


def download(visit: Visit) -> Response:
    """Send the executed notebook as a file."""
    store, key = visit.site.store, f"{visit.prefix}/{NOTEBOOK}"
    if notebook_at(store, visit.prefix) is None:
        raise HTTPException(404, _NONE)
    require_inside(store, key)
    path, task = store.local_path(key), None
    if path is None:  # of any size: not through memory
        path = _fetched(store, key)
        task = BackgroundTask(shutil.rmtree, path.parent)
    names = (visit.parts[one] for one in ("pipeline", "partition", "step", "attempt"))
    return FileResponse(
        path,
        media_type="application/x-ipynb+json",
        filename="-".join(names) + path.suffix,
        headers=SANDBOX,
        background=task,
    )


def _fetched(store: Store, key: str) -> Path:
    """Get a file into a folder of its own, which is for the caller to remove."""
    folder = Path(tempfile.mkdtemp(prefix="nightmill-download-"))
    try:
        store.get_file(key, folder / NOTEBOOK)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder / NOTEBOOK


def record_file(visit: Visit) -> Response:
    """Send the record as it is in the store."""
    require_inside(visit.site.store, f"{visit.prefix}/{RECORD}")
    blob = visit.site.store.read(f"{visit.prefix}/{RECORD}")
    if blob is None:
        raise no_record(visit.prefix)
    return Response(blob.data, media_type="application/json", headers=SANDBOX)


def _data(store: Store, prefix: str) -> bytes:
    require_inside(store, f"{prefix}/{NOTEBOOK}")
    blob = store.read(f"{prefix}/{NOTEBOOK}")
    if blob is None:
        raise HTTPException(404, _NONE)
    return blob.data


def _notebook_page(visit: Visit, record: Record) -> NotebookPage:
    return NotebookPage(
        title=f"{record.pipeline} {record.partition}: {record.label}",
        cells={one.number: one for one in record.cells if not one.injected},
        failing=record.failure.cell if record.failure else None,
        asset=part_addresses(visit, visit.prefix),
        timezone=visit.site.specs.zone_of(record),
        live=record.state is AttemptState.RUNNING,
    )


def _others(store: Store, links: Links, prefix: str) -> tuple[OtherAttempt, ...]:
    above, own = prefix.rsplit("/", 1)
    numbers = sorted(int(one) for one in store.children(above) if one.isdigit() and one != own)
    return tuple(
        OtherAttempt(attempt=one, address=links.attempt(RUNS, f"{above}/{one}"))
        for one in numbers[-_OTHERS:]
    )


ROUTES = (
    View(f"/runs/{ATTEMPT}", "attempt.html", attempt_page),
    Document(f"/notebook/{ATTEMPT}", notebook_document),
    Document(f"/download/{ATTEMPT}", download),
    Document(f"/record/{ATTEMPT}", record_file),
    Part(f"/part/{ATTEMPT}/{{cell:place}}/{{output:place}}/{{mimetype:part}}", part_of_notebook),
)
