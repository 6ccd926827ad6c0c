"""What an address asks of a list.

A number that makes no sense is taken for none. A name that is not known is not: whoever asks for
`state=broken` must not take all that there is for what failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

from starlette.exceptions import HTTPException

from nightmill.review.pages.fact import Fact
from nightmill.review.visit import Visit
from nightmill.spec.problems import shown

_Item = TypeVar("_Item")

_MOST_PAGES = 100_000
_NAMED = 30  # of the possible values


class Filtered(Fact):
    """A page that was asked for something; `not_understood` says what of it was left out."""

    not_understood: tuple[str, ...] = ()


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


def one_of(
    visit: Visit, name: str, possible: Iterable[str], unclear: list[str], *, hint: str = ""
) -> str:
    """Return what the query holds if that is possible; else nothing, and say so in `unclear`.

    Programs do not read that: for them it raises HTTPException 400.
    """
    text, known = visit.query(name).strip(), list(filter(None, map(str, possible)))
    if not text or text in known:
        return text
    more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
    named = f"Possible: {', '.join(known[:_NAMED])}{more}." if known else "There is none here."
    said = f"{name}={shown(text)} is not known here. {named}"
    said += f" {hint}" if hint else ""
    if visit.is_for_programs:
        raise HTTPException(400, said)
    unclear.append(said)
    return ""


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
