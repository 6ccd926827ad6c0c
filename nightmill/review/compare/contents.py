"""An executed notebook as a comparison needs it: sources, and each output by hash and kind.

Pictures are hashed as they are written there and let go at once, so two notebooks are never in
memory together. Of a bundle of representations the one counts that a reader would see. What was
printed is one text a stream, since how a kernel cuts it into messages is chance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Literal, cast

from nightmill.review.compare import volatile
from nightmill.review.compare.model import Image
from nightmill.spec import executed, words
from nightmill.spec.executed import items, part, text_of
from nightmill.spec.states import CellState

MAX_BYTES = 64 << 20
MAX_TEXT = 200_000
MAX_CELLS = 10_000
_MAX_OUTPUTS = 1000  # of one cell
_MAX_JSON = 100_000
_MAX_SVG = 1_000_000
_SVG = "image/svg+xml"

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", _SVG)
"""The types that are shown, the first that a bundle has."""

_UNSEEN = ("application/scrapbook", "application/papermill")
"""Beginnings of types that hold metrics, which are told from the record."""

_PlacedAddress = Callable[[int, str], str]

CellKind = Literal["code", "markdown", "raw"]


class Kind(StrEnum):
    """What an output is to its reader."""

    STDOUT = "printed text"
    STDERR = "text on stderr"
    ERROR = "error"
    IMAGE = "picture"
    HTML = "HTML"
    TEXT = "text"
    DATA = "data"


@dataclass(frozen=True)
class Output:
    """One output. `sha256` is that of all of it; `text` is its beginning, where it has any.

    `steady` is the hash of a drawing without what differs every night, which is told in `without`.
    """

    kind: Kind
    sha256: str
    text: str = ""
    is_cut: bool = False
    image: Image | None = None
    steady: str = ""
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cell:
    """One cell by its author's number; `ran` is false where its attempt never came to it."""

    kind: CellKind
    number: int
    title: str
    id: str | None
    source: str
    sha256: str
    ran: bool = True
    outputs: tuple[Output, ...] = field(default=(), repr=False)


Address = Callable[[int, int, str], str]
"""Names where a picture can be seen: by the 0-based places of its cell and output, and its type."""


def _nowhere(_cell: int, _output: int, _mime: str) -> str:
    return ""


def read_cells(data: bytes, address: Address = _nowhere) -> tuple[Cell, ...] | None:
    """Read the author's cells of an executed notebook; None for what is no notebook.

    What papermill added is left out: the parameters are told from the record, an error in its cell.
    """
    notebook = executed.parse(data)
    try:
        return None if notebook is None else tuple(_cells(notebook["cells"], address))
    except RecursionError:  # JSON that could just be read, and cannot be written
        return None


def _cells(found: Sequence[Any], address: Address) -> Iterator[Cell]:
    cells = [(place, cell) for place, cell in enumerate(found) if isinstance(cell, Mapping)]
    own = [one for one in cells if "nightmill" in part(one[1], "metadata")] or cells
    authors = [one for one in own if not executed.is_injected(one[1])]
    for position, (place, cell) in enumerate(authors[:MAX_CELLS], start=1):
        yield _cell(cell, position, partial(address, place))


def _cell(cell: Mapping[str, Any], position: int, address: _PlacedAddress) -> Cell:
    source, mine = text_of(cell.get("source")), part(part(cell, "metadata"), "nightmill")
    kind, number, name = cell.get("cell_type"), mine.get("number"), cell.get("id")
    is_number = isinstance(number, int) and not isinstance(number, bool)
    return Cell(
        kind=cast("CellKind", kind if kind in ("code", "markdown") else "raw"),
        number=number if is_number and isinstance(number, int) else position,
        title=words.shortened(words.one_line(text_of(mine.get("title")) or source[:500]), 80),
        id=name if isinstance(name, str) else None,
        source=source[:MAX_TEXT],
        sha256=_hash(source),
        ran=mine.get("state") != CellState.NOT_RUN,
        outputs=tuple(_outputs(cell, address)) if kind == "code" else (),
    )


# -- outputs --------------------------------------------------------------------------------------


def _outputs(cell: Mapping[str, Any], address: _PlacedAddress) -> Iterator[Output]:
    outputs = items(cell, "outputs")[:_MAX_OUTPUTS]
    known = [(at, one) for at, one in enumerate(outputs) if isinstance(one, Mapping)]
    yield from _printed([one for _at, one in known if one.get("output_type") == "stream"])
    for at, one in known:
        if one.get("output_type") == "error":
            yield _of_text(Kind.ERROR, _error(one))
        elif bundle := part(one, "data"):
            yield from _of_bundle(bundle, partial(address, at))


def _printed(streams: Sequence[Mapping[str, Any]]) -> Iterator[Output]:
    for name, kind in (("stdout", Kind.STDOUT), ("stderr", Kind.STDERR)):
        text = "".join(text_of(one.get("text")) for one in streams if one.get("name") == name)
        if text:
            yield _of_text(kind, text)


def _error(output: Mapping[str, Any]) -> str:
    traceback = map(text_of, items(output, "traceback"))
    said = f"{text_of(output.get('ename'))}: {text_of(output.get('evalue'))}"
    return "\n".join([said, *(line for line in traceback if words.plain(line) != said)])


def _of_bundle(bundle: Mapping[str, Any], address: Callable[[str], str]) -> Iterator[Output]:
    seen = {str(mime): value for mime, value in bundle.items() if not str(mime).startswith(_UNSEEN)}
    mime = next((one for one in PICTURES if one in seen), None)
    if mime is not None:
        yield _of_image(mime, text_of(seen[mime]), address(mime))
    elif structured := [one for one in seen if _is_structured(one)]:
        yield _of_data(seen[structured[0]])
    elif "text/html" in seen:
        yield _of_text(Kind.HTML, text_of(seen["text/html"]))
    else:
        texts = ("text/markdown", "text/latex", "text/plain", *sorted(seen))
        found = next((one for one in texts if one in seen), None)
        if found is not None and not found.startswith("application/vnd.jupyter.widget"):
            yield _of_text(Kind.TEXT, text_of(seen[found]))


def _is_structured(mime: str) -> bool:
    """Tell data that a library draws in the browser; a widget has only an id of its own there."""
    if mime.startswith(("application/vnd.jupyter.widget", "application/vnd.bokehjs")):
        return False
    return mime == "application/json" or mime.endswith("+json")


def _of_image(mime: str, data: str, address: str) -> Output:
    if mime == _SVG:
        size, found = len(data.encode()), volatile.svg(data[:_MAX_SVG])
        steady = _hash(found.text + data[_MAX_SVG:])
    else:
        data = "".join(data.split())
        size, found, steady = len(data.rstrip("=")) * 3 // 4, volatile.Steady(""), ""
    image = Image(sha256=_hash(data), mime=mime, size=size, address=address)
    return Output(Kind.IMAGE, image.sha256, image=image, steady=steady, without=found.without)


def _of_data(value: object) -> Output:
    whole = executed.valid_unicode(json.dumps(value, sort_keys=True, ensure_ascii=False))
    shown = _indented(value) if len(whole) <= _MAX_JSON else ""  # it takes a hundred times as long
    return Output(Kind.DATA, _hash(whole), shown, is_cut=not shown)


def _indented(value: object) -> str:
    try:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    except RecursionError:  # it goes less deep than the reader
        return ""
    return executed.valid_unicode(text)


def _of_text(kind: Kind, text: str) -> Output:
    return Output(kind, _hash(text), text[:MAX_TEXT], is_cut=len(text) > MAX_TEXT)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
