"""Notebooks that try to run, load, cover or imitate something on the page that shows them."""

from __future__ import annotations

import base64

from tests.making_notebooks import (
    ACT,
    CANARY,
    SCRIPT,
    Odd,
    code,
    html_of,
    of,
    picture,
    printed,
    raised,
    shown,
    stated,
    text,
)

FORMULAS = (
    Odd(
        "formulas in Markdown",
        of(text("$a^2$ and\n\n$$\\frac{1}{2}$$\n\n\\begin{align}x &= y\\end{align}")),
        has=["<msup>", "<mfrac>", "<mtable"],
    ),
    Odd(
        "faulty TeX",
        of(text("$\\frac{1}$ and $\\nosuchmacro{x}$ and $$\\left( x$$")),
        seen=["\\frac{1}", "\\nosuchmacro{x}", "\\left( x"],
        never=["<mfrac>"],
    ),
    Odd(
        "links and styles in TeX",
        of(text(f"$\\href{{javascript:{ACT}}}{{x}}$ $\\style{{position:fixed}}{{y}}$")),
        never=['href="javascript', "position:fixed"],
    ),
    Odd(
        "markup in TeX",
        of(text("$\\text{<img src=x onerror=alert(1)>}$ $\\unicode{x3c}script>$")),
        never=["<img src=x", "<script"],
    ),
    Odd(
        "escaped markup in TeX",
        of(
            text("$\\text{&lt;script&gt;alert(1)&lt;/script&gt;}$"),
            code("x", shown(latex="$\\text{&lt;img src=x onerror=alert(1)&gt;}$")),
        ),
        never=["<script", "<img"],
    ),
    Odd(
        "a macro that calls itself",
        of(text("$\\newcommand{\\a}{\\a\\a}\\a$ still here")),
        seen=["still here"],
    ),
    Odd(
        "ten thousand braces",
        of(text(f"${'{' * 10_000}x{'}' * 10_000}$ after it"), text("next cell")),
        seen=["next cell"],
    ),
    Odd(
        "many environments that never end",
        of(text("\\begin{align}\n" * 5000), text("next cell")),
        seen=["next cell"],
    ),
)

