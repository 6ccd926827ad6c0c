"""A notebook's page: its facts, what stands first, its bounds, and what is fetched apart."""

from __future__ import annotations

import base64
import gzip
import re
import time
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightmill.review.render import (
    POLICY,
    Limits,
    NotebookPage,
    asset_of,
    render,
    render_too_large,
)
from nightmill.spec.record import CellRecord, CellState
from tests.making_notebooks import code, notebook, picture, printed, raised, shown, text
from tests.rendered import check_inert, page_of

BEGAN = "2013-01-02T07:30:12.345+00:00"


def _cell(number: int, state: str = "completed", *outputs: object, **papermill: object):
    return code(
        f"x{number}",
        *outputs,
        nightmill={"number": number, "state": state, "title": f"Title {number}"},
        papermill={"start_time": BEGAN, "duration": 1.25, **papermill},
    )


def _section(html: str, anchor: str) -> str:
    return html.split(f'<section id="{anchor}"')[1].split("</section>", maxsplit=1)[0]


# -- what is said of cells ------------------------------------------------------------------------


def test_times_are_those_of_the_pipelines_zone_and_say_so():
    """A moment is shown in the zone that the caller names, with the zone's name beside it."""
    page = page_of(notebook(_cell(1)), timezone="America/New_York")

    assert "02:30:12 EST" in page.text
    assert "times in America/New_York" in page.text


@pytest.mark.parametrize("zone", ["Nowhere/Land", "", "../etc/passwd", "\x00"])
def test_a_zone_that_nobody_knows_is_utc(zone):
    """Times are shown in UTC, and said to be so, where the zone is none."""
    page = page_of(notebook(_cell(1)), timezone=zone)

    assert "07:30:12 UTC" in page.text
    assert "times in UTC" in page.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.004, "4 ms"),
        (4.24, "4.2 s"),
        (204, "3 min 24 s"),
        (7200, "2 h 00 min"),
        (-1, None),
        ("x", None),
    ],
)
def test_durations_are_told_as_people_tell_them(seconds, words):
    """A duration has the unit that fits it, and an impossible one is not shown."""
    section = _section(page_of(notebook(_cell(1, duration=seconds))).html, "cell-1")

    assert ("How long it ran" in section) is (words is not None)
    assert words is None or f">{words}<" in section


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("completed", "✓ completed"),
        ("failed", "✕ failed"),
        ("running", "▶ running"),
        ("interrupted", "■ interrupted"),
        ("not_run", "○ not run"),
        ("skipped", "⤼ skipped"),
    ],
)
def test_a_state_is_a_sign_and_a_word(state, words):
    """No state is told by colour alone, and the section is named after it."""
    page = page_of(notebook(_cell(1, state)))

    assert words in page.text
    assert f'aria-label="Cell 1: Title 1, {words[2:]}"' in page.html


def test_the_record_knows_better_than_the_notebook():
    """State, time and memory of a record stand in place of the notebook's own."""
    record = CellRecord(
        number=1,
        title="By the record",
        state=CellState.INTERRUPTED,
        started_at=datetime(2013, 1, 2, 3, 4, 5, tzinfo=UTC),
        duration_s=60,
        peak_memory_bytes=3 << 30,
    )

    section = _section(page_of(notebook(_cell(1)), cells={1: record}).html, "cell-1")

    assert all(one in section for one in ("interrupted", "1 min", "3.0 GiB", "03:04:05 UTC"))


def test_a_record_is_that_of_the_cell_and_not_of_its_twin():
    """The injected cell has the number of the parameters cell, and each its own facts."""
    injected = _cell(1)
    injected["metadata"]["tags"] = ["injected-parameters"]
    record = CellRecord(number=1, title="", state=CellState.COMPLETED, injected=True, duration_s=9)

    html = page_of(notebook(_cell(1), injected), cells={1: record}).html

    assert ">9.0 s<" in _section(html, "cell-1-injected")
    assert ">1.2 s<" in _section(html, "cell-1")


