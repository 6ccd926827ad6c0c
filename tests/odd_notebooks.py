"""Notebooks that were made to be odd or to do harm, and what a page of each must show.

`seen` is text that a person must read on the page, `has` is markup that must be in it, `never` is
what must not be in it in any form. Whatever a notebook is, its page must be inert: the tests that
use this table see to that for all alike. Real outputs of libraries are files beside this one.
"""

from __future__ import annotations

import base64
import gzip
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
    """One notebook of the corpus."""

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
    """Make a PNG that says it has this size, in base64; only small ones are as large as they say."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x46\x78\xc8" * width for _ in range(height)) if width < 99 else b""
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))).decode()


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    kind, data = part
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _file(name: str) -> Callable[[], bytes]:
    return (FOLDER / name).read_bytes


def _of(*cells: object, **fields: object) -> Callable[[], bytes]:
    return lambda: notebook(*cells, **fields)


def _html(html: str) -> Callable[[], bytes]:
    return _of(code("x", shown(html=html)), text(html))


def _state(state: str, number: int = 1, **more: object) -> dict[str, Any]:
    return {"nightmill": {"state": state, "number": number, "title": ""}, **more}


# -- the corpus -----------------------------------------------------------------------------------

REALISTIC = (
    Odd(
        "plotly",
        _file("plotly.ipynb"),
        seen=["Interactive Plotly figure", "nightmill replay RUN --open", "Delays by carrier"],
        never=["cdn.plot", "newPlot"],
    ),
    Odd("bokeh", _file("bokeh.ipynb"), seen=["Interactive Bokeh figure"], never=["embed_items"]),
    Odd("altair", _file("altair.ipynb"), seen=["Interactive Vega-Lite figure", "alt.Chart", "Delays by hour"]),
    Odd(
        "vega-lite without text",
        _of(
            code(
                "chart",
                shown(
                    **{
                        "application/vnd.vegalite.v5+json": {
                            "title": "Delays by hour",
                            "mark": {"type": "bar"},
                            "encoding": {"x": {"field": "hour"}, "y": {"field": "delay"}},
                        }
                    }
                ),
            )
        ),
        seen=["Delays by hour", "bar", "hour", "delay"],
    ),
    Odd(
        "pandas styler",
        _file("styler.ipynb"),
        seen=["Delays, coloured", "12.250000", "UA"],
        has=["background-color:#", "#output-0-0 #u-T_", "linear-gradient(90deg"],
    ),
    Odd(
        "ipywidgets",
        _file("widgets.ipynb"),
        seen=["top n 7 (0 to 10)", "bold", "sure true", "part 3.0 of 4.0", "carrier AA"],
        never=["<script"],
    ),
    Odd(
        "ipywidgets without their state",
        _of(
            code(
                "slider",
                shown(
                    **{"application/vnd.jupyter.widget-view+json": {"model_id": "gone"}},
                    plain="IntSlider(value=7)",
                ),
            )
        ),
        seen=["IntSlider(value=7)", "Interactive widget"],
    ),
    Odd("tqdm", _file("tqdm.ipynb"), seen=["plain: 100%", "3/3"], never=["plain:   0%"]),
    Odd(
        "matplotlib",
        _file("matplotlib.ipynb"),
        has=['src="data:image/png;base64,', 'src="data:image/svg+xml;base64,', "Figure size 64x40"],
    ),
    Odd(
        "sympy", _file("sympy.ipynb"), has=["<math", "<msup>", "<mtable"], never=["displaystyle e"]
    ),
    Odd(
        "a deep traceback",
        _file("rich_errors.ipynb"),
        seen=["ZeroDivisionError: division by zero", "more lines"],
        has=["t-ink", '<details class="fold">'],
        never=["\x1b"],
    ),
    Odd(
        "R",
        _file("r_kernel.ipynb"),
        seen=["factor", "Error in log(-1): NaNs produced", "A data.frame: 2 × 2"],
        has=['<span class="p-'],
    ),
    Odd("Julia", _file("julia_kernel.ipynb"), seen=["∑", "DomainError"], has=['<span class="p-']),
    Odd("format 3", _file("format_3.ipynb"), seen=["An old heading", "print 'old'", "old output"]),
    Odd("format 2", _file("format_2.ipynb"), seen=["print 2", "two", "version 2"]),
    Odd("format 4.0 without ids", _of(code("x = 1"), nbformat_minor=0), seen=["x = 1"]),
    Odd(
        "a format of the future",
        _of(code("x = 5"), nbformat=9),
        seen=["x = 5", "version 9 of the notebook format"],
    ),
)

FORMULAS = (
    Odd(
        "formulas in Markdown",
        _of(text("$a^2$ and\n\n$$\\frac{1}{2}$$\n\n\\begin{align}x &= y\\end{align}")),
        has=["<msup>", "<mfrac>", "<mtable"],
    ),
    Odd(
        "faulty TeX",
        _of(text("$\\frac{1}$ and $\\nosuchmacro{x}$ and $$\\left( x$$")),
        seen=["\\frac{1}", "\\nosuchmacro{x}", "\\left( x"],
        never=["<mfrac>"],
    ),
    Odd(
        "links and styles in TeX",
        _of(text(f"$\\href{{javascript:{ACT}}}{{x}}$ $\\style{{position:fixed}}{{y}}$")),
        never=['href="javascript', "position:fixed"],
    ),
    Odd(
        "markup in TeX",
        _of(text("$\\text{<img src=x onerror=alert(1)>}$ $\\unicode{x3c}script>$")),
        never=["<img src=x", "<script"],
    ),
    Odd(
        "escaped markup in TeX",
        _of(
            text("$\\text{&lt;script&gt;alert(1)&lt;/script&gt;}$"),
            code("x", shown(latex="$\\text{&lt;img src=x onerror=alert(1)&gt;}$")),
        ),
        never=["<script", "<img"],
    ),
    Odd(
        "a macro that calls itself",
        _of(text("$\\newcommand{\\a}{\\a\\a}\\a$ still here")),
        seen=["still here"],
    ),
    Odd(
        "ten thousand braces",
        _of(text(f"${'{' * 10_000}x{'}' * 10_000}$ after it"), text("next cell")),
        seen=["next cell"],
    ),
    Odd(
        "many environments that never end",
        _of(text("\\begin{align}\n" * 5000), text("next cell")),
        seen=["next cell"],
    ),
)

_NESTS = (
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 '
    f'onerror={ACT}&gt;">',
    f'<svg></p><style><a id="</style><img src=1 onerror={ACT}>">',
    f'<noscript><p title="</noscript><img src=x onerror={ACT}>">',
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={ACT}>",
    f'<math><annotation-xml encoding="text/html"><style><img src onerror={ACT}></style>',
    f"<select><template><style><!--</style><a rel='--></style></template></select><img src=x "
    f"onerror={ACT}>'>",
    f"<xmp><p title='</xmp><img src=x onerror={ACT}>'>",
    f"<textarea><img src=x onerror={ACT}></textarea><title><img src=x onerror={ACT}></title>",
    f"<svg><desc><foreignObject><script>{ACT}</script></foreignObject></desc></svg>",
    f"<!--><img src=x onerror={ACT}>-->",
    f"<table><tr><td><svg><script>{ACT}</script><td>text</td></svg></table>",
)
_LINKS = (
    f"javascript:{ACT}",
    f"JaVaScRiPt:{ACT}",
    f"java\nscript:{ACT}",
    f"java\tscript:{ACT}",
    f"\x01javascript:{ACT}",
    f" javascript:{ACT}",
    f"&#106;avascript&colon;{ACT}",
    f"javascript&#x3a;{ACT}",
    f"vbscript:{ACT}",
    f"data:text/html,{SCRIPT}",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "file:///etc/passwd",
    "//canary.test/hit",
    "/canary",
    "blob:http://canary.test/x",
)

HOSTILE = (
    Odd("script in Markdown", _of(text(f"before {SCRIPT} after")), seen=["before", "after"]),
    Odd(
        "script in HTML",
        _of(code("x", shown(html=f"<p>shown</p>{SCRIPT}"))),
        seen=["shown", "scripts do not run"],
    ),
    Odd(
        "nothing but a script",
        _of(code("x", shown(html=SCRIPT, plain="the plain form"))),
        seen=["the plain form", "Interactive output"],
    ),
    Odd("a script output", _of(code("x", shown(js=ACT))), seen=["Script, which does not run here"]),
    Odd(
        "event handlers",
        _html(
            f'<img src=x onerror="{ACT}"><p onclick="{ACT}" ONMOUSEOVER={ACT}>kept</p>'
            f"<details open ontoggle={ACT}><summary>more</summary></details>"
            f'<a/onfocus="{ACT}"/autofocus/tabindex=1>focus</a><body onload={ACT}>'
        ),
        seen=["kept", "focus"],
    ),
    Odd(
        "SVG that acts",
        _of(
            code(
                "x",
                shown(
                    svg=f'<svg onload="{ACT}"><script>{ACT}</script><foreignObject><iframe '
                    f'src="{CANARY}"/></foreignObject><use href="{CANARY}#a"/><image '
                    f'href="{CANARY}"/><style>@import url({CANARY});</style></svg>'
                ),
            )
        ),
        has=['<img src="data:image/svg+xml;base64,'],
    ),
    Odd(
        "SVG inside of HTML",
        _html(f'<svg onload="{ACT}"><circle r="4"/><script>{ACT}</script></svg><p>beside</p>'),
        seen=["beside"],
        has=["data:image/svg+xml;base64,"],
    ),
    Odd(
        "SVG with entities",
        _of(code("x", shown(svg='<!DOCTYPE svg [<!ENTITY a "b">]><svg><text>&a;</text></svg>'))),
        seen=["drawing that is damaged, or that defines entities"],
    ),
    Odd(
        "links that act",
        _html("".join(f'<a href="{one}">link {number}</a> ' for number, one in enumerate(_LINKS))),
        seen=[f"link {number}" for number in range(len(_LINKS))],
        never=["javascript:", "vbscript:", "data:text", 'href="file', 'href="/', "blob:"],
    ),
    Odd(
        "Markdown links that act",
        _of(
            text(
                "\n\n".join(
                    f"[link {n}](<{one}>)" for n, one in enumerate(_LINKS) if "\n" not in one
                )
            )
        ),
        never=['href="javascript', 'href="vbscript', 'href="data', 'href="/'],
    ),
    Odd(
        "base, refresh and frames",
        _html(
            f'<base href="{CANARY}/"><meta http-equiv="refresh" content="0;url={CANARY}">'
            f'<iframe srcdoc="{SCRIPT}"></iframe><iframe src="{CANARY}"></iframe><object '
            f'data="{CANARY}"></object><embed src="{CANARY}"><link rel="stylesheet" '
            f'href="{CANARY}"><portal src="{CANARY}"></portal><p>kept</p>'
        ),
        seen=["kept"],
        never=["refresh", "srcdoc", "<base"],
    ),
    Odd(
        "forms",
        _html(
            f'<form action="{CANARY}" method="post"><input name="password" autofocus><button '
            f'formaction="javascript:{ACT}">Sign in</button></form><p>kept</p>'
        ),
        seen=["kept"],
        never=["<form", "<input", "<button", "formaction"],
    ),
    Odd(
        "styles that load and cover",
        _html(
            f"<style>@import '{CANARY}'; body {{display:none}} .banner {{display:none}} p {{"
            f"background:url({CANARY})}} #x {{position:fixed;inset:0;color:red}} "
            '}</style><p id=x style="position:fixed;top:0;z-index:9;background:url('
            f'{CANARY});width:expression(alert(1));margin:-500px;color:blue">kept</p>'
        ),
        seen=["kept"],
        has=["color:blue"],
        never=["position:fixed", "expression(", "@import '", "-500px", f"url({CANARY}"],
    ),
    Odd(
        "styles with escapes and comments",
        _html(
            f"<p style=\"background:\\75rl({CANARY})\">one</p><p style='background:u/**/rl({CANARY})'>"
            f"two</p><p style=\"background-image:image-set('{CANARY}' 1x)\">three</p>"
            f'<p style="list-style-type:url({CANARY})">four</p>'
        ),
        seen=["one", "two", "three", "four"],
        never=["rl(http", "image-set"],
    ),
    Odd(
        "the look of our own page",
        _html(
            '<div class="banner" id="cell-1"><p>Approved by the platform</p></div>'
            '<a id="location" name="cookie" href="#cell-1">x</a><img id="body" name="body">'
        ),
        seen=["Approved by the platform"],
        has=['class="u-banner"', 'id="u-cell-1"', 'href="#u-cell-1"'],
        never=['name="body"', 'name="cookie"', '<div class="banner"'],
    ),
    Odd(
        "titles and names that end their element",
        _of(
            code("x", raised(f"</title>{SCRIPT}", f"</strong>{SCRIPT}"), **_state("failed")),
            metadata={"kernelspec": {"language": f"</p>{SCRIPT}"}},
        ),
        seen=["</title><script>"],
        page={"title": f"</title>{SCRIPT}", "timezone": f"</p>{SCRIPT}"},
    ),
    *(
        Odd(f"parsers that disagree, {number}", _html(f"<p>kept</p>{nest}"), seen=["kept"])
        for number, nest in enumerate(_NESTS, start=1)
    ),
    Odd(
        "JSON of hostile types",
        _of(
            code(
                "x",
                shown(json={f"<img src=x onerror={ACT}>": [SCRIPT, {"__proto__": {"a": 1}}]}),
                shown(**{"application/geo+json": {"type": SCRIPT}}),
                shown(**{f"application/vnd.{SCRIPT}+json": {"a": 1}}),
                shown(**{f"text/{SCRIPT}": SCRIPT}),
            )
        ),
        seen=["<script>", "An output that this page cannot show", "application/geo+json"],
    ),
    Odd(
        "pictures that are none",
        _of(
            code(
                "x",
                shown(png=base64.b64encode(SCRIPT.encode()).decode()),
                shown(png='"><script>alert(1)</script>'),
                shown(jpeg=picture()),
            )
        ),
        seen=["is no picture that browsers know", "not encoded in base64"],
        has=["data:image/png;base64,"],
    ),
    Odd(
        "a picture that would fill the memory",
        _of(code("x", shown(png=picture(60_000, 60_000)))),
        seen=["60,000 by 60,000 pixels is not shown"],
        never=["data:image/png"],
    ),
    Odd(
        "pictures from elsewhere",
        _of(
            text(f"![track]({CANARY}.png) ![local](plots/a.png)"),
            code(
                "x",
                shown(
                    html=f'<p>kept</p><img src="{CANARY}"><img srcset="{CANARY} 2x">'
                    f'<p background="{CANARY}"><video poster="{CANARY}">'
                ),
            ),
        ),
        seen=["picture not shown: track", "picture not shown: local", f"elsewhere: {CANARY}"],
    ),
    Odd(
        "pictures that are attached",
        _of(
            text(
                "![dots](attachment:a%20b.png) ![gone](attachment:none.png)",
                attachments={"a b.png": {"image/png": picture()}},
            ),
            text(f"![inline](data:image/png;base64,{picture()})"),
        ),
        has=['alt="dots"', 'alt="inline"'],
        seen=["picture not shown: gone"],
    ),
    Odd(
        "templates",
        _of(
            text("{{ 7 - 3 }} {% raw %} ${7 - 3} <%= 7 - 3 %>"),
            code("{{ config }}", printed("{title} %s {0}")),
        ),
        seen=["{{ 7 - 3 }} {% raw %}", "{{ config }}", "{title} %s {0}"],
        page={"title": "{style} {0} %s"},
    ),
    Odd(
        "terminal orders",
        _of(
            code(
                "x",
                printed(
                    "\x1b]0;title\x07\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\ "
                    '\x1b[31;"onmouseover=1m red\x1b[2J\x1b[H\x1b[999999999999m'
                ),
            )
        ),
        seen=["link"],
        never=["javascript:", "\x1b"],
    ),
    Odd(
        "a flood of terminal orders",
        _of(code("x", printed("\x1b[31m\x1b[1m" * 50_000 + "end")), text("next cell")),
        seen=["end", "next cell"],
    ),
    Odd(
        "facts that lie",
        _of(
            code("a", number=3, nightmill={"number": 10**30, "state": SCRIPT, "title": SCRIPT}),
            code(
                "b",
                nightmill={
                    "number": -4,
                    "state": "approved",
                    "spilled": [{"address": SCRIPT, "size": 9}],
                },
                papermill={"start_time": SCRIPT, "duration": 1e308},
            ),
        ),
        seen=["a", "b", "<script>"],
    ),
    Odd(
        "widgets that lie",
        _of(
            code("x", shown(**{"application/vnd.jupyter.widget-view+json": {"model_id": "a"}})),
            metadata={
                "widgets": {
                    "application/vnd.jupyter.widget-state+json": {
                        "state": {
                            "a": {
                                "model_name": "VBoxModel",
                                "state": {"children": ["IPY_MODEL_a", "IPY_MODEL_b"]},
                            },
                            "b": {
                                "model_name": "HTMLModel",
                                "state": {"value": f"<i>in</i>{SCRIPT}", "description": SCRIPT},
                            },
                        }
                    }
                }
            },
        ),
        seen=["in"],
    ),
    Odd(
        "a scrap",
        _of(
            code(
                "x",
                shown(**{"application/scrapbook.scrap.json+json": {"name": "auc", "data": 0.81}}),
            )
        ),
        seen=["auc 0.81"],
    ),
    Odd(
        "deep HTML",
        _of(code("x", shown(html="<div>" * 50_000)), code("y", shown(html="<i></b>" * 50_000))),
        seen=["nested too deeply"],
    ),
    Odd(
        "an element with a hundred thousand attributes",
        _of(code("x", shown(html="<p " + " ".join(f"a{n}=1" for n in range(100_000)) + ">x"))),
        seen=["too long"],
    ),
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
        _of(code("x", shown(json=[float("nan"), float("inf")]))),
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
        _of(code("x", printed("a\ud800b"), raised("E\udfff", "\ud83d")), text("\udc00 $\ud800$")),
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
        _of({}, {"cell_type": "code"}, {"cell_type": "markdown"}, {"source": "lost"}),
        seen=["lost", "unknown type"],
    ),
    Odd(
        "cells that are no objects",
        _of(1, None, "words", [code()], code("ok")),
        seen=["words", "ok"],
    ),
    Odd(
        "outputs that are no objects",
        _of(code("x", 1, None, "a", [])),
        seen=["An output that is no object"],
    ),
    Odd(
        "outputs of unknown types",
        _of(code("x", {"output_type": "smell", "text": "roses"}, {"output_type": "display_data"})),
        seen=["An output of an unknown type: smell", "roses", "An output without data"],
    ),
    Odd(
        "lists of lines",
        _of({**code(), "source": ["a = 1\n", "b = 2"], "outputs": [printed(["one\n", "two"])]}),
        seen=["b = 2", "two"],
    ),  # type: ignore[arg-type]
    Odd(
        "the same id twice",
        _of({**code("one"), "id": "a"}, {**code("two"), "id": "a"}),
        seen=["one", "two"],
    ),
    Odd(
        "the same number twice",
        _of(code("one", **_state("completed", 2)), code("two", **_state("completed", 2))),
        seen=["one", "two"],
    ),
    Odd("no cells", _of(), seen=["This notebook has no cells"]),
    Odd(
        "raw cells",
        _of({"cell_type": "raw", "metadata": {}, "source": f"<b>raw</b>{SCRIPT}"}),
        seen=["<b>raw</b>"],
    ),
    Odd(
        "control characters",
        _of(code("a\x00b\x07c", printed("d\x00e\x0bf\x85g"))),
        seen=["a␀b␇c", "d␀e␋f\ufffdg"],
    ),
)

LARGE = (
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
        _of(code("x", *(shown(plain=str(n)) for n in range(10_000)))),
        seen=["9,500 more outputs are left out"],
    ),
    Odd(
        "a line of a million letters",
        _of(code("x", printed("a" * 1_000_000 + "end"))),
        seen=["characters are left out", "end"],
    ),
    Odd(
        "a thousand lines",
        _of(code("x", printed("\n".join(f"line {n}." for n in range(1000))))),
        seen=["line 0.", "line 500.", "920 more lines", "line 999."],
    ),
    Odd(
        "a table of 20,000 rows",
        _of(
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
    Odd("long Markdown", _of(text("word " * 50_000)), seen=["too long to be typeset", "word word"]),
    Odd(
        "JSON with a million items",
        _of(code("x", shown(json=list(range(300_000))))),
        seen=["300,000 items", "299,900 more"],
    ),
)

PEOPLE = (
    Odd(
        "right to left",
        _of(text("# שלום עולם\n\nمرحبا بالعالم"), code("x = 'שלום'", printed("مرحبا"))),
        seen=["שלום עולם", "مرحبا"],
        has=['dir="auto"'],
    ),
    Odd(
        "emoji",
        _of(text("# 🎉 done 👩‍🔬"), code("print('🚀')", printed("🚀"))),
        seen=["🎉 done 👩‍🔬", "🚀"],
    ),
    Odd(
        "code that reads otherwise than it runs",
        _of(code("ok = '\u202e' # \u2066 nothing")),
        seen=["U+202E", "U+2066"],
        never=["\u202e", "\u2066"],
    ),
    Odd(
        "headings",
        _of(text("# One\n\n###### Six\n\n[to it](#One)")),
        has=["<h2", "<h6", 'id="u-One"', 'href="#u-One"'],
        never=["<h1 id"],
    ),
    Odd("tables in Markdown", _of(text("|a|b|\n|-|-|\n|1|~~2~~|")), has=["<table", "<s>2</s>"]),
)

ODD = (*REALISTIC, *FORMULAS, *HOSTILE, *BROKEN, *LARGE, *PEOPLE)
