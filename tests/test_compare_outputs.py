"""Two outputs of a cell: text by line, tables by cell, pictures by hash, and what means nothing."""

from __future__ import annotations

import base64
import json
import random
import time

import pytest

from nightmill.review.compare.budget import Budget
from nightmill.review.compare.compare import compare
from nightmill.review.compare.contents import read_cells
from nightmill.review.compare.lines import Text, compare_lines
from nightmill.review.compare.model import Change
from tests.compared import cells_of, code, data, error, markdown, notebook, printed, shown, side

STYLER = """<style type="text/css">#T_{id}_row0_col0 {{color: red;}}</style>
<table id="T_{id}"><thead><tr><th class="blank">&nbsp;</th><th>auc</th></tr></thead>
<tbody><tr><th>day</th><td id="T_{id}_row0_col0">0.{auc}</td></tr></tbody></table>"""
SVG = (
    '<svg><dc:date>2026-11-{day}T02:30:00</dc:date><g id="p{id}"/><use href="#p{id}"/>{body}</svg>'
)


def compared(old, new, *, budget=None):
    """Compare one cell's outputs on both sides; return what is told of each."""
    old, new = (one if isinstance(one, list) else [one] for one in (old, new))
    before, after = side([code("x", *old)]), side([code("x", *new)])
    found = compare(before, after, whole=True, budget=budget)
    return found.cells[0].outputs


def lines(output):
    """Tell the lines of a text as one string each, by their signs."""
    signs = {"same": " ", "removed": "-", "added": "+", "gap": "~"}
    return [
        signs[line.kind] + (str(line.skipped) if line.kind == "gap" else "")
        + "".join(span.text for span in line.spans)
        for line in output.text.lines
    ]  # fmt: skip


def test_text_is_told_by_line_with_a_little_around_it():
    """Three equal lines stand around each change, and what is left out is counted."""
    old = "".join(f"line {at}\n" for at in range(20))
    (output,) = compared(printed(old), printed(old.replace("line 9\n", "line nine\nmore\n")))
    assert lines(output) == [
        "~6", " line 6", " line 7", " line 8", "-line 9", "+line nine", "+more",
        " line 10", " line 11", " line 12", "~7",
    ]  # fmt: skip


def test_one_line_is_shown_rather_than_counted():
    """A gap of a single line would take as much room as the line."""
    for letters, gaps in [("abcdefgh", 0), ("abcdefghi", 0), ("abcdefghij", 1)]:
        old, new = letters, letters.replace(letters[0], "A").replace(letters[-1], "Z")
        (output,) = compared(printed("\n".join(old)), printed("\n".join(new)))
        assert sum(line.kind == "gap" for line in output.text.lines) == gaps


def test_words_are_marked_where_lines_are_alike():
    """Of a line that says something else altogether no word is marked."""
    old, new = "rows 10 of the day\nnothing in common", "rows 12 of the day\nXYZ"
    (output,) = compared(printed(old), printed(new))
    marked = [span.text for line in output.text.lines for span in line.spans if span.marked]
    assert marked == ["10", "12"]


def test_lines_keep_to_the_budget():
    """Where it would cost too much to hold all lines against each other, none is."""
    text = Text.of("\n".join("abcdefgh"))
    found = compare_lines(text, Text.of("\n".join("stuvwxyz")), Budget(work=63))
    assert (found.lines, "open both notebooks" in found.cut) == ((), True)


