"""Takes secrets out of whatever is about to be written or sent.

Values of the environment are found by plain search, in every spelling that `secret_values` knows;
others by their looks. Colour codes between characters do not hide a secret. All of it takes time
linear in the text, so that a flood of output can be redacted as it comes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from nightmill.spec.secret_shapes import find_tokens, is_keyword, is_stand_in, open_from
from nightmill.step.secret_values import is_weak, secrets_of, spellings

TOKEN = "[redacted: token]"  # noqa: S105 - what stands for one

_COLOUR = re.compile(r"\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~]")
_UNFINISHED_COLOUR = re.compile(r"\x1b(\[[0-?]{0,32}[ -/]{0,4})?\Z")
_LONGEST_COLOUR = 40
_LINE_BREAK = re.compile(r"\r?\n")
_WRAPPED = 60  # from this length on, base64 and others fold what they write into lines
_CUT = 16  # a secret that a table or traceback has cut is one from this length on
_SHORT = 8
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
_AROUND = 64
_TAIL = 65_536
_KEY = 3  # characters that tell nearly all beginnings of secrets apart


class _Needle(NamedTuple):
    """One spelling of a secret, and what replaces it; `head` is what is searched for."""

    text: str
    head: str
    marker: str


class _Span(NamedTuple):
    start: int
    end: int
    marker: str


class Redactor:
    """Replaces known secrets by `[redacted: NAME]`, and what looks like one by a token's marker.

    `values` maps a name to the secret it holds. `weak` lists the names whose value is too short or
    common to be told from other text; these are not redacted.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        markers = {value: f"[redacted: {name}]" for name, value in values.items()}
        everywhere = "\n".join([TOKEN, *markers.values()])
        self.weak = tuple(
            name for name, value in values.items() if is_weak(value) or value in everywhere
        )
        needles = {
            text: _needle(text, markers[value])
            for name, value in values.items()
            if name not in self.weak
            for text in spellings(value)
            if text not in everywhere
        }
        self._needles = sorted(needles.values(), key=lambda one: -len(one.text))
        self._wrapped = [one for one in self._needles if len(one.text) >= _WRAPPED]
        self._exact = {one.text: one.marker for one in self._needles}
        self._longest = max((len(one.text) for one in self._needles), default=0)
        self._beginnings = _beginnings(self._needles)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Redactor:
        """Make the redactor for the secrets of an environment."""
        return cls(secrets_of(environ))

    def warnings(self) -> Iterator[str]:
        """Say once which secrets nobody will redact; an identifier such as a key's is none."""
        names = ", ".join(name for name in self.weak if not name.endswith("_ID"))
        if names:
            yield (
                f"{names}: too short or too common a value to be told from other text, so it is "
                "not redacted; choose a longer one"
            )

    def text(self, text: str) -> str:
        """Return the text without its secrets; text without secrets comes back as it is."""
        spans = _merged(self._spans(text))
        if not spans:
            return text
        pieces, at = [], 0
        for start, end, marker in spans:
            pieces += [text[at:start], marker, *_COLOUR.findall(text, start, end)]
            at = end
        return "".join([*pieces, text[at:]])

    def tree(self, value: Any) -> Any:
        """Return a JSON value without the secrets of its texts, keys and whole numbers."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.tree(key): self._member(key, inner) for key, inner in value.items()}
            case list() | tuple():
                return [self.tree(inner) for inner in value]
            case int() if not isinstance(value, bool):
                return self._exact.get(str(value), value)
        return value

    def held_back(self, text: str) -> int:
        """Count the characters at the end of an unfinished text that may begin a secret.

        What is before them can be redacted and written; they cannot before more has come.
        """
        tail = text[-_TAIL:]
        end = len(tail)
        if unfinished := _UNFINISHED_COLOUR.search(tail, max(0, end - _LONGEST_COLOUR)):
            end = unfinished.start()
        plain = _Plain.without(_COLOUR, tail[:end])
        place = min(self._begun(plain.text), open_from(plain.text))
        cut = plain.start_of(place) if place < len(plain.text) else end
        if plain.at:
            cut = min(cut, self._begun(tail), open_from(tail))
        if cut == len(tail):
            return 0
        begin = 0 if "-----BEGIN " in tail else self._reach(tail, cut)
        spans = _merged(self._spans(tail[begin:]))
        straddling = [begin + start for start, end, _ in spans if start < cut - begin < end]
        return len(tail) - min([cut, *straddling])

    def _reach(self, text: str, cut: int) -> int:
        """Say from where on a text must be searched for what may go on behind the cut."""
        return max(0, min(text.rfind("\n", 0, cut) + 1, cut - 2 * self._longest))

    def _member(self, key: Any, value: Any) -> Any:
        if isinstance(key, str) and isinstance(value, str) and is_keyword(key):
            redacted = self.text(value)
            return redacted if redacted != value or is_stand_in(value) else TOKEN
        return self.tree(value)

    def _spans(self, text: str) -> Iterator[_Span]:
        yield from self._found(text)
        plain = _Plain.without(_COLOUR, text)
        if plain.at:  # both: what a broken code takes out may be a secret
            yield from plain.back(self._found(plain.text))
        if self._wrapped and "\n" in plain.text:
            joined = plain.text.replace("\r\n", "").replace("\n", "")
            if found := list(_find(self._wrapped, joined)):
                yield from plain.back(_Plain.without(_LINE_BREAK, plain.text).back(found))

    def _found(self, text: str) -> Iterator[_Span]:
        yield from _find(self._needles, text)
        yield from (_Span(*place, TOKEN) for place in find_tokens(text))

    def _begun(self, text: str) -> int:
        """Say from where on the text ends with the beginning of a secret."""
        begun = self._begin_of(text)
        end = text[-2 * self._longest :] if self._wrapped else ""
        if "\n" in end:
            unfolded = _Plain.without(_LINE_BREAK, end)
            at = self._begin_of(unfolded.text)
            if at < len(unfolded.text):
                begun = min(begun, len(text) - len(end) + unfolded.start_of(at))
        return begun

    def _begin_of(self, text: str) -> int:
        for key in (text[-_KEY:], text[-2:], text[-1:]):
            for length, needle in self._beginnings.get(key, ()):
                if text.endswith(needle[:length]):
                    return len(text) - length
        return len(text)


class _Plain(NamedTuple):
    """A text less what a pattern matched, and the way back to places in the original.

    `at` holds the places in the rest where something was taken out, `taken` how much up to there.
    """

    text: str
    at: list[int]
    taken: list[int]

    @classmethod
    def without(cls, pattern: re.Pattern[str], text: str) -> _Plain:
        """Take out all that the pattern matches."""
        pieces: list[str] = []
        at: list[int] = []
        taken: list[int] = []
        end, sum_taken = 0, 0
        for match in pattern.finditer(text):
            pieces.append(text[end : match.start()])
            at.append(match.start() - sum_taken)
            sum_taken += match.end() - match.start()
            taken.append(sum_taken)
            end = match.end()
        return cls("".join([*pieces, text[end:]]) if end else text, at, taken)

    def start_of(self, place: int) -> int:
        """Say where the character at a place of the rest is in the original."""
        index = bisect_right(self.at, place)
        return place + (self.taken[index - 1] if index else 0)

    def back(self, spans: Iterable[_Span]) -> Iterator[_Span]:
        """Place what was found in the rest where it is in the original."""
        if not self.at:
            yield from spans
            return
        for start, end, marker in spans:
            yield _Span(self.start_of(start), self.start_of(end - 1) + 1, marker)


def _needle(text: str, marker: str) -> _Needle:
    return _Needle(text, text[: max(_CUT, len(text) // 2)], marker)


def _beginnings(needles: Iterable[_Needle]) -> Mapping[str, list[tuple[int, str]]]:
    """List the beginnings of needles by their last characters, the longest first."""
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for needle in needles:
        for length in range(1, len(needle.text)):
            found[needle.text[max(0, length - _KEY) : length]].append((length, needle.text))
    for beginnings in found.values():
        beginnings.sort(reverse=True)
    return found


def _find(needles: Iterable[_Needle], text: str) -> Iterator[_Span]:
    for needle in needles:
        at = text.find(needle.head)
        while at >= 0:
            end = _end_of(needle, text, at)
            if len(needle.text) >= _SHORT or not _is_inside_base64(text, at, end):
                yield _Span(at, end, needle.marker)
            at = text.find(needle.head, end)


def _end_of(needle: _Needle, text: str, at: int) -> int:
    """Say where a secret that begins here ends: it may have been cut."""
    if text.startswith(needle.text, at):
        return at + len(needle.text)
    end = len(needle.head)
    while text.startswith(needle.text[end : end + 1], at + end):
        end += 1
    return at + end


def _is_inside_base64(text: str, start: int, end: int) -> bool:
    """Say whether a few characters are a chance find in a picture's data."""
    around = text[max(0, start - _AROUND) : end + _AROUND]
    return len(around) == end - start + 2 * _AROUND and bool(_BASE64.fullmatch(around))


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    """Join spans that overlap; a known secret gives its name to all."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if not merged or span.start >= merged[-1].end:
            merged.append(span)
            continue
        last = merged[-1]
        marker = span.marker if last.marker == TOKEN else last.marker
        merged[-1] = _Span(last.start, max(last.end, span.end), marker)
    return merged