def test_every_cell_has_an_anchor_and_leads_to_itself():
    """Numbers count the author's cells; what papermill put in counts for nothing."""
    cells = [
        text("# One"),
        code("2"),
        {**code("3"), "metadata": {"tags": ["injected-parameters"]}},
        code("4"),
    ]

    page = page_of(notebook(*cells))

    anchors = [one.attributes["id"] for one in page.find("section")]
    assert anchors == ["cell-1", "cell-2", "cell-2-injected", "cell-3"]
    assert [one.attributes["href"] for one in page.find("a", class_="number")] == [
        f"#{anchor}" for anchor in anchors
    ]


def test_headings_are_one_outline_below_the_pages_own():
    """No heading is more than one level deeper than the one before, over all cells and outputs."""
    cells = [text("## Two\n\n##### Five\n\n# One"), code("x", shown(html="<h4>Four</h4>"))]

    html = page_of(notebook(*cells)).html

    assert re.findall(r"<h(\d)[^>]*>(\w+)</h(\d)>", html.split("</h1>")[1]) == [
        ("2", "Two", "2"),
        ("3", "Five", "3"),
        ("2", "One", "2"),
        ("3", "Four", "3"),
    ]


def test_a_long_notebook_has_a_table_of_contents():
    """Its headings, without those in code, lead to their cells; of two headings there is none."""
    cells = [text("# One `x`\n```\n# no heading\n```\n## **Two**"), code("# 3"), text("### Three")]

    contents = page_of(notebook(*cells)).html.split('class="contents"')[1].split("</details>")[0]

    links = re.findall(r'<a href="(#[\w-]+)">([^<]*)</a>', contents)
    assert links == [("#cell-1", "One x"), ("#cell-1", "Two"), ("#cell-3", "Three")]
    assert 'class="contents"' not in page_of(notebook(*cells[:2])).html


def test_whole_outputs_that_were_spilled_are_named():
    """Where an output was too large for the notebook, the address of the whole is told."""
    cell = _cell(1)
    cell["metadata"]["nightmill"]["spilled"] = [{"address": "s3://b/cell-1-1.txt", "size": 3 << 20}]

    assert (
        "Whole output, 3.0 MiB, too large for the notebook: s3://b/cell-1-1.txt"
        in page_of(notebook(cell)).text
    )


# -- what failed ----------------------------------------------------------------------------------

ERROR = raised("ValueError", "odd \x1b[31mday\x1b[0m", "\x1b[31mValueError\x1b[0m: odd day")


@pytest.mark.parametrize(
    ("failing", "anchor"), [(None, "cell-3"), (3, "cell-3"), (9, "cell-3"), (2, "cell-2")]
)
def test_the_banner_leads_to_the_failing_cell(failing, anchor):
    """The caller says which cell failed, else the notebook does; there is one banner."""
    cells = [_cell(1), _cell(2), _cell(3, "failed", ERROR), _cell(4, "not_run")]

    html = page_of(notebook(*cells), failing=failing).html

    banner = html.split('<div class="banner"')[1].split("</div>")[0]
    assert f'href="#{anchor}"' in banner
    assert html.count('<div class="banner"') == html.count('<div class="reason"') == 1


def test_a_long_failing_cell_is_open_and_others_are_folded():
    """Source of more than thirty lines is folded, but for that of the failing cell."""
    long = "\n".join(f"x = {number}" for number in range(31))
    cells = [{**_cell(1), "source": long}, {**_cell(2, "failed", ERROR), "source": long}]

    html = page_of(notebook(*cells)).html

    assert '<details class="source">' in _section(html, "cell-1")
    assert '<details class="source" open>' in _section(html, "cell-2")


def test_an_error_is_told_without_colours_and_shown_with_them():
    """The line that tells an error has no orders to a terminal; its traceback has the colours."""
    html = page_of(notebook(_cell(1, "failed", ERROR))).html

    assert html.count("ValueError: odd day") == 2  # in the banner and above the cell
    assert '<span class="t-ink"' in html


def test_the_engines_own_note_is_told_where_it_says_more():
    """What the run wrote at the top of the notebook stands in the banner, unless it repeats it."""
    note = {**text("<span>Did not run to its end: the kernel was killed</span>")}
    note["metadata"] = {"tags": ["papermill-error-cell-tag"]}

    page = page_of(notebook(note, _cell(1, "interrupted")))

    assert page.text.count("the kernel was killed") == 1
    assert "Cell 1 “Title 1” interrupted" in page.text


