"""Printed text as a terminal shows it in the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.step.streams import as_shown, merge_streams


def stream(text, name="stdout"):
    """Make a stream output."""
    return {"output_type": "stream", "name": name, "text": text}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\nlines\n", "plain\nlines\n"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("10%\r50%\r", "50%"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("a\rb\nc\rd", "b\nd"),
        ("abc\b\bX", "aX"),
        ("\b\bx\n\b", "x\n"),
        ("ab\rc\bd", "d"),
    ],
)
def test_text_is_kept_as_a_terminal_shows_it(text, shown):
    """Carriage returns overwrite the line, backspaces take a character back, newlines stay."""
    assert as_shown(text) == shown


def test_neighbours_merge_and_the_order_against_pictures_stays():
    """What was printed before a picture stays before it, and streams stay apart by name."""
    picture = {"output_type": "display_data", "data": {}}
    given_outputs = [stream("a"), stream("b\n"), picture, stream("c"), stream("d", "stderr")]
    merged, positions = merge_streams(given_outputs)
    assert merged == [stream("ab\n"), picture, stream("c"), stream("d", "stderr")]
    assert positions == [0, 0, 1, 2, 3]


def test_a_long_line_takes_one_pass():
    """Ten megabytes without a newline and with a carriage return are no matter of hours."""
    text = "x" * 5_000_000 + "\r" + "y" * 5_000_000
    assert as_shown(text) == "y" * 5_000_000


@given(st.lists(st.text(alphabet="ab\n", max_size=5)))
def test_nothing_is_lost_where_nothing_is_overwritten(pieces):
    """Text without control characters is the same, however it was cut into messages."""
    merged, _positions = merge_streams([stream(piece) for piece in pieces])
    assert "".join(output["text"] for output in merged) == "".join(pieces)
