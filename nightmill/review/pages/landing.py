"""Where the tabs of Airflow's own pages lead: from its ids to the page of what ran.

For the store each start of a run of Airflow is a run of its own, named `<run id>.<order>`; a tab
means the newest, of a task the newest that has it. Airflow counts the members of a step, we name
them: in the order of pipeline.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.responses import RedirectResponse, Response

from nightmill.review.html import show
from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact
from nightmill.review.views import Document
from nightmill.review.visit import Visit
from nightmill.store.index_line import Line
from nightmill.store.keys import encode

_RUN = "/airflow/{pipeline:plain}/{dag_run}"
_TASK = f"{_RUN}/{{task}}/{{map_index}}"
_COMPARED_CHARACTERS = 40


class Awaited(Fact):
    """A run or a task of Airflow of which no attempt has begun; `run_page` is that of others."""

    pipeline: str
    run: str
    task: str
    run_page: str | None


def run_tab(visit: Visit) -> Response:
    """Lead to the page of the newest run that a run of Airflow has become."""
    lines = _attempts(visit)
    return _lead(visit.links.run(lines[0].prefix)) if lines else _await(visit, "", lines)


def task_tab(visit: Visit) -> Response:
    """Lead to the newest attempt of a task; to the run where nobody knows which member it is.

    Where only some tasks of a run were cleared, the others are in the run that it was before.
    """
    lines, task = _attempts(visit), visit.parts["task"]
    attempts = [line for line in lines if line.step == task]
    if any(line.member for line in attempts):
        member = _member(visit, attempts)
        if member is None:
            return _lead(visit.links.run(attempts[0].prefix))
        attempts = [line for line in attempts if line.member == member]
    if not attempts:
        return _await(visit, task, lines)
    return _lead(visit.links.attempt(RUNS, attempts[0].prefix))


def _attempts(visit: Visit) -> Sequence[Line]:
    """Find what a run of Airflow has become: the newest run first, and in it the last attempt."""
    lines = visit.site.index.attempts(visit.name("pipeline"))
    return list(_of_run(lines, visit.parts["dag_run"]))


def _of_run(lines: Iterable[Line], run: str) -> Iterable[Line]:
    begin = run[:_COMPARED_CHARACTERS]  # spares most of thousands the encoding
    for line in lines:
        if line.run.startswith(begin):
            name = line.prefix.split("/")[3]  # as in keys: a long one is cut there
            if name == encode(f"{run}.{line.order}"):
                yield line


def _member(visit: Visit, attempts: Sequence[Line]) -> str | None:
    """Name the member that Airflow knows by a number; None where nobody knows it."""
    newest = attempts[0]
    summary = visit.site.index.summaries([newest]).get(newest.prefix)
    specs = visit.site.specs
    spec = specs.ran(newest.pipeline, summary.bundle if summary else None)
    spec = spec or specs.now().get(newest.pipeline)
    step = spec.steps.get(newest.step) if spec else None
    members = {str(number): member for number, member in enumerate(step.members if step else ())}
    return members.get(visit.parts["map_index"])


def _lead(address: str) -> Response:
    return RedirectResponse(address, status_code=303)


def _await(visit: Visit, task: str, lines: Sequence[Line]) -> Response:
    page = Awaited(
        pipeline=visit.name("pipeline"),
        run=visit.parts["dag_run"],
        task=task,
        run_page=visit.links.run(lines[0].prefix) if lines else None,
    )
    return Response(show("landing.html", visit, page), status_code=404, media_type="text/html")


ROUTES = (Document(_RUN, run_tab), Document(_TASK, task_tab))
