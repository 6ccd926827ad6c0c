"""Markdown cells: CommonMark with tables and formulas, sanitized, with pictures of their own only.

Formulas and pictures are made by us and put in after sanitizing, in place of marks that nobody can
guess: MathML need not be allowed in HTML that others wrote, and pictures need not pass as text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from nightmill.review.render import pictures
from nightmill.review.render.formula import mathml
from nightmill.review.render.markup import escape, note
from nightmill.review.render.sanitize import Clean, clean, missing
from nightmill.spec.executed import text_of

_MOST_ENVIRONMENTS = 100  # of TeX in one cell: looking for their ends is quadratic
_WEB = ("http://", "https://")
_KINDS = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
_Env = MutableMapping[str, Any]


@dataclass
class _Writing:
    """What one cell puts in after sanitizing, by the number in its mark."""

    attachments: Mapping[str, str]
    mark: str = field(default_factory=lambda: "x" + secrets.token_hex(12) + "x")
    pieces: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def put(self, html: str) -> str:
        self.pieces.append(html)
        return f"{self.mark}{len(self.pieces) - 1}z"

    def fill(self, html: str) -> str:
        if not self.pieces:
            return html
        return re.sub(self.mark + r"(\d+)z", lambda found: self.pieces[int(found[1])], html)


def markdown(source: str, most_chars: int, attachments: Mapping[str, Any] | None = None) -> str:
    """Return Markdown as inert HTML; text longer than the limit is shown as it is.

    `attachments` are those of its cell, as nbformat has them.
    """
    addresses = _addresses(attachments or {})
    text = pictures.lifted(source, addresses)
    if len(text) > most_chars:
        return note("This text is too long to be typeset.") + f"<pre>{escape(source)}</pre>"
    writing = _Writing(addresses)
    has_few = text.count("\\begin{") <= _MOST_ENVIRONMENTS
    html = _parser(with_environments=has_few).render(text, {"writing": writing})
    found = clean(html, attachments=addresses)
    seen = tuple(dict.fromkeys([*writing.elsewhere, *found.elsewhere]))
    told = missing(Clean("", scripted=found.scripted, elsewhere=seen))
    return writing.fill(found.html) + told


def formula(tex: str, *, block: bool) -> str:
    """Return a formula, or its source where it is not understood."""
    drawn = mathml(tex, block=block)
    if drawn is None:
        drawn = f'<code class="tex" title="TeX that this page cannot draw">{escape(tex)}</code>'
    return f'<div class="formula" tabindex="0">{drawn}</div>' if block else drawn


def _addresses(attachments: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, bundle in attachments.items():
        kinds = bundle if isinstance(bundle, Mapping) else {}
        kind = next((one for one in _KINDS if one in kinds), "")
        place = pictures.inert_address(f"data:{kind};base64,{text_of(kinds.get(kind))}")
        if place:
            found[name] = place
    return found


@cache
def _parser(*, with_environments: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.use(dollarmath_plugin, allow_labels=False, double_inline=True)
    if with_environments:
        parser.use(amsmath_plugin)
    rules = {
        "math_inline": _inline_formula,
        "math_inline_double": _block_formula,
        "math_block": _block_formula,
        "amsmath": _block_formula,
        "image": _image,
        "heading_open": _heading,
    }
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    return parser


def _inline_formula(
    _self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, env: _Env
) -> str:
    return str(env["writing"].put(formula(tokens[index].content, block=False)))


def _block_formula(
    _self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, env: _Env
) -> str:
    return str(env["writing"].put(formula(tokens[index].content, block=True)))


def _heading(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: _Env
) -> str:
    """Name a heading as Jupyter does, so that a table of contents leads to it."""
    words = renderer.renderInlineAsText(tokens[index + 1].children, options, env)
    tokens[index].attrSet("id", words.strip().replace(" ", "-"))
    return renderer.renderToken(tokens, index, options, env)


def _image(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: _Env
) -> str:
    writing: _Writing = env["writing"]
    token = tokens[index]
    place = str(token.attrGet("src") or "")
    alt = renderer.renderInlineAsText(token.children, options, env)
    if place.startswith("attachment:"):
        held = writing.attachments.get(unquote(place.removeprefix("attachment:")))
    else:
        held = pictures.inert_address(place)
    if held:
        return writing.put(f'<img src="{held}" alt="{escape(alt)}">')
    if place.lower().startswith(_WEB):
        writing.elsewhere.append(place)
    return writing.put(
        f'<span class="missing">picture not shown: {escape(alt or place[:200])}</span>'
    )
