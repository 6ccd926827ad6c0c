"""What a notebook reported and the index does not keep: lists, mappings, and more than 100 metrics.

Only the record has them, so the newest one is read.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Self

from nightmill.errors import StoreError
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.nights import Nights
from nightmill.review.visit import Visit
from nightmill.spec.record import Record
from nightmill.spec.summary import METRICS_KEPT
from nightmill.spec.words import one_line, shortened
from nightmill.store.amend import read_record
from nightmill.store.index_line import Line

_NAMED = 20
_NAME_CHARACTERS = 200  # as summaries have it


class LeftOut(Fact):
    """Metrics of the newest attempt that the page does not show; `more` counts those not named.

    `address` leads to the run, which shows them.
    """

    names: tuple[str, ...]
    more: int
    address: str

    @classmethod
    def of(cls, visit: Visit, nights: Nights) -> Self | None:
        """Look at the newest attempt that has ended; None where its record tells of nothing."""
        line = _newest(nights)
        record = None
        with suppress(StoreError):  # the page is whole without this
            record = read_record(visit.site.store, line.prefix) if line else None
        names = _left_out(record) if record else []
        if line is None or not names:
            return None
        return cls(
            names=tuple(names[:_NAMED]),
            more=max(len(names) - _NAMED, 0),
            address=visit.links.run(line.prefix),
        )


def _newest(nights: Nights) -> Line | None:
    keys = ((partition, member) for partition in nights.partitions for member in nights.members)
    found = (nights.lines.get(key) for key in keys)
    return next((line for line in found if line and line.key), None)


def _left_out(record: Record) -> list[str]:
    single = [
        name
        for name, value in record.metrics.items()
        if isinstance(value, bool | int | float | str | None)
    ]
    kept = set(single[:METRICS_KEPT])
    names = (name for name in record.metrics if name not in kept)
    return [shortened(one_line(name), _NAME_CHARACTERS) for name in names]
