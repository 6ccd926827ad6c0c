"""What somebody is shown whose form was refused: the way back to its run, and what they wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from nightmill.review.html import Trouble
from nightmill.review.links import RUN_PARTS, Links
from nightmill.review.views import read_form
from nightmill.review.visit import base_of, prefix_in
from nightmill.spec.names import label
from nightmill.store.keys import decode, encode

_WRITTEN = ("text", "comment")
_OURS = (None, "same-origin", "none")  # another site's text is not shown as if it were one's own


@dataclass(frozen=True)
class RefusedForm(Trouble):
    """Trouble with a form: `back` is where it stood, `written` what somebody wrote into it."""

    back: str = ""
    written: str = ""


def review_anchor(name: str, attempt: int) -> str:
    """Name the place on a run's page where the review of an attempt stands."""
    return f"review-{encode(name)}-{attempt}"


def page_of_form(request: Request) -> str:
    """Return the address of the run that a form is about; empty where it names none."""
    parts = {name: str(value) for name, value in request.path_params.items()}
    if "" in parts.values() or not parts.keys() >= set(RUN_PARTS):
        return ""
    page = Links(base_of(request)).run(prefix_in(parts))
    if "attempt" not in parts:
        return f"{page}#notes"
    name = label(decode(parts["step"]), decode(parts.get("member", "")))
    return f"{page}#{review_anchor(name, int(parts['attempt']))}"


async def with_way_back(request: Request, trouble: Trouble) -> Trouble:
    """Add to what is told of a form where it stood, and what was written into it."""
    is_form = request.method == "POST" or trouble.code == 405  # noqa: PLR2004 - one that was reloaded
    if not is_form:
        return trouble
    back = "" if trouble.code == 404 else page_of_form(request)  # noqa: PLR2004 - there is no run
    return RefusedForm(**asdict(trouble), back=back, written=await _written(request))


async def _written(request: Request) -> str:
    if request.method != "POST" or request.headers.get("sec-fetch-site") not in _OURS:
        return ""
    try:
        form = await read_form(request)
    except (HTTPException, ClientDisconnect, RuntimeError):  # too long, or nobody listens
        return ""
    return next((form[name] for name in _WRITTEN if form.get(name)), "")
