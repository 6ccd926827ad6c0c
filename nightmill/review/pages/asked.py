"""What an address asks of a list: whatever is no sensible question is taken for none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

from nightmill.review.visit import Visit

_Item = TypeVar("_Item")

_MOST_PAGES = 100_000


@dataclass(frozen=True)
class Paged(Generic[_Item]):
    """One page of a list: `begin` items come before it, and `left` after it.

    `before` and `after` are the addresses of the pages there, None where there is none.
    """

    items: Sequence[_Item]
    begin: int
    left: int
    before: str | None
    after: str | None


def number_of(visit: Visit, name: str, default: int, *, most: int = _MOST_PAGES) -> int:
    """Return the whole number that the query holds, from 1 to `most`; else the default."""
    text = visit.query(name)
    given = int(text) if text.isascii() and text.isdigit() else 0
    return min(given, most) if given >= 1 else default


def one_of(visit: Visit, name: str, possible: Iterable[str]) -> str:
    """Return what the query holds if that is possible; else nothing."""
    text = visit.query(name)
    return text if text in possible else ""


def page_of(visit: Visit, items: Sequence[_Item], most: int) -> Paged[_Item]:
    """Choose the page that is asked for, of so many items: beyond the end it is the last one."""
    number = min(number_of(visit, "page", 1), max(ceil(len(items) / most), 1))
    begin, end = (number - 1) * most, number * most
    left = max(len(items) - end, 0)
    return Paged(
        items=items[begin:end],
        begin=begin,
        left=left,
        before=same_page(visit, page=number - 1) if number > 1 else None,
        after=same_page(visit, page=number + 1) if left else None,
    )


def same_page(visit: Visit, **query: str | int | None) -> str:
    """Return the address of this page with all that it was asked, changed by `query`."""
    given = {name: value for name, value in visit.given.items() if value}
    return visit.links.at(visit.path.partition("?")[0], **{**given, **query})
