"""HTML tables read as data, and two of them by cell."""

from __future__ import annotations

import time

import pytest

from nightmill.review.compare.budget import Budget
from nightmill.review.compare.html_tables import (
    MAX_CHARACTERS,
    MAX_COLUMNS,
    MAX_ROWS,
    Html,
    read_html,
)
from nightmill.review.compare.model import Change
from nightmill.review.compare.tables import compare_tables


def frame(columns, rows):
    """Write a table as pandas does: labels of rows in <th>, a head with an empty corner."""
    head = "".join(f"<th>{name}</th>" for name in ["", *columns])
    body = "".join(
        f"<tr><th>{label}</th>{''.join(f'<td>{value}</td>' for value in values)}</tr>"
        for label, *values in rows
    )
    return f"<table border=1><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def polars(columns, rows):
    """Write a table as polars does: without labels of rows."""
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{v}</td>' for v in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def table(html):
    """Read the one table of some HTML."""
    (found,) = read_html(html).tables
    return found


def texts(rows):
    """Tell the rows of a table by their texts."""
    return [[cell.text for cell in row] for row in rows]


def difference(old, new, **options):
    """Compare two tables; tell the summary and each row by its change and cells."""
    found = compare_tables(table(old), table(new), Budget(), **options)
    rows = [
        (row.change.value, row.skipped or [(one.before, one.after) for one in row.cells])
        for row in found.rows
    ]
    return found.summary, rows


# -- reading --------------------------------------------------------------------------------------


def test_a_frame_is_read_with_its_labels():
    """Head, labels and cells come apart, entities and line breaks become plain text."""
    rows = [("x", "1&nbsp;2"), ("y", " <b>3</b>\n4 ")]
    found = read_html(f"<p>2 rows</p>{frame(['a &amp; b'], rows)}after")
    assert found.text == "2 rows\nafter"
    assert texts(found.tables[0].head) == [["", "a & b"]]
    assert texts(found.tables[0].body) == [["x", "1 2"], ["y", "3 4"]]
    assert [cell.is_label for cell in found.tables[0].body[0]] == [True, False]


def test_what_spans_rows_and_columns_is_repeated():
    """A label of several rows or columns stands in each of them, as a MultiIndex means it."""
    html = """<table><thead><tr><th></th><th></th><th colspan=2>day</th></tr></thead><tbody>
    <tr><th rowspan="2">JFK</th><th>am</th><td>1</td><td>2</td></tr>
    <tr><th>pm</th><td>3</td><td>4</td></tr></tbody></table>"""
    found = table(html)
    assert texts(found.head) == [["", "", "day", "day"]]
    assert texts(found.body) == [["JFK", "am", "1", "2"], ["JFK", "pm", "3", "4"]]


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr><td>1<tr><td>2",
        "<table><tr><td>1</td></tr><tr><td>2</td></tr></table></table></td></tr>",
        "<table><td>1</td><tr><td>2</table>",
        "<table><tr><td><table><tr><td>1</td></tr></table></td></tr><tr><td>2</td></tr></table>",
        "<table><tr><td colspan='99999999999999999999' rowspan=x>1</td></tr><tr><td>2</table>",
        "<table><tr><td><svg><td>1</td></svg>1</td></tr><tr><td>2<script></td>3</script></table>",
    ],
)
def test_broken_tables_are_read_as_browsers_do(html):
    """Ends that are missing or too many, and tables in tables, leave two rows."""
    assert texts(table(html).body) == [["1"], ["2"]]


