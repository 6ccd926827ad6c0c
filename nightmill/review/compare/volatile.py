"""What differs every night and means nothing: taken out before two texts are compared.

| what | where it comes from |
|---|---|
| memory addresses | the default `repr` of objects |
| generated ids | pandas' Styler, plotly, bokeh, matplotlib's SVG, `In [12]` of tracebacks |
| times | progress bars, `%%time`, log lines, dates of SVG |

Only what cannot be data is taken out: of a moment its clock must show fractions of a second, as
those of log lines do, and only in what was printed. The reader is told what was passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ADDRESSES = "memory addresses"
IDS = "generated ids"
TIMES = "times"

_MARK = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True)
class _Rule:
    what: str
    pattern: re.Pattern[str]
    by: str = _MARK
    sign: str = ""  # a text without it is not searched


_TEXT = (
    _Rule(ADDRESSES, re.compile(r"\b0x[0-9a-fA-F]{6,16}\b"), f"0x{_MARK}", "0x"),
    _Rule(IDS, re.compile(r"\bIn ?\[\d+\]"), f"In [{_MARK}]", "In"),
    _Rule(IDS, re.compile(r"<ipython-input-\d+-[0-9a-f]+>"), sign="<ipython-input"),
    _Rule(IDS, re.compile(r"/ipykernel_\d+/\d+\.py"), sign="/ipykernel_"),
    _Rule(IDS, re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), sign="-"),
)
_PRINTED = (
    *_TEXT,
    _Rule(TIMES, re.compile(r"\[(?:\d+:)?\d\d:\d\d<[^\]\n]{1,60}\]"), f"[{_MARK}]", "<"),
    _Rule(
        TIMES,
        re.compile(r"(?:CPU times|Wall time|CPU time)\s*:[^\n]*"),
        f"times: {_MARK}",
        "time",
    ),
    _Rule(
        TIMES,
        re.compile(r"(?:\d{4}-\d\d-\d\d[ T])?\b\d\d:\d\d:\d\d[.,]\d{3,9}(?:Z|[+-]\d\d:?\d\d)?"),
        sign=":",
    ),
)
_HTML = (
    *_TEXT,
    _Rule(IDS, re.compile(r"\bT_[0-9a-f]{4,10}(?=_|[\"' {#.,>])"), f"T_{_MARK}", "T_"),
    _Rule(IDS, re.compile(r"\bid=([\"'])[^\"'>]{1,80}\1"), "id=" + _MARK, "id="),
    _Rule(IDS, re.compile(r"\b[0-9a-f]{32}\b")),
)
_SVG = (
    _Rule(TIMES, re.compile(r"<dc:date>[^<]{0,60}</dc:date>"), "<dc:date/>", "<dc:date"),
    # matplotlib makes them from a random salt: a letter and ten digits of a hash
    _Rule(IDS, re.compile(r"(?<=[\"#])[a-z][0-9a-f]{10}(?=[\")])")),
)


@dataclass(frozen=True)
class Steady:
    """A text without what differs every night, and what that was."""

    text: str
    without: frozenset[str] = frozenset()


def text(given: str) -> Steady:
    """Take out of the text of a result what differs every night."""
    return _apply(_TEXT, given)


def printed(given: str) -> Steady:
    """Take it out of what was printed, times too."""
    return _apply(_PRINTED, given)


def html(given: str) -> Steady:
    """Take it out of HTML."""
    return _apply(_HTML, given)


def svg(given: str) -> Steady:
    """Take it out of an SVG picture."""
    return _apply(_SVG, given)


def _apply(rules: tuple[_Rule, ...], given: str) -> Steady:
    without = set()
    for rule in rules:
        if rule.sign in given:
            given, count = rule.pattern.subn(rule.by, given)
            if count:
                without.add(rule.what)
    return Steady(given, frozenset(without))
