"""Templates: everything in them is escaped unless it was made safe by our own renderer."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nightmill import __version__
from nightmill.review import words
from nightmill.review.commands import terminal
from nightmill.spec.words import memory

if TYPE_CHECKING:
    from nightmill.review.links import Links
    from nightmill.review.visit import Visit

HERE = Path(__file__).parent
STATIC = HERE / "static"


def show(template: str, visit: Visit, page: Any) -> str:
    """Return a page: its template, with the facts as `page`."""
    return (
        environment()
        .get_template(template)
        .render(
            page=page, visit=visit, links=visit.links, user=visit.user, store=visit.site.store.url
        )
    )


@dataclass(frozen=True)
class Trouble:
    """What an error page says; `sign_in` is where it can be mended by signing in."""

    code: int
    title: str
    text: str
    advice: str = ""
    sign_in: str | None = None


def show_error(links: Links, trouble: Trouble) -> str:
    """Return a page that says what went wrong and what to do."""
    template = environment().get_template("error.html")
    return template.render(links=links, user=None, store="", **asdict(trouble))


@cache
def environment() -> Environment:
    """Return the one environment of all templates."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "amount": words.amount,
        "clock": words.clock,
        "counted": words.counted,
        "duration": words.duration,
        "memory": memory,
        "moment": words.moment,
        "number": words.number,
        "since": words.since,
    }
    made.globals |= {
        "now": lambda: datetime.now(UTC),
        "version": __version__,
        "stamp": static_stamp(),
        "terminal": terminal,
    }
    return made


@cache
def static_stamp() -> str:
    """Return a mark that changes with the files of `static`, so that browsers may keep them."""
    digest = hashlib.sha256()
    for file in sorted(STATIC.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]