@pytest.mark.parametrize(
    ("make", "old", "new", "what"),
    [
        (printed, "<Model at 0x7f12ab34cd56>", "<Model at 0x7fffffff0010>", "memory addresses"),
        (printed, "100%|##| 5/5 [00:03<00:00, 1.6it/s]", "100%|##| 5/5 [00:12<00:00, 0.4it/s]",
         "times"),
        (printed, "2026-11-25 02:31:07,123 INFO ok", "2026-11-26 02:30:59,001 INFO ok", "times"),
        (printed, "CPU times: user 3 ms\nWall time: 3 s", "CPU times: user 9 ms\nWall time: 9 s",
         "times"),
        (lambda text: shown(text_html=text), STYLER.format(id="a1b2c", auc=7),
         STYLER.format(id="9f8e7", auc=7), "generated ids"),
        (lambda text: error("KeyError", "'x'", text), "Cell In[3], line 1", "Cell In[12], line 1",
         "generated ids"),
        (lambda text: data("image/svg+xml", text), SVG.format(day=25, id="0123456789", body=""),
         SVG.format(day=26, id="abcdefabcd", body=""), "generated ids and times"),
        (printed, "\x1b[31mred\x1b[0m", "red", "colours"),
    ],
)  # fmt: skip
def test_what_differs_every_night_is_the_same_and_said_so(make, old, new, what):
    """Addresses, times and generated ids make no difference, and their reader learns that."""
    (output,) = compared(make(old), make(new))
    assert (output.change, output.note) == (Change.SAME, f"the same but for {what}")
    found = compare(side([code("x", make(old))]), side([code("x", make(new))]))
    assert found.cells == ()
    assert (found.counts.outputs, found.counts.volatile) == (0, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (shown(text_plain="2013-01-01 05:00:00  12"), shown(text_plain="2013-01-02 05:00:00  12")),
        (shown(text_plain="0x1F"), shown(text_plain="0x2F")),
        (printed("took 3 rows"), printed("took 4 rows")),
        (shown(text_html=STYLER.format(id="a1b2c", auc=7)),
         shown(text_html=STYLER.format(id="9f8e7", auc=8))),
        (data("image/svg+xml", SVG.format(day=25, id="0123456789", body="<a/>")),
         data("image/svg+xml", SVG.format(day=25, id="0123456789", body="<b/>"))),
    ],
)  # fmt: skip
def test_what_may_be_data_is_never_passed_over(old, new):
    """Dates, short numbers and drawings that differ, differ."""
    assert [one.change for one in compared(old, new)] == [Change.CHANGED]


def test_lines_that_differ_only_in_times_are_equal_inside_a_difference():
    """Where something else differs too, only that is told, in the words of the later night."""
    old = "2026-11-25 02:31:07,123 start\nrows 10"
    new = "2026-11-26 02:31:09,456 start\nrows 12"
    (output,) = compared(printed(old), printed(new))
    assert lines(output) == [" 2026-11-26 02:31:09,456 start", "-rows 10", "+rows 12"]


def test_how_a_kernel_cuts_a_stream_is_chance():
    """The same text in other messages, with the other stream between, is the same."""
    old = [printed("a\nb\n"), printed("oops", "stderr")]
    new = [printed("a\n"), printed("oops", "stderr"), printed("b\n")]
    assert [one.change for one in compared(old, new)] == [Change.SAME, Change.SAME]


def test_a_changed_error_is_told_with_its_name_first():
    """An error differs by what it says; its colours are gone."""
    old, new = error("KeyError", "'x'", "\x1b[31mKeyError\x1b[0m: 'x'"), error("ValueError", "bad")
    (output,) = compared(old, new)
    assert output.kind == "error"
    assert lines(output) == ["-KeyError: 'x'", "+ValueError: bad"]


def test_an_output_in_front_shifts_nobody():
    """Equal outputs stay partners when one comes before them."""
    pictures = [data("image/png", base64.b64encode(bytes([at]) * 9).decode()) for at in range(3)]
    found = compared(pictures[1:], pictures)
    assert [one.change for one in found] == [Change.ADDED, Change.SAME, Change.SAME]
    assert found[0].image.before is None


def test_a_picture_is_told_by_hash_type_size_and_place():
    """Size is that of its bytes, the hash that of their text; line breaks in it mean nothing."""
    old, new = (base64.b64encode(text * 40).decode() for text in (b"old bytes", b"new bytes"))
    broken = "\n".join([old[:76], old[76:], ""])
    assert compared(data("image/png", old), data("image/png", broken))[0].change is Change.SAME
    (output,) = compared([printed("x"), data("image/png", old)], [data("image/png", new)])[1:]
    assert output.kind == "picture"
    image = output.image.before
    assert (image.mime, image.size) == ("image/png", 360)
    assert image.sha256 != output.image.after.sha256
    assert old not in output.model_dump_json()
    placed = notebook(markdown("# Plots"), code("x", printed("x"), data("image/png", new)))
    (_text, cell) = read_cells(placed, lambda *place: "/".join(map(str, place)))
    assert cell.outputs[1].image.address == "1/1/image/png"


