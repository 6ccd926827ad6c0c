"""What an address asks of a list: whatever is no sensible question is taken for none."""

from __future__ import annotations

from collections.abc import Iterable

from nightmill.review.visit import Visit

_MOST_PAGES = 100_000


def number_of(visit: Visit, name: str, default: int, *, most: int = _MOST_PAGES) -> int:
    """Return the whole number that the query holds, from 1 to `most`; else the default."""
    text = visit.query(name)
    given = int(text) if text.isascii() and text.isdigit() else 0
    return min(given, most) if given >= 1 else default


def one_of(visit: Visit, name: str, possible: Iterable[str]) -> str:
    """Return what the query holds if that is possible; else nothing."""
    text = visit.query(name)
    return text if text in possible else ""


def same_page(visit: Visit, name: str, **query: str | int | None) -> str:
    """Return the address of a page with all that this one was asked, changed by `query`."""
    given: dict[str, str | int | None] = {key: value for key, value in visit.given.items() if value}
    given |= query
    return visit.links.page(*filter(None, [name]), **given)
