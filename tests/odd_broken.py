"""Notebooks that are broken, of an odd form, or far too large."""

from __future__ import annotations

import gzip
import json

from tests.making_notebooks import (
    SCRIPT,
    Odd,
    code,
    notebook,
    of,
    printed,
    raised,
    shown,
    stated,
    text,
)

BROKEN = (
    Odd("no bytes", lambda: b"", seen=["This file is empty", "Nothing was written"]),
    Odd("only white space", lambda: b" \n\t ", seen=["This file is empty"]),
    Odd("cut off", lambda: notebook(code("x" * 99))[:80], seen=["cut off after 80 characters"]),
    Odd("no JSON", lambda: b"print('hello')", seen=["is not valid JSON"]),
    Odd("JSON, but no notebook", lambda: b'{"a": [1, 2]}', seen=["it has no cells"]),
    Odd("a number", lambda: b"42", seen=["it has no cells"]),
    Odd("HTML named like a notebook", lambda: b"<!doctype html><p>403</p>", seen=["is an HTML"]),
    Odd(
        "compressed", lambda: gzip.compress(notebook(code("x"))), seen=["compressed with gzip", "x"]
    ),
    Odd("compressed and damaged", lambda: b"\x1f\x8b" + b"x" * 40, seen=["damaged"]),
    Odd(
        "compressed to nothing",
        lambda: gzip.compress(b" " * (65 << 20)),
        seen=["pages show notebooks up to 64"],
    ),
    Odd("a byte order mark", lambda: b"\xef\xbb\xbf" + notebook(code("bom")), seen=["bom"]),
    Odd("UTF-16", lambda: notebook(code("wide")).decode().encode("utf-16"), seen=["wide"]),
    Odd(
        "bytes that are no UTF-8",
        lambda: notebook(text("a\x00b")).replace(b"\\u0000", b"\xff"),
        seen=["a\ufffdb"],
    ),
    Odd(
        "numbers that JSON has not",
        of(code("x", shown(json=[float("nan"), float("inf")]))),
        seen=["NaN", "Infinity"],
    ),
    Odd(
        "a number of 5,000 digits",
        lambda: notebook(code("big")).replace(
            b'"execution_count": 1', b'"execution_count": ' + b"9" * 5000
        ),
        seen=["big"],
    ),
    Odd(
        "lone surrogates",
        of(code("x", printed("a\ud800b"), raised("E\udfff", "\ud83d")), text("\udc00 $\ud800$")),
        seen=["a\ufffdb"],
    ),
    Odd("nested too deeply", lambda: b'{"cells": ' + b"[" * 100_000, seen=["nested too deeply"]),
    Odd(
        "too many parts",
        lambda: b'{"cells": [' + b"{}," * 2_100_000 + b"{}]}",
        seen=["too many parts"],
    ),
    Odd(
        "fields that are missing",
        of({}, {"cell_type": "code"}, {"cell_type": "markdown"}, {"source": "lost"}),
        seen=["lost", "unknown type"],
    ),
    Odd(
        "cells that are no objects",
        of(1, None, "words", [code()], code("ok")),
        seen=["words", "ok"],
    ),
    Odd(
        "outputs that are no objects",
        of(code("x", 1, None, "a", [])),
        seen=["An output that is no object"],
    ),
    Odd(
        "outputs of unknown types",
        of(code("x", {"output_type": "smell", "text": "roses"}, {"output_type": "display_data"})),
        seen=["An output of an unknown type: smell", "roses", "An output without data"],
    ),
    Odd(
        "lists of lines",
        of({**code(), "source": ["a = 1\n", "b = 2"], "outputs": [printed(["one\n", "two"])]}),
        seen=["b = 2", "two"],
    ),  # type: ignore[arg-type]
    Odd(
        "the same id twice",
        of({**code("one"), "id": "a"}, {**code("two"), "id": "a"}),
        seen=["one", "two"],
    ),
    Odd(
        "the same number twice",
        of(code("one", **stated("completed", 2)), code("two", **stated("completed", 2))),
        seen=["one", "two"],
    ),
    Odd("no cells", of(), seen=["This notebook has no cells"]),
    Odd(
        "raw cells",
        of({"cell_type": "raw", "metadata": {}, "source": f"<b>raw</b>{SCRIPT}"}),
        seen=["<b>raw</b>"],
    ),
    Odd(
        "control characters",
        of(code("a\x00b\x07c", printed("d\x00e\x0bf\x85g"))),
        seen=["a␀b␇c", "d␀e␋f\ufffdg"],
    ),
)

LARGE = (
    Odd(
        "too many values",
        lambda: b'{"cells": [' + b"1," * 12_100_000 + b"1]}",
        seen=["too many parts"],
    ),
    Odd(
        "JSON of two hundred levels",
        lambda: notebook(code("x", shown(json=json.loads("[" * 200 + "]" * 200)))),
        seen=["1 item, nested too deeply"],
    ),
    Odd(
        "five thousand cells",
        lambda: notebook(*(code(f"x{n}", printed(str(n))) for n in range(5000))),
        seen=["5,000 cells", "x4999"],
    ),
    Odd(
        "twelve thousand cells",
        lambda: notebook(*(text(".") for _ in range(12_000))),
        seen=["2,000 more cells are left out"],
    ),
    Odd(
        "ten thousand outputs",
        of(code("x", *(shown(plain=str(n)) for n in range(10_000)))),
        seen=["9,500 more outputs are left out"],
    ),
    Odd(
        "a line of a million letters",
        of(code("x", printed("a" * 1_000_000 + "end"))),
        seen=["characters are left out", "end"],
    ),
    Odd(
        "a thousand lines",
        of(code("x", printed("\n".join(f"line {n}." for n in range(1000))))),
        seen=["line 0.", "line 500.", "920 more lines", "line 999."],
    ),
    Odd(
        "a table of 20,000 rows",
        of(
            code(
                "x",
                shown(
                    html="<table>" + "<tr><td>1.234</td></tr>" * 40_000 + "</table>",
                    plain="the head of it",
                ),
            )
        ),
        seen=["the head of it", "too long to be shown here"],
    ),
    Odd("long Markdown", of(text("word " * 50_000)), seen=["too long to be typeset", "word word"]),
    Odd(
        "JSON with a million items",
        of(code("x", shown(json=list(range(300_000))))),
        seen=["300,000 items", "299,900 more"],
    ),
)