def test_other_types_of_one_picture():
    """A plot that was a PNG and is an SVG now has changed, and both are there to be shown."""
    (output,) = compared(data("image/png", "AAAA"), data("image/svg+xml", "<svg/>"))
    assert [output.image.before.mime, output.image.after.mime] == ["image/png", "image/svg+xml"]


@pytest.mark.parametrize("body", ["<script>alert(1)</script>", "<svg", "\x00 not xml", "", "<!--"])
def test_no_svg_makes_a_comparison_fail(body):
    """A drawing is never parsed, so a broken or hostile one is only another one."""
    (output,) = compared(data("image/svg+xml", "<svg/>"), data("image/svg+xml", body))
    assert output.change is Change.CHANGED
    assert "alert" not in output.model_dump_json()


def test_case_41_notebooks_full_of_pictures():
    """Forty cells of plots whose bytes all differ cost no comparison of text at all."""
    chance = random.Random(41)  # noqa: S311 - any bytes do
    path = '<path d="M0 0L9 9"/>' * 5200

    def night(tag):
        png = [base64.b64encode(chance.randbytes(300_000)).decode() for _ in range(40)]
        svg = [f"<svg>{tag}{at}{path}</svg>" for at in range(40)]
        assert min(map(len, svg)) > 95_000
        return side(
            [
                code(f"plot({at})", data("image/png", png[at]), data("image/svg+xml", svg[at]))
                for at in range(40)
            ]
        )

    budget = Budget()
    began = time.process_time()
    found = compare(night("old"), night("new"), budget=budget)
    assert (budget.spent, budget.shown) == (0, 0)
    assert [len(cell.outputs) for cell in found.cells] == [2] * 40
    assert len(found.model_dump_json()) < 200_000
    assert time.process_time() - began < 20  # pairs of bytes would take minutes


def test_huge_texts_are_cut_and_said_so():
    """Of a text of many megabytes the beginning is compared, and that it is only that is told."""
    head = "x = 1\n" * 1000
    tails = ["a" * 3_000_000, "b" * 3_000_000]
    (output,) = compared(printed(head + tails[0]), printed(head + tails[1]))
    assert output.change is Change.CHANGED
    assert "the first 200,000 characters" in output.text.cut
    assert len(output.model_dump_json()) < 20_000


def test_of_texts_that_have_changed_all_over_the_beginning_is_compared():
    """A thousand lines on a side are held against each other, four hundred shown; it is said."""
    old, new = ("\n".join(f"{tag} {at}" for at in range(3000)) for tag in ("old", "new"))
    budget = Budget()
    (output,) = compared(printed(old), printed(new), budget=budget)
    assert len(output.text.lines) == 400
    assert output.text.cut == "only the beginning of 3,000 and 3,000 lines was compared"
    assert budget.spent < 2_000_000


def test_a_page_has_an_end():
    """Many long differences are shown until the page is full, and told from then on."""
    old, new = (
        [
            code(f"print({at})", printed("\n".join(f"{tag}{line}" for line in range(60))))
            for at in range(50)
        ]
        for tag in "ab"
    )
    budget = Budget(pieces=1000, deadline_s=60)
    found = compare(side(old), side(new), budget=budget)
    told = [cell.outputs[0].text for cell in found.cells]
    assert len(told) == 50
    assert sum(len(one.lines) for one in told) == budget.shown <= 1000
    assert all(one.lines or "open both" in one.cut for one in told)
    assert told[0].lines
    assert not told[-1].lines


