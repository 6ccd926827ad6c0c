"""Notebooks that a real run left, rendered with the facts of its record."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from nightmill.spec.record import Record
from tests.rendered import check_inert, page_of

FAILING = [
    ("# Delays\n\nOf *one* day: $\\bar x$.", "markdown"),
    ("top_n: int = 3\nname: str = 'UA'", "parameters"),
    "# Read the day\nprint('\\x1b[32mread\\x1b[0m')",
    "from IPython.display import HTML, Math\nHTML('<table><tr><td>12.5</td></tr></table>')",
    "# Score the day\ndef score(rows):\n    return rows / 0\n\nscore(7)",
    "# Write the scores\nopen('x', 'w')",
]
STEPS = "score: {notebook: score.ipynb}\n"


@pytest.fixture(scope="module")
def ended(make_project):
    """Run a pipeline whose fourth code cell fails; return the page and what it is made from."""
    project = make_project()
    project.pipeline("delays", STEPS, score=FAILING)
    ran = project.run("run", "delays", "--partition", "2013-01-01", "-p", "top_n=7")
    assert ran.code != 0, ran.err
    folder = project.attempts("delays", "score")[-1]
    record = Record.from_json((folder / "record.json").read_bytes())
    data = (folder / "notebook.ipynb").read_bytes()
    cells = {cell.number: cell for cell in record.cells}
    facts = {"cells": cells, "failing": record.failure.cell, "timezone": "America/New_York"}
    return SimpleNamespace(page=page_of(data, "delays", **facts), data=data, record=record)


def test_the_failing_cell_is_first_in_sight(ended):
    """Above all cells stands which one failed, why, and a link to it."""
    banner = ended.page.html.split('<div class="banner"')[1].split("</div>")[0]

    assert 'href="#cell-5"' in banner
    assert "ZeroDivisionError: division by zero" in banner
    assert "Did not run to its end" not in ended.page.text  # it says the same once more
    assert "Score the day" in banner


def test_the_failing_cell_says_why_and_leads_around(ended):
    """The failing cell stands open with its error at its top and links to the cells around."""
    section = ended.page.html.split('<section id="cell-5"')[1].split("</section>")[0]

    assert section.index("ZeroDivisionError") < section.index("return") < section.index("traceback")
    assert all(f'<a href="#cell-{number}">{number}</a>' in section for number in (3, 4, 6))
    assert '<details class="source" open>' in section


def test_cells_have_the_states_times_and_memory_of_the_record(ended):
    """The gutter of each cell tells its state in a word, its time, memory and when it began."""
    section = ended.page.html.split('<section id="cell-5"')[1].split("</section>")[0]

    assert ended.page.text.count("✓ completed") == 4  # parameters, the injected one, two more
    assert "✕ failed" in ended.page.text
    assert "○ not run" in ended.page.text
    assert re.search(r"\d\d:\d\d:\d\d E[SD]T</time>", section)
    assert "MiB" in section
    assert "times in America/New_York" in ended.page.text


def test_parameters_and_their_values_are_called_so(ended):
    """The cell that papermill put in is told from the author's own, with an anchor of its own."""
    injected = ended.page.html.split('<section id="cell-2-injected"')[1].split("</section>")[0]

    assert "Values of this run, put in by papermill" in injected
    assert "top_n" in injected
    assert "It ended here:" in ended.page.text
    assert "Parameters: the defaults" in ended.page.html.split('<section id="cell-2"')[1]


def test_what_a_run_leaves_is_inert_and_typeset(ended):
    """Its page has formulas, tables and colours, and nothing that acts."""
    check_inert(ended.page)
    assert "<math" in ended.page.html
    assert ended.page.find("td")
    assert "t-ink" in ended.page.html


def test_metadata_alone_tell_the_same_states(ended):
    """Without a record, as while it runs, states and times come from the notebook itself."""
    page = page_of(ended.data, "delays", live=True)

    assert "It is still running" in page.text
    assert page.text.count("✓ completed") == 4
    assert 'href="#cell-5"' in page.html
    assert json.loads(ended.data)["metadata"]["papermill"]["exception"] is True
