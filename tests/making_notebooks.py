"""Makes notebooks for tests that read them: cells, outputs, pictures, and entries of a corpus."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("odd_notebooks")
CANARY = "http://canary.test/hit"
ACT = f"window.pwned=1;alert(1);fetch('{CANARY}')"
SCRIPT = f"<script>{ACT}</script>"


@dataclass(frozen=True)
class Odd:
    """One notebook of the corpus.

    `seen` is text that a person must read on its page, `has` is markup that must be in it, `never`
    is what must not be in it in any form. `page` is what a caller says of it.
    """

    name: str
    make: Callable[[], bytes]
    seen: Sequence[str] = ()
    has: Sequence[str] = ()
    never: Sequence[str] = ()
    page: Mapping[str, Any] = field(default_factory=dict)


# -- making notebooks -----------------------------------------------------------------------------


def notebook(*cells: object, **fields: object) -> bytes:
    """Write a notebook of format 4.5 from its cells."""
    whole = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps({**whole, **fields}).encode()


def code(source: str = "1", *outputs: object, **metadata: object) -> dict[str, Any]:
    """Make a code cell with its outputs."""
    cell = {"cell_type": "code", "execution_count": 1, "metadata": metadata}
    return {**cell, "source": source, "outputs": list(outputs)}


def text(source: object, **fields: object) -> dict[str, Any]:
    """Make a Markdown cell."""
    return {"cell_type": "markdown", "metadata": {}, "source": source, **fields}


def shown(**data: object) -> dict[str, Any]:
    """Make a display from its forms: html, plain, png, svg, latex, or any type by `data`."""
    kinds = {
        "html": "text/html",
        "plain": "text/plain",
        "markdown": "text/markdown",
        "latex": "text/latex",
        "png": "image/png",
        "jpeg": "image/jpeg",
        "svg": "image/svg+xml",
        "json": "application/json",
        "js": "application/javascript",
    }
    bundle = {kinds.get(name, name): value for name, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": bundle}


def printed(words: str, name: str = "stdout") -> dict[str, Any]:
    """Make what a cell wrote to a stream."""
    return {"output_type": "stream", "name": name, "text": words}


def raised(ename: str, evalue: str, *lines: str) -> dict[str, Any]:
    """Make an error output."""
    return {"output_type": "error", "ename": ename, "evalue": evalue, "traceback": list(lines)}


def picture(width: int = 2, height: int = 2) -> str:
    """Make a PNG that says it has this size, in base64; only small ones really have it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x46\x78\xc8" * width for _ in range(height)) if width < 99 else b""
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))).decode()


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    kind, data = part
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def file_of(name: str) -> Callable[[], bytes]:
    """Read a notebook of the corpus that is a file."""
    return (FOLDER / name).read_bytes


def of(*cells: object, **fields: object) -> Callable[[], bytes]:
    """Make a notebook when it is asked for."""
    return lambda: notebook(*cells, **fields)


def html_of(html: str) -> Callable[[], bytes]:
    """Make a notebook that has the same HTML as an output and in Markdown."""
    return of(code("x", shown(html=html)), text(html))


def stated(state: str, number: int = 1, **more: object) -> dict[str, Any]:
    """Make the metadata that our engine writes of a cell."""
    return {"nightmill": {"state": state, "number": number, "title": ""}, **more}