def test_more_outputs_than_anybody_reads():
    """Of a cell with hundreds of changed outputs fifty are told, and the others counted."""
    old, new = ([data("image/png", f"{tag}{at:03}") for at in range(200)] for tag in "AB")
    found = compared(old, new)
    assert len(found) == 51
    assert found[-1].note == "150 more outputs differ"


def test_data_of_a_plot_is_told_by_line_and_large_data_as_data():
    """What Vega draws is compared as JSON whatever the order of its keys, if it is small."""
    mime = "application/vnd.vegalite.v5+json"
    (same,) = compared(data(mime, {"a": 1, "b": 2}), data(mime, {"b": 2, "a": 1}))
    assert same.change is Change.SAME
    (small,) = compared(data(mime, {"mark": "bar"}), data(mime, {"mark": "line"}))
    assert lines(small)[1:3] == ['- "mark": "bar"', '+ "mark": "line"']
    values = [list(range(at, at + 50_000)) for at in range(2)]
    (large,) = compared(data(mime, values[0]), data(mime, values[1]))
    assert large.text.cut == "compared by line: nothing of data this large; the whole differs"


def test_json_as_deep_as_it_can_be_read():
    """Where data can be read but not be written again, the notebook is none that is compared."""
    read = []
    for depth in (10, 600, *range(850, 1000, 5)):
        deep = json.dumps(data("x/y+json", 0)).replace("0", f"{'[' * depth}{']' * depth}")
        read.append(
            read_cells(f'{{"cells": [{{"cell_type": "code", "outputs": [{deep}]}}]}}'.encode())
        )
    assert [len(one[0].outputs) for one in read[:2]] == [1, 1]
    assert read[-1] is None


@pytest.mark.parametrize(
    ("bundle", "kind"),
    [
        ({"text/html": "<p>1</p>", "text/plain": "1"}, ["HTML"]),
        ({"image/png": "AAAA", "text/html": "<p>1</p>"}, ["picture"]),
        ({"text/markdown": "*a*", "text/plain": "a"}, ["text"]),
        ({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "W"},
         ["text"]),
        ({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}, []),
        ({"application/scrapbook.scrap.json+json": {"name": "auc"}}, []),
        ({"application/vnd.plotly.v1+json": {}, "text/html": "<div>"}, ["data"]),
        ({"image/png": 3, "text/plain": "a"}, ["picture"]),
        ({}, []),
    ],
)  # fmt: skip
def test_the_richest_form_counts(bundle, kind):
    """Of an output's forms the one is compared that its reader sees; metrics are told elsewhere."""
    output = {"output_type": "display_data", "data": bundle, "metadata": {}}
    (cell,) = cells_of(code("x", output))
    assert [one.kind for one in cell.outputs] == kind


def test_outputs_of_other_hands_are_survived():
    """Outputs that are none, and texts that are no text, do no harm."""
    odd = [7, {"output_type": "stream", "text": {"a": 1}}, {"output_type": "error", "evalue": 3}]
    (cell,) = cells_of(code("x", *odd))
    assert [(one.kind, one.text) for one in cell.outputs] == [("error", ": ")]


def test_html_without_a_table_is_told_as_its_text():
    """Markup is never shown: its words are, and that only its look differs is said."""
    old = shown(text_html="<div style='color:red' onclick='evil()'>Score <b>1</b></div>")
    new = shown(text_html="<div>Score <b>2</b><script>evil()</script></div>")
    (output,) = compared(old, new)
    assert lines(output) == ["-Score 1", "+Score 2"]
    assert "evil" not in output.model_dump_json()
    red, plain = shown(text_html="<p style='color:red'>ok</p>"), shown(text_html="<p>ok</p>")
    (output,) = compared(red, plain)
    assert output.change is Change.CHANGED
    assert output.note == "the same text and cells; what differs is how they are shown"


def test_lone_surrogates_and_bidirectional_text_pass():
    """Text that no encoder takes is replaced before it is hashed or shown."""
    raw = json.loads('"\\ud800 \\u202eabc"')
    (output,) = compared(printed("x"), printed(raw))
    assert json.loads(output.model_dump_json())["change"] == "changed"
