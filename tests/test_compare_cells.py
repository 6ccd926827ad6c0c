"""Which cell is which in two notebooks, and which of them a reader has to look at."""

from __future__ import annotations

import json

import pytest

from nightmill.review.compare.budget import Budget
from nightmill.review.compare.cells import compare_cells, count, pair_cells
from nightmill.review.compare.compare import MAX_SHOWN_CELLS, Side, compare
from nightmill.review.compare.contents import read_cells
from nightmill.review.compare.model import Change, Counts
from nightmill.review.compare.pairs import in_order, moved, pair
from tests.compared import cells_of, code, markdown, printed, record, shown, side


def changes(before, after):
    """Tell of each cell that differs its source's first word on both sides, and how."""
    found = compare_cells(cells_of(*before), cells_of(*after), Budget())
    return [(one.number_before, one.number_after, one.source.value) for one in found if one.differs]


def test_what_is_equal_is_not_told():
    """Two equal notebooks have cells, and none of them differs."""
    cells = [markdown("# Title"), code("a = 1", printed("1")), code("b = 2")]
    found = compare(side(cells), side(cells))
    assert found.cells == ()
    assert found.counts == Counts(cells=3)


@pytest.mark.parametrize("ids", [True, False], ids=["with ids", "without ids"])
def test_a_new_cell_on_top_shifts_nobody(ids):
    """Cells keep their partners when one is put before them, with ids or without."""
    named = [(f"x{at} = load({at})", f"id{at}" if ids else None) for at in range(5)]
    old = [code(source, cell=name) for source, name in named]
    assert changes(old, [code("import os", cell="new" if ids else None), *old]) == [
        (None, 1, "added")
    ]
    assert changes(old, old[:2] + old[3:]) == [(3, None, "removed")]


def test_ids_made_anew_do_no_harm():
    """Where ids are counted or made anew in every run, cells are found by their source."""
    old = [code(f"step_{at}()", cell=f"c{at}") for at in range(4)]
    new = [
        code("first()", cell="c0"),
        *(code(f"step_{at}()", cell=f"c{at + 1}") for at in range(4)),
    ]
    assert changes(old, new) == [(None, 1, "added")]


def test_a_changed_cell_keeps_its_partner():
    """An edited cell is the same one by its id, or by what it says, and is shown by line."""
    old = [code("a = 1", cell="a"), code("rows = load(day)\nrows = rows[rows.x > 0]", cell="b")]
    new = [code("a = 1", cell="a"), code("rows = load(day)\nrows = rows[rows.x > 5]", cell="b")]
    bare = [[code(one["source"]) for one in cells] for cells in (old, new)]
    for before, after in [(old, new), bare]:
        (cell,) = compare(side(before), side(after)).cells
        assert (cell.number_before, cell.number_after, cell.source) == (2, 2, Change.CHANGED)
        told = [(line.kind, "".join(span.text for span in line.spans)) for line in cell.lines.lines]
        assert told == [
            ("same", "rows = load(day)"),
            ("removed", "rows = rows[rows.x > 0]"),
            ("added", "rows = rows[rows.x > 5]"),
        ]
        assert [[s.text for s in line.spans if s.marked] for line in cell.lines.lines[1:]] == [
            ["0"],
            ["5"],
        ]


def test_cells_that_have_nothing_in_common_are_two():
    """A cell in the place of another one is added, the other removed."""
    old = [code("a = 1"), code("model.fit(features, target)"), code("b = 2")]
    new = [code("a = 1"), code("print('hello there')"), code("b = 2")]
    assert changes(old, new) == [(2, None, "removed"), (None, 2, "added")]


def test_a_moved_cell_is_told_as_moved():
    """Code that runs in another order differs, though no line of it does; the fewest are told."""
    cells = [code(f"step_{at}()") for at in range(5)]
    found = compare_cells(cells_of(*cells), cells_of(cells[4], *cells[:4]), Budget())
    assert [(one.number_after, one.moved, one.source) for one in found if one.differs] == [
        (1, True, Change.SAME)
    ]
    assert count(found).source == 1


def test_kinds_of_cells_never_mix():
    """Text is no code, even with the same id and source."""
    assert changes([markdown("x = 1", cell="a")], [code("x = 1", cell="a")]) == [
        (1, None, "removed"),
        (None, 1, "added"),
    ]


def test_what_papermill_adds_is_no_cell():
    """The injected cell holds parameters, which are told as such; banners of errors say nothing."""
    injected = code("day = '2013-01-02'", number=2)
    injected["metadata"]["tags"] = ["injected-parameters"]
    banner = markdown("An exception was encountered")
    found = cells_of(code("day = ''", number=2), injected, banner, code("run()", number=3))
    assert [(cell.number, cell.source) for cell in found] == [(2, "day = ''"), (3, "run()")]


