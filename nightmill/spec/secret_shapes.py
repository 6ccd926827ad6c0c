"""What secrets look like, whoever's they are: access keys, tokens, private keys, passwords in URLs.

Each shape stays within a line, but for private keys, and is bounded in length: so what is still
being written can be told from what is finished (`open_from`), and the search takes linear time.
Precision counts as much as reach: `password=password` in an author's code is no secret, and a
redaction there would only hide what the reviewer came to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_STARTS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-F]{2}))"  # of a word, also when escaped

# What issues a token, and its look. The first characters are literal, so the search is quick.
_TOKENS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{20,255}",  # GitHub
    r"github_pat_\w{20,255}",
    r"gl(?:pat|dt|rt|ptt|cbt|soat|ft)-[\w.-]{20,255}",  # GitLab
    r"xox[abeoprs]-[\w-]{10,255}",  # Slack
    r"xapp-[\w-]{10,255}",
    r"AIza[\w-]{35}",  # Google
    r"ya29\.[\w-]{20,2000}",
    r"GOCSPX-[\w-]{20,100}",
    r"eyJ[\w-]{8,8000}\.eyJ[\w-]{8,8000}(?:\.[\w-]{0,2000})?",  # a JSON Web Token
    r"[sr]k_live_[A-Za-z0-9]{20,255}",  # Stripe
    r"sk-(?:ant-|proj-)?[\w-]{40,255}",  # OpenAI, Anthropic
    r"hf_[A-Za-z0-9]{30,100}",  # Hugging Face
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[\w-]{50,255}",
    r"dapi[0-9a-f]{32}",  # Databricks
)
_ANCHORS = (
    *("AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "gl"),
    *("xox", "xapp-", "AIza", "ya29.", "GOCSPX-", "eyJ", "k_live_", "sk-", "hf_", "npm_", "pypi-"),
    "dapi",
)
_TOKEN = re.compile(f"{_STARTS}(?P<secret>{'|'.join(_TOKENS)})", re.ASCII)

_PRIVATE = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_LINE_END = r"(?:[ \t]*(?:\r?\n|\\r|\\n)+[ \t]*)"
_PEM = re.compile(
    rf"(?P<secret>-----BEGIN {_PRIVATE}"
    rf"(?:{_LINE_END}(?:[A-Za-z-]{{1,30}}: [^\n\\]{{0,100}}|[A-Za-z0-9+/=]{{1,100}}))*+"
    rf"(?:{_LINE_END}?-----END {_PRIVATE})?)"
)
_PEM_LONGEST = 32_768

_URL = re.compile(
    r"://[^\s/:@\"'<>]{0,255}:(?!\{|\*|\$)(?P<secret>[^\s/@\"'<>]{1,512})@"
    r"|://(?P<user>[^\s/:@\"'<>{}]{20,512})@"  # a token in the place of the user's name
)

_KEYWORD = (
    r"(?:pass(?:word|wd|phrase)|secret[_-]?(?:access[_-]?)?key|(?:client|app|shared)[_-]?secret"
    r"|(?:api|access|account|private|signing|encryption|auth)[_-]?key"
    r"|(?:access|auth|refresh|session|private|bearer|api|id|security)[_-]?token"
    r"|(?<=[;?&])(?:pwd|token|sig|x-amz-signature|x-amz-credential))"
)
_QUOTE = r"""\\{0,4}["']"""
_EQUALS = rf"(?:{_QUOTE})?\]?[ \t]{{0,8}}(?:=>|[:=])[ \t]{{0,8}}"
# What stands for a secret, and is none: {name}, ${name}, %(name)s, <name>, ***, a reference.
_STAND_IN = (
    r"(?:\{[^}\n]*\}|\$\{?\w+\}?|%\(?\w*\)?s|<[^>\n]*>|\*+|\.+|secret://\w+|\[redacted: .*?\])"
)
_PLAIN = r"[^\s\"'`,;&()\[\]{}<>|\\]"
_ASSIGNED = re.compile(
    rf"(?i:{_KEYWORD}){_EQUALS}(?:"
    rf"[bruBRU]{{0,2}}(?P<quote>{_QUOTE})(?!{_STAND_IN}(?P=quote))"
    rf"(?P<secret>(?:(?!(?P=quote))[^\n]){{4,512}}+)(?:(?P=quote)|$)"
    rf"|(?={_PLAIN}{{0,512}}\d)(?!{_STAND_IN})(?P<plain>{_PLAIN}{{4,512}}+)(?![(\[{{])"
    r")"
    rf"|(?<=[;?&])(?i:{_KEYWORD})=(?!{_STAND_IN})(?P<query>{_PLAIN}{{4,512}}+)(?![(\[{{])",
    re.MULTILINE,
)
_MEMBER = re.compile(rf"{_KEYWORD}\Z", re.IGNORECASE)
_STANDS_IN = re.compile(_STAND_IN)
_KEYWORD_ANCHORS = ("passw", "passphrase", "key", "token", "secret", "pwd=", "sig", "credential")

_BEARER = re.compile(
    r"(?i:authorization[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?(?:bearer|basic|token))[ \t]{1,8}"
    r"(?P<secret>[\w.~+/=-]{4,8000})"
    r"|(?i:bearer)[ \t]{1,8}(?=[\w.~+/=-]{0,200}\d)(?P<plain>[\w.~+/=-]{16,8000})",
    re.ASCII,
)


def find_tokens(text: str) -> Iterator[tuple[int, int]]:
    """Find where secrets of known looks begin and end; they may overlap, in no order."""
    for pattern in _patterns_for(text):
        for match in pattern.finditer(text):
            yield match.span(match.lastgroup or 0)


def holds_token(text: str) -> bool:
    """Say whether a secret of a known look is in the text."""
    return next(find_tokens(text), None) is not None


def is_keyword(name: str) -> bool:
    """Say whether a member or setting of this name holds a password, a key or a token."""
    return bool(_MEMBER.search(name))


def is_stand_in(value: str) -> bool:
    """Say whether a value only stands for a secret: a placeholder, a reference, nothing."""
    return not value or bool(_STANDS_IN.fullmatch(value))


def _patterns_for(text: str) -> Iterator[re.Pattern[str]]:
    """Choose by plain search, which is many times quicker, what is worth a search by pattern."""
    if any(anchor in text for anchor in _ANCHORS):
        yield _TOKEN
    if "-----BEGIN" in text:
        yield _PEM
    if "://" in text and "@" in text:
        yield _URL
    lower = text.lower()
    if any(anchor in lower for anchor in _KEYWORD_ANCHORS):
        yield _ASSIGNED
    if "bearer" in lower or "authorization" in lower:
        yield _BEARER


_LONGEST_WORD = 16_384
_LONGEST_OPENING = 640
_BREAKS = " \t\r\n\"'`<>"
_OPENING = re.compile(
    rf"(?:{_KEYWORD}(?:{_QUOTE})?\]?[ \t]{{0,8}}(?:=>?|:)?[ \t]{{0,8}}[bru]{{0,2}}"
    rf"(?:(?P<quote>{_QUOTE})(?:(?!(?P=quote))[^\n]){{0,512}})?"
    r"|authorization[\"']?[ \t]{0,8}[:=]?[ \t]{0,8}[\"']?\w{0,8}[ \t]{0,8}"
    r"|bearer[ \t]{1,8})\S{0,8000}\Z",
    re.IGNORECASE,
)


def open_from(text: str) -> int:
    """Say from where on the text may be the beginning of a secret of a known look.

    It is the length of a text that cannot be.
    """
    if not text:
        return 0
    return min(_open_word(text), _open_key(text))


def _open_word(text: str) -> int:
    """Find the word that the text ends with, and the assignment that it may belong to."""
    line = max(text.rfind("\n"), text.rfind("\r")) + 1
    line = max(line, len(text) - _LONGEST_WORD)
    word = max(text.rfind(mark, line) for mark in _BREAKS) + 1
    word = max(word, line)
    opening = _OPENING.search(text, max(line, word - _LONGEST_OPENING))
    if opening:
        return opening.start()
    return word if text[word:].strip(".") else len(text)  # dots are progress, not secrets


def _open_key(text: str) -> int:
    """Find a private key that has begun and not ended."""
    begin = text.rfind("-----BEGIN ", max(0, len(text) - _PEM_LONGEST))
    if begin < 0:
        return len(text)
    header = text[begin + 11 : begin + 60].split("-----")
    is_closed = len(header) > 1 and "PRIVATE KEY" not in header[0]
    return len(text) if is_closed or re.search("-----END [^-]*-----", text[begin:]) else begin
