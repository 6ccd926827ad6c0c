"""What secrets look like, whoever's they are: access keys, tokens, private keys, passwords in URLs.

Each look begins or ends with literal text, which is searched for plainly; a pattern is only tried
where that was found, so that 100 MB take a second or two. Each stays within a line, but for private
keys, and is bounded in length: what is still being written can be told from what is finished
(`open_from`). Precision counts as much as reach: `password=password` in an author's code is no
secret, and a redaction there would only hide what the reviewer came to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Place = tuple[int, int]

# Who issues a token: the texts that it begins with, and what follows.
_TOKENS = (
    (("AKIA", "ASIA", "ABIA", "ACCA"), r"[A-Z0-9]{16}(?![A-Z0-9])"),  # AWS
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{20,255}"),  # GitHub
    (("github_pat_",), r"\w{20,255}"),
    (("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-"), r"[\w.-]{20,255}"),  # GitLab
    (("xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-"), r"[\w-]{10,255}"),  # Slack
    (("AIza",), r"[\w-]{35}"),  # Google
    (("ya29.",), r"[\w-]{20,2000}"),
    (("GOCSPX-",), r"[\w-]{20,100}"),
    (("eyJ",), r"[\w-]{8,8000}\.eyJ[\w-]{8,8000}(?:\.[\w-]{0,2000})?"),  # a JSON Web Token
    (("sk_live_", "rk_live_"), r"[A-Za-z0-9]{20,255}"),  # Stripe
    (("sk-",), r"[\w-]{40,255}"),  # OpenAI, Anthropic
    (("hf_",), r"[A-Za-z0-9]{30,100}"),  # Hugging Face
    (("npm_",), r"[A-Za-z0-9]{36}"),
    (("pypi-",), r"[\w-]{50,255}"),
    (("dapi",), r"[0-9a-f]{32}"),  # Databricks
)
_BEGINS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-F]{2}))"  # a word, also one after an escape

_PRIVATE_KEY = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_LINE_END = r"(?:[ \t]*(?:\r?\n|\\r|\\n)+[ \t]*)"
_PEM = (
    rf"-----BEGIN {_PRIVATE_KEY}"
    rf"(?:{_LINE_END}(?:[A-Za-z-]{{1,30}}: [^\n\\]{{0,100}}|[A-Za-z0-9+/=]{{1,100}}))*+"
    rf"(?:{_LINE_END}?-----END {_PRIVATE_KEY})?"
)
_LONGEST_PEM = 32_768

_URL = (
    r"://(?:[^\s/:@\"'<>]{0,255}:(?!\{|\*|\$)(?P<secret>[^\s/@\"'<>]{1,512})@"
    r"|(?P<user>[^\s/:@\"'<>{}]{20,512})@)"  # a token in the place of the user's name
)

_SHAPES = (
    *(
        (starts, re.compile(f"{_BEGINS}(?P<secret>(?:{'|'.join(starts)}){rest})", re.ASCII))
        for starts, rest in _TOKENS
    ),
    (("-----BEGIN ",), re.compile(f"(?P<secret>{_PEM})")),
    (("://",), re.compile(_URL)),
)

# What a value is given to: a name that ends so, `Authorization:`, `Bearer`.
_KEYWORD_ENDS = ("password", "passwd", "passphrase", "key", "token", "secret", "credential")
_KEYWORDS = (
    r"(?:pass(?:word|wd|phrase)|secret[_-]?(?:access[_-]?)?key|(?:client|app|shared)[_-]?secret"
    r"|(?:api|access|account|private|signing|encryption|auth)[_-]?key"
    r"|(?:access|auth|refresh|session|private|bearer|api|id|security)[_-]?token)"
)
_KEYWORD = re.compile(rf"{_KEYWORDS}\Z", re.IGNORECASE)
_LONGEST_KEYWORD = 24
_QUERY_ENDS = ("pwd", "token", "sig", "signature", "credential")  # after one of ? & ; and before =
_QUERY_KEYWORD = re.compile(
    rf"(?<=[;?&])(?:pwd|token|sig|x-amz-[a-z-]{{1,16}}|{_KEYWORDS})\Z", re.IGNORECASE
)

_QUOTE = r"""\\{0,4}["']"""
_EQUALS = rf"(?:{_QUOTE}\]?)?[ \t]{{0,8}}(?:=>|[:=])[ \t]{{0,8}}"
# What stands for a secret, and is none: {name}, ${name}, %(name)s, <name>, ***, a reference.
_STAND_IN = (
    r"(?:\{[^}\n]*\}|\$\{?\w+\}?|%\(?\w*\)?s|<[^>\n]*>|\*+|\.+"
    r"|secret://\w+|\[redacted: [^\]\n]*\])"
)
_PLAIN = r"[^\s\"'`,;&()\[\]{}<>|\\]"
_ASSIGNED = re.compile(
    rf"{_EQUALS}(?:"
    rf"[bruBRU]{{0,2}}(?P<quote>{_QUOTE})(?!{_STAND_IN}(?P=quote)|\[redacted: )"
    rf"(?P<secret>(?:(?!(?P=quote))[^\n]){{4,512}}+)"
    rf"|(?={_PLAIN}{{0,64}}\d)(?!{_STAND_IN})(?P<plain>{_PLAIN}{{4,512}}+)(?![(\[{{])"
    r")"
)
_IN_QUERY = re.compile(rf"=(?!{_STAND_IN})(?P<secret>{_PLAIN}{{4,512}}+)(?![(\[{{])")
_AUTHORIZATION = re.compile(
    r"[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?(?i:bearer|basic|token|apikey)[ \t]{1,8}"
    r"(?P<secret>[\w.~+/=-]{4,8000})",
    re.ASCII,
)
_BEARER = re.compile(r"[ \t]{1,8}(?=[\w.~+/=-]{0,200}\d)(?P<secret>[\w.~+/=-]{16,8000})", re.ASCII)


def find_tokens(text: str) -> Iterator[Place]:
    """Find where secrets of known looks begin and end; they may overlap, in no order."""
    for starts, pattern in _SHAPES:
        for start in starts:
            at = text.find(start)
            while at >= 0:
                if match := pattern.match(text, at):
                    yield match.span(match.lastgroup or 0)
                at = text.find(start, at + len(start))
    yield from _find_assigned(text)


def holds_token(text: str) -> bool:
    """Say whether a secret of a known look is in the text."""
    return next(find_tokens(text), None) is not None


def is_keyword(name: str) -> bool:
    """Say whether a member or setting of this name holds a password, a key or a token."""
    return bool(_KEYWORD.search(name[-_LONGEST_KEYWORD:]))


def is_stand_in(value: str) -> bool:
    """Say whether a value only stands for a secret: a placeholder, a reference, nothing."""
    return not value or bool(re.fullmatch(_STAND_IN, value))


def _find_assigned(text: str) -> Iterator[Place]:
    lower = text.lower()
    if len(lower) != len(text):  # a few letters of other scripts become two
        lower = "".join(one.lower() if one.isascii() else one for one in text)
    yield from _valued(text, lower, _KEYWORD_ENDS, (_KEYWORD, _ASSIGNED))
    if any(mark in text for mark in ";?&"):
        ends = (*_QUERY_ENDS, *_KEYWORD_ENDS)
        yield from _valued(text, lower, ends, (_QUERY_KEYWORD, _IN_QUERY))
    yield from _valued(text, lower, ("authorization",), (None, _AUTHORIZATION))
    yield from _valued(text, lower, ("bearer",), (None, _BEARER))


def _valued(
    text: str,
    lower: str,
    ends: tuple[str, ...],
    patterns: tuple[re.Pattern[str] | None, re.Pattern[str]],
) -> Iterator[Place]:
    """Find the values after names with such ends: what the name must be, how a value is given."""
    name, value = patterns
    for end in ends:
        after = lower.find(end) + len(end)
        while after >= len(end):
            match = value.match(text, after)
            if match and (not name or name.search(text, max(0, after - _LONGEST_KEYWORD), after)):
                yield match.span(match.lastgroup or 0)
            after = lower.find(end, after) + len(end)


_LONGEST_WORD = 16_384
_LONGEST_OPENING = 640
_BREAKS = " \t\r\n\"'`<>"
_OPENING = re.compile(
    rf"(?:{_KEYWORDS}"
    rf"(?:{_QUOTE}\]?)?[ \t]{{0,8}}(?:=>?|:)?[ \t]{{0,8}}[bru]{{0,2}}"
    rf"(?:(?P<quote>{_QUOTE})(?:(?!(?P=quote))[^\n]){{0,512}})?"
    r"|authorization[\"']?[ \t]{0,8}[:=]?[ \t]{0,8}[\"']?\w{0,8}[ \t]{0,8}"
    r"|bearer[ \t]{1,8})\S{0,8000}\Z",
    re.IGNORECASE,
)


def open_from(text: str) -> int:
    """Say from where on the text may be the beginning of a secret of a known look.

    It is the length of a text that cannot be.
    """
    return min(_open_word(text), _open_key(text))


def _open_word(text: str) -> int:
    """Find the word that the text ends with, and the assignment that it may belong to."""
    line = max(text.rfind("\n"), text.rfind("\r"), len(text) - _LONGEST_WORD - 1) + 1
    if line == len(text):
        return line
    word = max(line, *(text.rfind(mark, line) + 1 for mark in _BREAKS))
    opening = _OPENING.search(text, max(line, word - _LONGEST_OPENING))
    if opening:
        return opening.start()
    return word if text[word:].strip(".") else len(text)  # dots are progress, not secrets


def _open_key(text: str) -> int:
    """Find a private key that has begun and not ended."""
    begin = text.rfind("-----BEGIN ", max(0, len(text) - _LONGEST_PEM))
    if begin < 0:
        return len(text)
    header = text[begin + 11 : begin + 60].split("-----")
    is_other = len(header) > 1 and "PRIVATE KEY" not in header[0]
    is_ended = re.search("-----END [^-]*-----", text[begin:])
    return len(text) if is_other or is_ended else begin
