"""The text cells that lead a reader of an executed notebook to the place where it ended."""

from __future__ import annotations

import nbformat
import pytest

from nightmill.spec import executed
from nightmill.spec.banner import lead, text_cells
from tests.test_executed import code, notebook, text

CUT = notebook(text(1), code(2, "completed"), code(3, "interrupted"), code(4, "not_run"))


def sources(book: dict) -> list[str]:
    """Tell the source of each cell."""
    return [cell["source"] for cell in book["cells"]]


def test_a_reader_is_led_to_the_end():
    """The top says what happened and links to a cell right before the one that ended."""
    led = lead(CUT, "the node n1 was lost\nand more")
    top, _text, _second, anchor, third, _fourth = led["cells"]
    assert third == CUT["cells"][2]
    assert 'href="#papermill-error-cell">cell 3</a>: the node n1 was lost</span>' in top["source"]
    assert 'id="papermill-error-cell"' in anchor["source"]
    assert executed.describe_cells(led) == executed.describe_cells(CUT)
    nbformat.validate(nbformat.from_dict(led))


def test_what_led_to_another_end_is_replaced():
    """A reader is told one story: the first one's cells are gone when a better cause is known."""
    once = lead(CUT, "stopped by SIGTERM")
    again = lead(once, "drained")
    assert again == lead(CUT, "drained")
    assert lead(again, "drained") == again


def test_an_end_in_no_cell():
    """Where no cell was at work, only the top tells, and leads nowhere."""
    led = lead(notebook(code(1, "completed"), code(2, "not_run")), "killed")
    assert len(led["cells"]) == 3
    assert ">Did not run to its end: killed</span>" in sources(led)[0]
    assert "href" not in sources(led)[0]


@pytest.mark.parametrize("what", ["<script>alert(1)</script>", "a & b </span>", "\x1b[31mred"])
def test_words_of_others_do_nothing(what):
    """What a message holds is text on the page, and nothing else."""
    top, _anchor = text_cells(what, 1, 5)
    shown = top["source"].partition("</a>: ")[2]
    assert shown.count("<") == 1
    assert shown.endswith("</span>")
    assert "\x1b" not in shown


@pytest.mark.parametrize(("minor", "has_id"), [(5, True), (4, False), ("5", False), (None, False)])
def test_cells_have_ids_where_the_format_has(minor, has_id):
    """An older notebook gets cells without ids, which it could not hold."""
    led = lead({**CUT, "nbformat_minor": minor}, "m")
    assert ("id" in led["cells"][0]) is has_id


def test_odd_cells_are_kept():
    """What is no cell, or has odd metadata, stays where it is."""
    odd = [5, {"metadata": 3}, {"metadata": {"tags": "papermill-error-cell-tag"}, "source": ""}]
    assert lead({"cells": odd}, "m")["cells"][1:] == odd