@pytest.mark.parametrize(
    "piece",
    ["<", "<!--", "<a ", "</", "<?", "<![CDATA[", "&#", "<script", "<a b='", "<td", "<a\n", "<div>",
     "<table><tr><td>", "<b><i>", "<svg><title>", "<td rowspan=9>"],
)  # fmt: skip
def test_no_html_takes_long(piece):
    """Markup that is quadratic for simple parsers is read in time, or told to be too deep."""
    began = time.process_time()
    read_html(piece * (MAX_CHARACTERS // len(piece)))
    assert time.process_time() - began < 10  # a parser that is quadratic here takes minutes


def test_html_that_is_too_deep_is_not_read():
    """Thousands of elements inside each other are none that somebody looks at."""
    assert read_html("<div>" * 5000 + "text") == Html("", (), is_cut=True)


def test_what_nobody_sees_is_not_read():
    """Scripts, styles and drawings are no text."""
    html = "<style>p {}</style><script>a<b</script><svg><text>no</text></svg><p>yes</p>"
    assert read_html(html).text == "yes"


def test_a_huge_table_is_cut():
    """What is read is bounded in rows and columns, spans included, and says so."""
    rows = [(at, *range(100)) for at in range(1000)]
    found = table(frame([f"c{at}" for at in range(100)], rows))
    assert (len(found.body), len(found.body[0]), found.is_cut) == (MAX_ROWS, MAX_COLUMNS, True)
    wide = table(f"<table>{'<tr><td colspan=1000 rowspan=1000>x</td></tr>' * 5}</table>")
    assert max(map(len, wide.body)) == MAX_COLUMNS
    many = read_html("<table><tr><td>1</td></tr></table>" * 50)
    assert (len(many.tables), many.is_cut) == (10, True)


# -- comparing ------------------------------------------------------------------------------------


def test_cells_that_changed_are_told_in_their_rows():
    """Rows meet by label, wherever they stand; equal ones are counted."""
    old = frame(["auc", "n"], [("mon", 0.81, 10), ("tue", 0.82, 12), ("wed", 0.8, 9)])
    new = frame(["auc", "n"], [("mon", 0.81, 10), ("tue", 0.79, 12), ("wed", 0.8, 9)])
    summary, rows = difference(old, new)
    assert summary == "1 cell changed"
    changed = [("tue", "tue"), ("0.82", "0.79"), ("12", "12")]
    assert rows == [("same", 1), ("changed", changed), ("same", 1)]


def test_rows_that_came_or_went():
    """A label that only one side has is a row added or removed."""
    old = frame(["n"], [("a", 1), ("b", 2)])
    new = frame(["n"], [("b", 2), ("c", 3)])
    summary, rows = difference(old, new)
    assert summary == "1 row added, 1 row removed"
    assert rows == [
        ("removed", [("a", None), ("1", None)]),
        ("same", 1),
        ("added", [(None, "c"), (None, "3")]),
    ]


def test_a_new_column_changes_no_row():
    """A column that came is told once; the rows that are else equal stay equal."""
    old = frame(["n"], [("a", 1), ("b", 2)])
    new = frame(["m", "n"], [("a", 7, 1), ("b", 8, 2)])
    found = compare_tables(table(old), table(new), Budget())
    assert found.summary == "1 column added"
    assert [(one.after, one.change) for one in found.columns] == [
        ("", Change.SAME), ("m", Change.ADDED), ("n", Change.SAME),
    ]  # fmt: skip
    assert [row.skipped for row in found.rows] == [2]


def test_a_table_without_labels_meets_by_row_then_by_place():
    """A row that moved up is the same one, an edited one is held against that in its place."""
    old = polars(["k", "n"], [("a", 1), ("b", 2), ("c", 3)])
    assert difference(old, polars(["k", "n"], [("b", 2), ("c", 3)]))[0] == "1 row removed"
    summary, rows = difference(old, polars(["k", "n"], [("a", 1), ("b", 5), ("c", 3)]))
    assert summary == "1 cell changed"
    assert rows[1] == ("changed", [("b", "b"), ("2", "5")])


def test_labels_that_come_twice_meet_in_their_order():
    """The second row of a label is held against the second."""
    old = frame(["n"], [("a", 1), ("a", 2)])
    summary, rows = difference(old, frame(["n"], [("a", 1), ("a", 9)]), whole=True)
    assert summary == "1 cell changed"
    assert [change for change, _cells in rows] == ["same", "changed"]


def test_several_rows_of_a_head_make_one_name():
    """The name of a column is all that stands over it."""
    head = "<thead><tr><th></th><th colspan=2>x</th></tr><tr><th>k</th><th>a</th><th>b</th></tr>"
    html = f"<table>{head}</thead><tbody><tr><th>r</th><td>1</td><td>2</td></tr></tbody></table>"
    found = compare_tables(table(html), table(html), Budget())
    assert [one.after for one in found.columns] == ["k", "x / a", "x / b"]


def test_only_one_side_has_the_table():
    """A table that came has only added columns and rows."""
    found = compare_tables(None, table(frame(["n"], [("a", 1)])), Budget())
    assert found.summary == "1 row added, 2 columns added"
    assert [row.change for row in found.rows] == [Change.ADDED]


def test_ragged_rows_are_held_against_each_other():
    """A cell that a row does not have is told as added or removed there."""
    old, new = "<table><tr><td>1</td></tr>", "<table><tr><td>1</td><td>2</td></tr>"
    summary, rows = difference(f"{old}</table>", f"{new}</table>")
    assert summary == "1 column added"
    assert rows == [("same", 1)]


def test_tables_keep_to_the_budget():
    """What the budget does not reach is told as such; what no longer fits is at least counted."""
    old, new = (table(frame(["n"], [(at, at * by) for at in range(100)])) for by in (1, 2))
    assert "open both notebooks" in compare_tables(old, new, Budget(work=100)).cut
    full = compare_tables(old, new, Budget(pieces=150))
    assert (full.rows, full.summary) == ((), "99 cells changed")
    cut = compare_tables(table(frame(["n"], [(at, at) for at in range(400)])), new, Budget())
    assert cut.cut == "only the first 300 rows and 60 columns were compared"
