"""The bytes of an output that is too large for the page, by the same rules that show it there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightmill.review.render import ansi, pictures
from nightmill.review.render.displays import HTML, PDF, PLAIN, RASTER, SVG
from nightmill.review.render.outputs import whole_text
from nightmill.review.render.page import Limits
from nightmill.review.render.reading import Sheet, read
from nightmill.review.render.sanitize import clean
from nightmill.spec.executed import text_of

_TEXT = "text/plain; charset=utf-8"
_DOCUMENT = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Output</title></head>'
    '<body><main id="output">{}</main></body></html>'
)

Asset = tuple[bytes, str]
"""Bytes, and the type to serve them as: under `page.POLICY`, as the page itself."""


def asset_of(data: bytes, cell: int, output: int, mimetype: str) -> Asset | None:
    """Return an output of a notebook in one of its forms; None where there is no such thing.

    `cell` and `output` count from 0, as `page.Asset` got them.
    """
    sheet = read(data, Limits().notebook_bytes)
    found = _output(sheet, cell, output) if isinstance(sheet, Sheet) else None
    if found is None:
        return None
    bundle = found.get("data")
    if isinstance(bundle, Mapping):
        return _form(text_of(bundle.get(mimetype)), mimetype)
    text = ansi.plain(whole_text(found)) if mimetype == PLAIN else ""
    return (text.encode(errors="replace"), _TEXT) if text else None


def _output(sheet: Sheet, cell: int, output: int) -> Mapping[str, Any] | None:
    try:
        found = sheet.cells[cell]["outputs"][output]
    except (LookupError, TypeError):
        return None
    return found if isinstance(found, Mapping) and cell >= 0 and output >= 0 else None


def _form(text: str, mimetype: str) -> Asset | None:
    if not text:
        return None
    if mimetype == PLAIN:
        return ansi.plain(text).encode(errors="replace"), _TEXT
    if mimetype == HTML:
        page = _DOCUMENT.format(clean(text, "output").whole())
        return page.encode(errors="replace"), "text/html; charset=utf-8"
    return _bytes(text, mimetype)


def _bytes(text: str, mimetype: str) -> Asset | None:
    """Return a picture or a PDF only if it is what it is called."""
    if mimetype == SVG:
        drawn = pictures.drawing(text)
        return (drawn, SVG) if drawn else None
    data = pictures.decode(text) if mimetype in (*RASTER, PDF) else None
    if data is None:
        return None
    if mimetype == PDF:
        return (data, PDF) if data.startswith(b"%PDF-") else None
    picture = pictures.inspect(data)
    return (data, picture.kind) if picture else None
