"""Pictures of a notebook: what kind the bytes really are, how large, and as inert addresses.

Of a picture only its first bytes are read here; it is the browser that decodes it, so one whose
header claims more than a browser should try is told instead. SVG is shown as a picture, never as a
part of the page: in a picture nothing runs and nothing is loaded.
"""

from __future__ import annotations

import binascii
import re
import struct
from base64 import b64encode
from dataclasses import dataclass

_DATA = re.compile(r"data:(image/[a-z+.-]{1,20});base64,", re.IGNORECASE)
_LIFTED = re.compile(r"data:image/[a-z+.-]{1,20};base64,[A-Za-z0-9+/=]{100,}")
_SVG = "image/svg+xml"
_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
MOST_PIXELS = 40_000_000  # each takes four bytes in the browser
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
_VP8_SIGN = b"\x9d\x01\x2a"


@dataclass(frozen=True)
class Picture:
    """What the first bytes of a picture say of it; sizes in pixels."""

    kind: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many the browser would have to hold."""
        return self.width * self.height


def decode(text: str) -> bytes | None:
    """Return what base64 holds, None for what is none."""
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        return None


def inspect(data: bytes) -> Picture | None:
    """Tell the kind of a picture by its first bytes; None for what is no picture of the web."""
    try:
        for look in (_png, _gif, _webp, _jpeg):
            if found := look(data):
                return found
    except (struct.error, IndexError):  # it ends in its header
        return None
    return None


def address(data: bytes, kind: str) -> str:
    """Return bytes as an address that holds them."""
    return f"data:{kind};base64,{b64encode(data).decode()}"


def drawing(text: str) -> bytes | None:
    """Return SVG in the form that browsers take as a picture; None for what is no drawing."""
    start = text.find("<svg")
    if start < 0 or "<!ENTITY" in text:
        return None
    text = text[start:]
    head, sign, rest = text.partition(">")
    if sign and "xmlns=" not in head:
        head = head.replace("<svg", f"<svg {_NAMESPACE}", 1)
    if sign and "xlink:" in rest and "xmlns:xlink" not in head:
        head = head.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
    return (head + sign + rest).encode(errors="replace")


def inert_address(place: str) -> str | None:
    """Return the address of a picture that is itself the data, rewritten; None for any other."""
    found = _DATA.match(place)
    data = decode(place[found.end() :]) if found else None
    if found is None or data is None:
        return None
    if found[1].lower() == _SVG:
        drawn = drawing(data.decode("utf-8", "replace"))
        return address(drawn, _SVG) if drawn else None
    picture = inspect(data)
    fits = picture is not None and picture.pixels <= MOST_PIXELS
    return address(data, picture.kind) if picture and fits else None


def lifted(text: str, attachments: dict[str, str]) -> str:
    """Attach the pictures that a text holds, which make it long, and return it with their names."""

    def attach(found: re.Match[str]) -> str:
        name = f"lifted-{len(attachments)}"
        attachments[name] = inert_address(found[0]) or ""
        return f"attachment:{name}"

    return _LIFTED.sub(attach, text) if "base64," in text else text


def drawings_as_pictures(html: str) -> str:
    """Replace each SVG element of some HTML by a picture of it, to be sanitized with the rest."""
    kept, place = [], 0
    while (start := html.find("<svg", place)) >= 0:
        end = html.find("</svg>", start)
        if end < 0:
            break
        stop = end + len("</svg>")
        drawn = drawing(html[start:stop])
        kept.append(html[place:start])
        kept.append(f'<img alt="Drawing" src="{address(drawn, _SVG)}">' if drawn else "")
        place = stop
    return "".join([*kept, html[place:]])


def _png(data: bytes) -> Picture | None:
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return Picture("image/png", *struct.unpack(">II", data[16:24]))


def _gif(data: bytes) -> Picture | None:
    if not data.startswith((b"GIF87a", b"GIF89a")):
        return None
    return Picture("image/gif", *struct.unpack("<HH", data[6:10]))


def _webp(data: bytes) -> Picture | None:
    if not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return None
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif data[23:26] == _VP8_SIGN:
        width, height = (one & 0x3FFF for one in struct.unpack("<HH", data[26:30]))
    else:
        return None
    return Picture("image/webp", width, height)


def _jpeg(data: bytes) -> Picture | None:
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    place = 2
    while data[place] == 0xFF:  # noqa: PLR2004 - how each segment begins
        marker = data[place + 1]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return Picture("image/jpeg", width, height)
        length = 0 if marker in _JPEG_BARE else int.from_bytes(data[place + 2 : place + 4])
        place += 2 + length
    return None