def test_nothing_that_failed_has_no_banner():
    """A good notebook has no banner, and one that is still running says that it is."""
    page = page_of(notebook(_cell(1), _cell(2, "running")), live=True)

    assert '<div class="banner"' not in page.html
    assert "this is the notebook so far" in page.text


# -- bounds ---------------------------------------------------------------------------------------


def _limited(data: bytes, **limits: object):
    return page_of(data, limits=Limits(**limits))


def test_a_page_ends_where_its_room_ends():
    """Beyond the room for HTML the page says how many cells are left out."""
    cells = [_cell(number, "completed", printed("y" * 500)) for number in range(1, 41)]

    page = _limited(notebook(*cells), html_chars=20_000)

    assert 20_000 < len(page.html) < 60_000  # the styles come on top
    assert "are left out here: download the notebook" in page.text
    check_inert(page)


def test_a_page_ends_where_its_time_ends():
    """When the time is used up the rest is left out, and the page is whole all the same."""
    page = _limited(notebook(_cell(1), _cell(2)), seconds=0)

    assert "The last 2 cells are left out" in page.text
    assert page.html.endswith("</html>\n")


def test_one_cell_does_not_use_up_the_page():
    """Outputs beyond a cell's room are left out, and the next cell is there."""
    many = [shown(plain="y" * 1000) for _ in range(50)]

    page = _limited(notebook(_cell(1, "completed", *many), _cell(2)), cell_chars=10_000)

    assert "More outputs of this cell are left out" in page.text
    assert "x2" in page.text


def test_a_notebook_over_the_limit_is_not_read():
    """Both the bytes and the mere size of a notebook that is too large give the same page."""
    data = notebook(code("x" * 2000))
    facts = NotebookPage(title="n", limits=Limits(notebook_bytes=1024))

    page = "".join(render(data, facts))

    assert page == "".join(render_too_large(len(data), facts))
    assert "pages show notebooks up to 1.0 KiB" in page
    assert "500 MiB" in "".join(render_too_large(500 << 20, NotebookPage(title="n")))


