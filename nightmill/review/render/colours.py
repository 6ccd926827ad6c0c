"""Colours that can be read: any two of a terminal's, moved apart until they are legible.

Terminals allow 16 million colours on any background; pages promise a contrast of 4.5 (WCAG AA), in
the light and in the dark.
"""

from __future__ import annotations

from functools import lru_cache

Rgb = tuple[int, int, int]

LIGHT: Rgb = (0xF1, 0xF2, 0xF5)  # --shade of the pages, on which code and text stand
DARK: Rgb = (0x22, 0x28, 0x35)
BLACK: Rgb = (0, 0, 0)
WHITE: Rgb = (255, 255, 255)

_LINEAR_BELOW = 0.04045  # WCAG's own
_ENOUGH = 4.6
_STEPS = 12
_LEVELS = (0, 95, 135, 175, 215, 255)  # of the cube of 216 colours
_SIXTEEN: tuple[Rgb, ...] = (
    (0x3B, 0x42, 0x52), (0xC0, 0x2B, 0x2B), (0x1D, 0x82, 0x3F), (0x97, 0x6A, 0x00),
    (0x2A, 0x5F, 0xD0), (0x9B, 0x37, 0xA8), (0x0B, 0x7C, 0x8C), (0x9A, 0xA2, 0xB0),
    (0x6B, 0x74, 0x86), (0xE0, 0x4A, 0x4A), (0x2F, 0xA8, 0x5A), (0xC2, 0x91, 0x1A),
    (0x5B, 0x8D, 0xEF), (0xC2, 0x6A, 0xD0), (0x2B, 0xA8, 0xBA), (0xE8, 0xEA, 0xEE),
)  # fmt: skip


def indexed(number: int) -> Rgb:
    """Return one of a terminal's 256 colours."""
    if number < len(_SIXTEEN):
        return _SIXTEEN[number]
    if number >= 232:  # noqa: PLR2004 - where the greys begin
        grey = 8 + 10 * (number - 232)
        return grey, grey, grey
    cube = number - 16
    return _LEVELS[cube // 36], _LEVELS[cube // 6 % 6], _LEVELS[cube % 6]


def hexadecimal(colour: Rgb) -> str:
    """Return a colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


@lru_cache(maxsize=1024)
def legible(ink: Rgb, paper: Rgb) -> Rgb:
    """Return the colour nearest to `ink` that can be read on `paper`."""
    end = BLACK if contrast(BLACK, paper) > contrast(WHITE, paper) else WHITE
    for step in range(_STEPS):
        tried = _mixed(ink, end, step / _STEPS)
        if contrast(tried, paper) >= _ENOUGH:
            return tried
    return end


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _mixed(one: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _luminance(colour: Rgb) -> float:
    parts = [part / 255 for part in colour]
    linear = [
        part / 12.92 if part <= _LINEAR_BELOW else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
