"""Text of terminals as HTML: colours that can be read, what was written over, what is folded."""

from __future__ import annotations

import itertools
import re
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.review.render import ansi, colours
from nightmill.review.render.code import coloured
from nightmill.review.render.markup import escape
from nightmill.review.render.texts import Amounts, preformatted, traceback

ALL = Amounts(20_000, 200_000)


def _html(text: str) -> str:
    return "\n".join(ansi.lines(text))


def _words(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ('plain <b> & "q"', "plain &lt;b&gt; &amp; &quot;q&quot;"),
        ("\x1b[1mb\x1b[0m c", '<span class="t-bold">b</span> c'),
        (
            "\x1b[1;4mb\x1b[22mu",
            '<span class="t-bold t-underline">b</span><span class="t-underline">u</span>',
        ),
        ("\x1b[7minverse\x1b[27m not", '<span class="t-inverse">inverse</span> not'),
        (
            "\x1b[3mi\x1b[9ms\x1b[2md\x1b[m.",
            (
                '<span class="t-italic">i</span><span class="t-italic t-strike">s</span>'
                '<span class="t-dim t-italic t-strike">d</span>.'
            ),
        ),
        ("\x1b[2J\x1b[10;20H\x1b]0;title\x07x\x1b(", "x\u241b("),
        ("a\x1b[1m\nb\x1b[0m", 'a\n<span class="t-bold">b</span>'),
        ("\x1b[38;5mx", "x"),
        ("\x1b[1m\x1b[0mnothing to style", "nothing to style"),
    ],
)
def test_orders_become_elements_or_nothing(text, html):
    """Styles become spans that end with their line; every other order is taken out."""
    assert _html(text) == html


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("  0%\r 50%\r100%", "100%"),
        ("long line\rshort", "shortline"),
        ("ab\b\bc", "cb"),
        ("\b\bx", "x"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("working...\r\x1b[Kdone", "done"),
        ("working...\r\x1b[2Kdone", "done"),
        ("\r".join(str(n) for n in range(1000)), "999"),
    ],
)
def test_what_was_written_over_is_gone(text, left):
    """Carriage returns, backspaces and erasing act as in a terminal."""
    assert _html(text) == left


def test_colours_stay_when_a_line_is_written_over():
    """A character keeps the colour in which it was written last."""
    html = _html("\x1b[1mold\r\x1b[0mn")

    assert html == 'n<span class="t-bold">ld</span>'


SAMPLES = [colours.indexed(number) for number in range(256)]


@pytest.mark.parametrize("paper", [colours.LIGHT, colours.DARK])
def test_every_colour_is_legible_on_our_papers(paper):
    """Each of the 256 colours has a contrast of at least 4.5 in the light and in the dark."""
    assert all(colours.contrast(colours.legible(ink, paper), paper) >= 4.5 for ink in SAMPLES)


def test_every_colour_is_legible_on_every_other():
    """Where a program chose the background too, the ink gives way until it can be read."""
    pairs = itertools.product(SAMPLES[::7], SAMPLES[::5])

    assert all(colours.contrast(colours.legible(ink, paper), paper) >= 4.5 for ink, paper in pairs)


def test_contrast_is_that_of_the_standard():
    """Black on white is 21, a colour on itself is 1."""
    assert round(colours.contrast(colours.BLACK, colours.WHITE), 3) == 21
    assert colours.contrast((1, 2, 3), (1, 2, 3)) == 1


def test_the_three_kinds_of_colours_are_one():
    """The same red by number, by index and by its parts is the same on the page."""
    red = "{};{};{}".format(*colours.indexed(1))
    ways = [
        "\x1b[31mx",
        "\x1b[38;5;1mx",
        f"\x1b[38;2;{red}mx",
        f"\x1b[38:2:{red.replace(';', ':')}mx",
    ]

    assert len({_html(one) for one in ways}) == 1
    assert "--l:" in _html(ways[0])
    assert "background:" in _html("\x1b[41mx")
    assert _html("\x1b[41;7mx") != _html("\x1b[41mx")


@settings(deadline=None)
@given(st.text(st.sampled_from("ab\x1b[]0178;m\r\b\n<&\x07K\ud800\x00"), max_size=60))
def test_any_text_is_balanced_and_escaped(text):
    """Whatever is printed, each line has as many ends as beginnings and no other element."""
    for line in ansi.lines(text):
        assert line.count("<span") == line.count("</span>") == line.count("<") / 2
        line.encode()
        assert not set(line) & {"\x1b", "\r", "\b", "\x00"}


@settings(deadline=None)
@given(st.text())
def test_escaped_text_can_stand_anywhere(text):
    """Escaped text holds no markup, no quotes and no control characters."""
    assert not set(escape(text)) & {"<", ">", '"', "'", "\x00", "\x1b", "\x7f"}


def test_the_middle_of_long_text_is_folded_and_all_of_it_is_there():
    """Head and tail stand open, what is between is folded, and no line is lost."""
    text = "\n".join(f"line {number}" for number in range(500))

    html = preformatted(text, ALL)

    assert html.count("<details") == 1
    assert "420 more lines" in html
    assert "line 39" in html.split("<details")[0]
    assert [f"line {n}" for n in range(500)] == re.findall(r"line \d+", html)


def test_text_beyond_the_limit_leads_to_the_whole():
    """Of text that is too long for any page the ends are shown, and an address of the whole."""
    html = preformatted("a" * 150_000 + "b" * 150_000, Amounts(20_000, 200_000, "/signed?a&b"))

    assert "100,000 characters are left out here" in html
    assert 'href="/signed?a&amp;b"' in html
    assert _words(html).count("a" * 1000) == _words(html).count("b" * 1000) == 100


def test_a_long_traceback_shows_its_beginning_and_its_end():
    """The fold of a traceback is in its middle: the end, where it happened, is the longer part."""
    lines = ["Traceback", *(f"frame {n}" for n in range(300)), "KeyError: 'x'"]

    head, _, rest = traceback("\n".join(lines), ALL).partition("<details")
    tail = rest.partition("</details>")[2]

    assert "Traceback" in head
    assert head.count("frame") == 7
    assert "KeyError" in tail
    assert tail.count("frame") == 25


@pytest.mark.parametrize(
    ("source", "language", "word"),
    [
        ("def f(): pass", "python", '<span class="p-k">def</span>'),
        ("f <- function(x) x", "R", '<span class="p-kr">function</span>'),
        ("function f() end", "julia", '<span class="p-k">function</span>'),
        ("%%bash\nfor a in b; do c; done", "python", '<span class="p-k">for</span>'),
        ("%%sql\nSELECT 1", "python", '<span class="p-k">SELECT</span>'),
        ("def f(): pass", "klingon", "def f(): pass"),
        ("x = '<script>'", "python", "&lt;script&gt;"),
        ("\n\n  x", "python", "\n\n"),
    ],
)
def test_source_has_the_colours_of_its_language(source, language, word):
    """The kernel's language, or a cell's magic, chooses the colours; the text stays as it is."""
    html = coloured(source, language, 1000)

    assert word in html
    assert unescape(_words(html)) == source


def test_source_that_is_too_long_has_no_colours():
    """Long source is shown all the same, only plain."""
    assert coloured("def f(): pass", "python", 5) == "def f(): pass"
