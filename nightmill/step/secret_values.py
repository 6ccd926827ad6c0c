"""Which secrets an environment holds, and in what spellings a notebook may print one.

A secret comes out as it is, in a URL, in JSON or a traceback's `repr`, in HTML, in base64 (where
its look depends on how many bytes stand before it), or one line of it at a time.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from nightmill.spec.secret_names import (
    DECLARED,
    is_secret_name,
    looks_secret,
    names_declared,
    names_secret_file,
)
from nightmill.spec.secret_shapes import find_tokens

_SHORTEST = 4
_SHORTEST_PLAIN = 6
_SHORTEST_LINE = 8
_LARGEST_FILE = 64 * 1024
_WORDS = frozenset(
    (
        *(
            "true",
            "false",
            "none",
            "null",
            "test",
            "tests",
            "testing",
            "dummy",
            "example",
            "sample",
        ),
        *("default", "local", "localhost", "admin", "administrator", "root", "user", "guest"),
        *("password", "passwd", "secret", "token", "changeme", "redacted", "anonymous", "public"),
        *(
            "private",
            "prod",
            "production",
            "develop",
            "staging",
            "enabled",
            "disabled",
            "auto",
            "sample",
        ),
        *("http", "https", "basic", "bearer", "access", "session", "abcd", "abcdef", "qwerty"),
        *("postgres", "mysql", "minio", "minioadmin", "airflow", "nightmill"),
    )
)


def is_weak(value: str) -> bool:
    """Say whether a value is so short or common that redacting it would garble everything."""
    is_plain = value.isdecimal() or value.isalpha()  # a number or a word of any text
    shortest = _SHORTEST_PLAIN if is_plain else _SHORTEST
    return len(value) < shortest or value.lower() in _WORDS or len(set(value)) == 1


def secrets_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Find the secrets of an environment, by the name of the variable that holds or leads to each.

    These are the variables that $NIGHTMILL_SECRETS names, those that look so by name or value, and
    the small files that they name.
    """
    declared = names_declared(environ.get(DECLARED, ""))
    found: dict[str, str] = {}
    for name, value in environ.items():
        if any(fnmatchcase(name, one) for one in declared):
            found[name] = value
        elif name != DECLARED and (secret := _recognised(name, value)):
            found[name] = secret
    for folder in (Path(one) for one in declared if one.startswith("/")):
        found |= {f"{folder.name}/{file.name}": _small_text(file) for file in _files_in(folder)}
    return {name: value.strip() for name, value in found.items() if value.strip()}


def _recognised(name: str, value: str) -> str:
    """Give the secret that a variable holds, or the text of the secret file that it names."""
    if names_secret_file(name) or (is_secret_name(name) and value.startswith("/")):
        text = _small_text(Path(value))
        if text or names_secret_file(name):
            return text
    if is_secret_name(name):
        return value
    return "\n".join(_tokens_in(value)) if looks_secret(name, value) else ""


def _files_in(folder: Path) -> list[Path]:
    with suppress(OSError):
        files = folder.iterdir() if folder.is_dir() else [folder]
        return sorted(file for file in files if file.is_file())
    return []


def _small_text(file: Path) -> str:
    with suppress(OSError, ValueError):
        if file.is_file() and file.stat().st_size <= _LARGEST_FILE:
            return file.read_text(encoding="utf-8")
    return ""


def _tokens_in(text: str) -> Iterator[str]:
    for start, end in find_tokens(text):
        yield text[start:end]


def spellings(value: str) -> set[str]:
    """Give all texts that would tell this secret, in any of its spellings."""
    parts = {part for part in _parts(value) if not is_weak(part)}
    found = {value, *parts}
    for text in {value, *(unquote(part) for part in parts if "%" in part)}:
        found |= {*_escaped(text), *_encoded(text.encode(errors="surrogatepass"))}
    return {text for text in found if not is_weak(text)}


def _parts(value: str) -> Iterator[str]:
    """Find what is secret by itself inside a secret: lines, members of JSON, passwords of URLs."""
    yield from _tokens_in(value)
    with suppress(ValueError, RecursionError):
        yield from _secret_members(json.loads(value))
        return
    lines = value.splitlines()
    for line in lines if len(lines) > 1 else ():
        name, separator, rest = line.partition("=")
        if separator and is_secret_name(name.strip()):
            yield rest.strip().strip("\"'")
        elif len(line.strip()) >= _SHORTEST_LINE and not _is_framing(line):
            yield line.strip()


def _is_framing(line: str) -> bool:
    """Say whether a line of a file is what others have as well: a heading, a comment, a setting."""
    return bool(re.match(r"\s*(-----|[\[#;{}]|[\w.-]+\s*[=:]\s)", line))


def _secret_members(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            if isinstance(value, str) and is_secret_name(name):
                yield value
                yield from _parts(value) if "\n" in value else ()
            else:
                yield from _secret_members(value)
    elif isinstance(found, list):
        for value in found:
            yield from _secret_members(value)


def _escaped(text: str) -> Iterator[str]:
    for quoted in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda code: code.group().lower(), quoted)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield repr(text.encode(errors="surrogatepass"))[2:-1]
    yield html.escape(text)
    yield html.escape(text, quote=False)


def _encoded(data: bytes) -> Iterator[str]:
    """Give what base64 makes of the bytes wherever they begin in a group of three."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + data).decode()
        first = (before * 8 + 5) // 6  # the first character that shows nothing of what is before
        whole = text[first : (before + len(data)) * 8 // 6]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")