def test_cells_of_other_hands_are_survived():
    """What is no cell is passed over, and what is no notebook is none."""
    odd = {"cells": [7, {"cell_type": "code", "source": ["a\n", 3, "b"], "outputs": {"x": 1}}, {}]}
    found = read_cells(json.dumps(odd).encode())
    assert [(one.kind, one.source) for one in found] == [("code", "a\nb"), ("raw", "")]
    assert read_cells(b"[]") is read_cells(b"{") is read_cells(b"[" * 10_000) is None


def test_only_the_later_or_earlier_notebook():
    """Where a side has no notebook that can be read, that is said and no cell is told."""
    found = compare(side([code("a")]), Side(record(), None, "is too large"))
    assert found.cells == ()
    assert found.notes == ("cells are not compared: this attempt is too large",)


def test_five_thousand_cells_are_paired_in_linear_time():
    """Every cell is looked at a few times, whatever moved: no pair of cells is tried for all."""
    asked = 0

    def key(item):
        nonlocal asked
        asked += 1
        return item

    items = list(range(5000))
    assert pair(items, items[::-1], key) == {at: 4999 - at for at in range(5000)}
    assert asked == 10_000
    old = [code(f"x = {at}") for at in range(5000)]
    new = [code(f"x = {at}") for at in range(5000, 10_000)]
    budget = Budget(deadline_s=60)
    assert len(pair_cells(cells_of(*old), cells_of(*new))) == 5000
    found = compare(side(old), side(new), budget=budget)
    assert len(found.cells) == MAX_SHOWN_CELLS
    assert found.notes == (f"{5000 - MAX_SHOWN_CELLS:,} more cells are not shown",)
    assert budget.spent <= budget.work


def test_the_first_of_equals_goes_to_the_first():
    """Equal items are paired in their order, and one too many is left over."""
    assert pair("xax", "xxax", lambda one: one) == {0: 0, 1: 2, 2: 1}
    assert pair([1, 2], [2, 3], lambda _one: None) == {}


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ({}, set()),
        ({0: 0, 1: 1}, set()),
        ({0: 3, 1: 0, 2: 1, 3: 2}, {0}),
        ({0: 1, 1: 2, 2: 3, 3: 0}, {3}),
        ({1: 5, 4: 2, 6: 9}, {1}),
    ],
)
def test_as_few_as_explain_it_have_moved(pairs, expected):
    """All others stand in the order in which they stood."""
    assert moved(pairs) == expected


def test_what_is_gone_stands_beside_what_it_followed():
    """Places go on in the later order, the gone ones after the partner of the one before them."""
    assert list(in_order({0: 1, 2: 3}, 5, 3)) == [
        (0, None),
        (1, 0),
        (2, None),
        (None, 1),
        (3, 2),
        (4, None),
    ]


def test_all_cells_are_told_on_request():
    """With `whole` the equal ones are there too, and so are outputs that are the same."""
    cells = [code("a", printed("1")), code("b")]
    found = compare(side(cells), side(cells), whole=True)
    assert [(one.number_after, one.source, len(one.outputs)) for one in found.cells] == [
        (1, Change.SAME, 1),
        (2, Change.SAME, 0),
    ]


def test_an_output_that_came_is_told_as_such():
    """A cell that shows something for the first time has outputs added, not changed."""
    bare, full = [code("a", cell="a")], [code("a", shown(text_plain="1"), cell="a")]
    kinds = [compare(side(one), side(other)).cells[0].outputs_change for one, other in
             [(bare, full), (full, bare)]]  # fmt: skip
    assert kinds == [Change.ADDED, Change.REMOVED]


def test_what_a_failed_attempt_never_came_to_has_no_lost_outputs():
    """After a failure cells did not run: that is said once, and no output of theirs is missing."""
    old = [code(f"step_{at}()", printed("x"), number=at) for at in range(1, 4)]
    new = [
        code(f"step_{at}()", *([printed("x")] if at == 1 else []), number=at) for at in (1, 2, 3)
    ]
    for cell in new[1:]:
        cell["metadata"]["nightmill"]["state"] = "not_run"
    for before, after in [(old, new), (new, old)]:
        found = compare(side(before), side(after))
        assert found.cells == ()
        assert found.counts.ran_once == 2
    assert compare(side(new), side(new)).counts.ran_once == 0


def test_the_sources_of_a_budget_come_first():
    """Where not everything can be shown, sources are, and outputs are told to differ."""
    long = "\n".join(f"line {at}" for at in range(300))
    old = [code("x = 1\ny = 2", printed(long), cell="a")]
    new = [code("x = 1\ny = 3", printed(long.upper()), cell="a")]
    found = compare(side(old), side(new), budget=Budget(work=200))
    (cell,) = found.cells
    assert [line.kind for line in cell.lines.lines] == ["same", "removed", "added"]
    (output,) = cell.outputs
    assert output.change is Change.CHANGED
    assert "open both notebooks" in output.text.cut


def test_the_clock_ends_the_work_too():
    """After the deadline nothing more is taken apart, however cheap."""
    times = iter([0.0, 0.1, *[99.0] * 50])
    budget = Budget(clock=lambda: next(times))
    assert budget.allows(1)
    assert not budget.allows(1)
