"""What a caller tells the renderer about a notebook, and the bounds that every page keeps.

Apart from the rest, so that whoever serves pages needs no parser to describe one. The notebook is
untrusted: serve what is rendered, and every asset of it, under `POLICY` and nothing weaker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from nightmill.review.render.pictures import MOST_PIXELS
from nightmill.spec.record import CellRecord

_LIBRARIES = ("nh3", "markdown-it-py", "mdit-py-plugins", "latex2mathml", "pygments")


_HERE = Path(__file__).parent
STYLES = (_HERE.with_name("static") / "palette.css", _HERE / "notebook.css")
"""What each document has, as it can load nothing: the colours of the trusted pages, and its own."""


def _version() -> str:
    """Hash this room and name its libraries: nobody has to remember that pages look different."""
    found = hashlib.sha256("".join(map(version, _LIBRARIES)).encode())
    for file in sorted({*_HERE.glob("*.*"), *STYLES}):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


VERSION = _version()
"""Of the rendering: pages kept by the hash of their notebook are another page under another one."""

POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "img-src data: 'self'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
)
"""The Content-Security-Policy of a rendered notebook: an origin of its own, no scripts, and
nothing from the network but the pictures that the page's own server signs."""

Asset = Callable[[int, int, str], str]
"""Makes the signed address of an output: the index of its cell, its own (both from 0), its type."""


@dataclass(frozen=True)
class Limits:
    """How much of a notebook a page shows; sizes in bytes or characters, as they are named."""

    notebook_bytes: int = 64 << 20  # parsed, it takes some three times that in memory
    cells: int = 10_000  # more sections make a browser slow
    outputs: int = 500  # of a cell
    html_chars: int = 48 << 20  # of the page
    cell_chars: int = 12 << 20  # of a cell: one cell must not use up the page
    text_chars: int = 20_000  # shown at once; the middle of longer text is folded
    folded_chars: int = 200_000  # of text in the page at all
    rich_chars: int = 1 << 19  # of HTML, without its scripts and pictures
    markdown_chars: int = 100_000  # without its pictures
    code_chars: int = 100_000  # to colour
    picture_bytes: int = 256 << 10  # inline, where there are addresses for larger ones
    picture_most_bytes: int = 6 << 20  # inline, where there are none
    picture_pixels: int = MOST_PIXELS
    seconds: float = 20.0  # looked at between outputs


@dataclass(frozen=True)
class NotebookPage:
    """What is known of a notebook besides its bytes.

    `cells` are the facts of its record by the author's number, `failing` is the number of the cell
    at which it ended. Without `asset` large outputs are left out. `timezone` is an IANA name.
    """

    title: str
    cells: Mapping[int, CellRecord] = field(default_factory=dict)
    failing: int | None = None
    limits: Limits = field(default_factory=Limits)
    asset: Asset | None = None
    timezone: str = "UTC"
    live: bool = False