def test_what_is_compressed_is_unpacked_only_as_far_as_the_limit():
    """A small file that unpacks to a large one takes no more memory than the limit allows."""
    data = gzip.compress(b" " * (32 << 20))
    tracemalloc.start()
    try:
        page = _limited(data, notebook_bytes=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert "pages show notebooks up to 1.0 MiB" in page.text
    assert peak < 8 << 20


def test_the_page_comes_in_pieces():
    """The head is there before a cell is rendered, and each cell is a piece of its own."""
    pieces = render(notebook(*(_cell(number) for number in range(1, 6))), NotebookPage(title="n"))

    first = next(pieces)

    assert first.startswith("<!doctype html>")
    assert "</style>" in first
    assert sum('<section id="cell-' in one for one in pieces) == 5


def test_a_cell_that_cannot_be_rendered_hides_no_other(monkeypatch, caplog):
    """An unforeseen fault in one cell is told in its place and logged; the next one is there."""

    def fail(*_arguments: object) -> str:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("nightmill.review.render.sections.coloured", fail)

    page = page_of(notebook(code("a"), text("the next one")))

    assert "Cell 1 could not be rendered" in page.text
    assert "the next one" in page.text
    assert "unforeseen" in caplog.text
    check_inert(page)


def test_five_hundred_pictures_take_a_moment():
    """A notebook of many pictures is rendered in seconds: nothing decodes them."""
    data = notebook(*(code("x", shown(png=picture(64, 64))) for _ in range(500)))
    begun = time.monotonic()

    page = page_of(data)

    assert time.monotonic() - begun < 10
    assert page.html.count("data:image/png") == 500


_KEYS = (
    *("cell_type", "source", "outputs", "metadata", "attachments", "nightmill", "papermill"),
    *("number", "state", "tags", "output_type", "data", "text", "name", "ename", "traceback"),
    *("text/html", "text/plain", "text/latex", "image/png", "application/json"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(JSON, max_size=3), JSON)
def test_any_json_in_a_notebook_has_a_page(cells, metadata):
    """Whatever JSON stands in place of cells and metadata, there is a page and it is inert."""
    page = page_of(notebook(*cells, metadata=metadata))

    check_inert(page)
    assert "could not be rendered" not in page.text


# -- what is fetched apart ------------------------------------------------------------------------

LARGE = base64.b64encode(base64.b64decode(picture(40, 40)) + b"\0" * 2000).decode()
HELD = notebook(
    code("a", shown(png=LARGE, plain="p" * 50), printed("\x1b[31mred\x1b[0m " * 100)),
    code(
        "b",
        shown(html=f"<b>kept</b><script>1</script>{'<i>x</i>' * 500}"),
        raised("E", "v", "t1", "t2"),
    ),
    code(
        "c",
        shown(svg="<svg>" + "<g/>" * 500 + "</svg>"),
        shown(**{"application/pdf": "JVBERi0xLjQ="}),
    ),
)


def _address(cell: int, output: int, kind: str) -> str:
    return f"/asset/{cell}/{output}/{kind}?sign=a&b"


def test_large_outputs_are_fetched_by_the_callers_addresses():
    """What is too large for the page is named by cell, output and type, counted from 0."""
    limits = Limits(picture_bytes=1000, folded_chars=300, rich_chars=1000)

    html = page_of(HELD, asset=_address, limits=limits).html

    for address in (
        "0/0/image/png",
        "0/1/text/plain",
        "1/0/text/html",
        "2/0/image/svg+xml",
        "2/1/application/pdf",
    ):
        assert f"/asset/{address}?sign=a&amp;b" in html


def test_without_addresses_large_outputs_are_said_to_be_left_out():
    """Where the caller gives no addresses the page says what is missing."""
    limits = Limits(picture_bytes=10, picture_most_bytes=1000, rich_chars=1000)

    page = page_of(HELD, limits=limits)

    assert page.text.count("is left out here: download the notebook to see it") == 4
    assert "/asset/" not in page.html


@pytest.mark.parametrize(
    ("place", "kind", "start"),
    [
        ((0, 0, "image/png"), "image/png", b"\x89PNG"),
        ((0, 0, "text/plain"), "text/plain; charset=utf-8", b"ppp"),
        ((0, 1, "text/plain"), "text/plain; charset=utf-8", b"red red"),
        ((1, 0, "text/html"), "text/html; charset=utf-8", b"<!doctype html>"),
        ((1, 1, "text/plain"), "text/plain; charset=utf-8", b"t1\nt2"),
        ((2, 0, "image/svg+xml"), "image/svg+xml", b"<svg xmlns="),
        ((2, 1, "application/pdf"), "application/pdf", b"%PDF-"),
    ],
)
def test_an_asset_is_the_whole_output_in_one_form(place, kind, start):
    """Bytes and type of an output, decoded, sanitized or freed of colours as its type asks."""
    data, found = asset_of(HELD, *place)

    assert (found, data[: len(start)]) == (kind, start)
    assert b"<script" not in data


@pytest.mark.parametrize(
    "place",
    [
        (9, 0, "image/png"),
        (0, 9, "image/png"),
        (-1, 0, "text/html"),
        (0, -1, "text/plain"),
        (0, 0, "image/gif"),
        (0, 0, "application/javascript"),
        (0, 1, "text/html"),
        (1, 0, "image/png"),
    ],
)
def test_what_is_no_output_is_no_asset(place):
    """No place, and no type beyond those of the page, gives bytes."""
    assert asset_of(HELD, *place) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[", notebook(1), notebook({"outputs": 3})])
def test_broken_notebooks_have_no_assets(data):
    """Assets of what is no notebook are none, and nothing is raised."""
    assert asset_of(data, 0, 0, "text/plain") is None


def test_bytes_that_are_not_what_they_are_called_are_no_asset():
    """Neither a page called a picture nor a page called a PDF is ever served."""
    page = base64.b64encode(b"<script>1</script>").decode()
    data = notebook(code("x", shown(png=page, **{"application/pdf": page})))

    assert asset_of(data, 0, 0, "image/png") is asset_of(data, 0, 0, "application/pdf") is None


def test_the_policy_is_a_sandbox_without_scripts_and_origin():
    """The policy for pages and assets names neither scripts, nor the origin, nor forms."""
    sandbox, *rest = POLICY.split("; ")

    assert sandbox.split() == ["sandbox", "allow-popups", "allow-popups-to-escape-sandbox"]
    assert "default-src 'none'" in rest
    assert not any(one.startswith(("script-src", "connect-src")) for one in rest)