_NESTS = (
    f'<math><mtext><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={ACT}&gt;">',
    f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img onerror={ACT}&gt;">',
    f'<svg></p><style><a id="</style><img src=1 onerror={ACT}>">',
    f'<noscript><p title="</noscript><img src=x onerror={ACT}>">',
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={ACT}>",
    f'<math><annotation-xml encoding="text/html"><style><img src onerror={ACT}></style>',
    f"<template><style><!--</style><a rel='--></style></template><img src=x onerror={ACT}>'>",
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
    Odd("script in Markdown", of(text(f"before {SCRIPT} after")), seen=["before", "after"]),
    Odd(
        "script in HTML",
        of(code("x", shown(html=f"<p>shown</p>{SCRIPT}"))),
        seen=["shown", "scripts do not run"],
    ),
    Odd(
        "nothing but a script",
        of(code("x", shown(html=SCRIPT, plain="the plain form"))),
        seen=["the plain form", "Interactive output"],
    ),
    Odd("a script output", of(code("x", shown(js=ACT))), seen=["Script, which does not run here"]),
    Odd(
        "event handlers",
        html_of(
            f'<img src=x onerror="{ACT}"><p onclick="{ACT}" ONMOUSEOVER={ACT}>kept</p>'
            f"<details open ontoggle={ACT}><summary>more</summary></details>"
            f'<a/onfocus="{ACT}"/autofocus/tabindex=1>focus</a><body onload={ACT}>'
        ),
        seen=["kept", "focus"],
    ),
    Odd(
        "SVG that acts",
        of(
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
        html_of(f'<svg onload="{ACT}"><circle r="4"/><script>{ACT}</script></svg><p>beside</p>'),
        seen=["beside"],
        has=["data:image/svg+xml;base64,"],
    ),
    Odd(
        "SVG with entities",
        of(code("x", shown(svg='<!DOCTYPE svg [<!ENTITY a "b">]><svg><text>&a;</text></svg>'))),
        seen=["drawing that is damaged, or that defines entities"],
    ),
    Odd(
        "links that act",
        html_of(
            "".join(f'<a href="{one}">link {number}</a> ' for number, one in enumerate(_LINKS))
        ),
        seen=[f"link {number}" for number in range(len(_LINKS))],
        never=["javascript:", "vbscript:", "data:text", 'href="file', 'href="/', "blob:"],
    ),
    Odd(
        "Markdown links that act",
        of(
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
        html_of(
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
        html_of(
            f'<form action="{CANARY}" method="post"><input name="password" autofocus><button '
            f'formaction="javascript:{ACT}">Sign in</button></form><p>kept</p>'
        ),
        seen=["kept"],
        never=["<form", "<input", "<button", "formaction"],
    ),
    Odd(
        "styles that load and cover",
        html_of(
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
        html_of(
            f'<p style="background:\\75rl({CANARY})">one</p>'
            f'<p style="background:u/**/rl({CANARY})">two</p>'
            f"<p style=\"background-image:image-set('{CANARY}' 1x)\">three</p>"
            f'<p style="list-style-type:url({CANARY})">four</p>'
        ),
        seen=["one", "two", "three", "four"],
        never=["rl(http", "image-set"],
    ),
    Odd(
        "the look of our own page",
        html_of(
            '<div class="banner" id="cell-1"><p>Approved by the platform</p></div>'
            '<a id="location" name="cookie" href="#cell-1">x</a><img id="body" name="body">'
        ),
        seen=["Approved by the platform"],
        has=['class="u-banner"', 'id="u-cell-1"', 'href="#u-cell-1"'],
        never=['name="body"', 'name="cookie"', '<div class="banner"'],
    ),
    Odd(
        "titles and names that end their element",
        of(
            code("x", raised(f"</title>{SCRIPT}", f"</strong>{SCRIPT}"), **stated("failed")),
            metadata={"kernelspec": {"language": f"</p>{SCRIPT}"}},
        ),
        seen=["</title><script>"],
        page={"title": f"</title>{SCRIPT}", "timezone": f"</p>{SCRIPT}"},
    ),
    *(
        Odd(f"parsers that disagree, {number}", html_of(f"<p>kept</p>{nest}"), seen=["kept"])
        for number, nest in enumerate(_NESTS, start=1)
    ),
    Odd(
        "JSON of hostile types",
        of(
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
        of(
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
        of(code("x", shown(png=picture(60_000, 60_000)))),
        seen=["60,000 by 60,000 pixels is not shown"],
        never=["data:image/png"],
    ),
    Odd(
        "pictures from elsewhere",
        of(
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
        of(
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
        of(
            text("{{ 7 - 3 }} {% raw %} ${7 - 3} <%= 7 - 3 %>"),
            code("{{ config }}", printed("{title} %s {0}")),
        ),
        seen=["{{ 7 - 3 }} {% raw %}", "{{ config }}", "{title} %s {0}"],
        page={"title": "{style} {0} %s"},
    ),
    Odd(
        "terminal orders",
        of(
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
        of(code("x", printed("\x1b[31m\x1b[1m" * 50_000 + "end")), text("next cell")),
        seen=["end", "next cell"],
    ),
    Odd(
        "facts that lie",
        of(
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
        of(
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
        of(
            code(
                "x",
                shown(**{"application/scrapbook.scrap.json+json": {"name": "auc", "data": 0.81}}),
            )
        ),
        seen=["auc 0.81"],
    ),
    Odd(
        "deep HTML",
        of(code("x", shown(html="<div>" * 50_000)), code("y", shown(html="<i></b>" * 50_000))),
        seen=["nested too deeply"],
    ),
    Odd(
        "an element with a hundred thousand attributes",
        of(code("x", shown(html="<p " + " ".join(f"a{n}=1" for n in range(100_000)) + ">x"))),
        seen=["too long"],
    ),
)
