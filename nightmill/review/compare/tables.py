"""Two tables of an output by cell: rows meet by their labels, columns by their names.

A table without row labels (as polars writes it) is held against the other by whole rows first, then
by place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nightmill.review.compare.budget import Budget
from nightmill.review.compare.html_tables import MAX_COLUMNS, MAX_ROWS, Row, Table
from nightmill.review.compare.lines import NO_BUDGET
from nightmill.review.compare.model import Change, TableCell, TableChange, TableRow, change_of
from nightmill.review.compare.pairs import in_order, pair

_LEFT_OUT = f"only the first {MAX_ROWS} rows and {MAX_COLUMNS} columns were compared"

Places = tuple[int | None, int | None]
_Texts = Mapping[int, str]


@dataclass(frozen=True)
class _Placed:
    place: int
    row: Row


def compare_tables(
    before: Table | None, after: Table | None, budget: Budget, *, whole: bool = False
) -> TableChange:
    """Compare two tables within the budget; with `whole`, rows that are equal are told as well."""
    sides = (before or Table(), after or Table())
    heads = [_names(side) for side in sides]
    if not budget.allows(sum(len(side.body) for side in sides) * max(map(len, heads), default=0)):
        return TableChange(cut=NO_BUDGET)
    columns = list(in_order(pair(heads[0], heads[1], lambda name: name), *map(len, heads)))
    rows = [_row(places, sides, columns) for places in _rows(*sides)]
    shown = rows if whole else list(_with_gaps(rows))
    if not budget.shows(len(shown) * len(columns)):
        return TableChange(summary=_summary(rows, columns), cut=NO_BUDGET)
    names = [dict(enumerate(head)) for head in heads]
    return TableChange(
        columns=tuple(_cell(places, names, is_label=True) for places in columns),
        rows=tuple(shown),
        summary=_summary(rows, columns),
        cut=_LEFT_OUT if any(side.is_cut for side in sides) else "",
    )


def _names(table: Table) -> list[str]:
    """Name the columns by the rows of the head, or by their number where it has none."""
    rows = table.head
    width = max((len(row) for row in (*rows, *table.body)), default=0)
    names = [
        " / ".join(dict.fromkeys(row[at].text for row in rows if at < len(row) and row[at].text))
        for at in range(width)
    ]
    return names if rows else [f"column {at + 1}" for at in range(width)]


def _rows(before: Table, after: Table) -> Iterator[Places]:
    sides = [[_Placed(at, row) for at, row in enumerate(side.body)] for side in (before, after)]
    pairs = pair(sides[0], sides[1], _label, _content, _place)
    return in_order(pairs, len(before.body), len(after.body))


def _label(item: _Placed) -> tuple[str, ...] | None:
    labels = tuple(cell.text for cell in item.row if cell.is_label)
    return labels or None


def _content(item: _Placed) -> tuple[str, ...] | None:
    return None if _label(item) else tuple(cell.text for cell in item.row)


def _place(item: _Placed) -> int | None:
    return None if _label(item) else item.place


def _row(places: Places, sides: tuple[Table, Table], columns: Sequence[Places]) -> TableRow:
    rows = [
        () if place is None else side.body[place] for place, side in zip(places, sides, strict=True)
    ]
    texts = [dict(enumerate(cell.text for cell in row)) for row in rows]
    labels = {at for at, cell in enumerate(rows[1] or rows[0]) if cell.is_label}
    own = 1 if rows[1] else 0
    cells = [_cell(column, texts, is_label=column[own] in labels) for column in columns]
    if None in places:
        return TableRow(change=change_of(*places), cells=tuple(cells))
    # A column that came or went is told once, above; it does not make every row another one.
    is_changed = any(cell.change is Change.CHANGED for cell in cells)
    return TableRow(change=Change.CHANGED if is_changed else Change.SAME, cells=tuple(cells))


def _cell(places: Places, texts: Sequence[_Texts], *, is_label: bool) -> TableCell:
    before, after = (
        None if place is None else side.get(place)
        for place, side in zip(places, texts, strict=True)
    )
    return TableCell(change=change_of(before, after), before=before, after=after, is_label=is_label)


def _with_gaps(rows: Sequence[TableRow]) -> Iterator[TableRow]:
    skipped = 0
    for row in rows:
        if row.change is Change.SAME:
            skipped += 1
            continue
        if skipped:
            yield TableRow(change=Change.SAME, skipped=skipped)
            skipped = 0
        yield row
    if skipped:
        yield TableRow(change=Change.SAME, skipped=skipped)


def _summary(rows: Sequence[TableRow], columns: Sequence[Places]) -> str:
    cells = sum(cell.change is Change.CHANGED for row in rows for cell in row.cells)
    parts = [_counted(cells, "cell", "changed")]
    for change in (Change.ADDED, Change.REMOVED):
        parts.append(_counted(sum(row.change is change for row in rows), "row", change))
        parts.append(
            _counted(sum(change_of(*places) is change for places in columns), "column", change)
        )
    return ", ".join(part for part in parts if part)


def _counted(count: int, noun: str, what: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'} {what}" if count else ""
