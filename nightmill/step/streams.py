"""Text that a cell printed, as a terminal would show it, in bounded memory and linear time.

A kernel sends a message for a print or a tick of a progress bar. Pieces of one output are put
together here: carriage returns and backspaces do what they do on a terminal, secrets go before
anything is written, and of a flood the notebook keeps head and tail, while the whole goes to a file
as it comes. However the text is cut into messages, the result is the same.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable

from nightmill.spec.words import amount
from nightmill.step.redaction import Redactor
from nightmill.step.spill import SpillFile, note

_LINE = 1 << 16  # characters that can still change: beyond, no progress bar is drawn
_PIECE = 1 << 13  # small pieces are put together up to this size
_RECENT = 1 << 12
_HUGE = 1 << 24
_NEAR = 1 << 10  # so near, a cut is moved to the end of a line


def size_in_json(text: str) -> int:
    """Return how many bytes text takes in a notebook's file; control characters take six.

    Of a huge text it is the least that it takes: no copies are made to know that it is too much.
    """
    if len(text) > _HUGE:
        return len(text)
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))


class Terminal:
    """Remembers the last line, all that can still change; what can't is given back.

    A carriage return begins the line anew with the next character, a backspace takes one back.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._returned = False

    def line(self) -> str:
        """Return the unfinished line."""
        return "".join(self._pieces)

    def feed(self, text: str) -> str:
        """Take the next text and return what is final by now."""
        if "\r" not in text and "\b" not in text and not self._returned:
            before, newline, after = text.rpartition("\n")
            return (self._end(before + newline) if newline else "") + self._append(after)
        first, *others = text.split("\n")
        done = [self._draw(first)]
        for line in others:
            done += [self._end("\n"), self._draw(line)]
        return "".join(done)

    def _draw(self, text: str) -> str:
        done = []
        for index, piece in enumerate(text.split("\r")):
            self._returned = self._returned or index > 0
            if piece:
                if self._returned:
                    self._clear()
                done.append(self._type(piece))
        return "".join(done)

    def _type(self, text: str) -> str:
        done = []
        for index, piece in enumerate(text.split("\b")):
            if index:
                self._take_back()
            done.append(self._append(piece))
        return "".join(done)

    def _append(self, text: str) -> str:
        self._pieces.append(text)
        self._length += len(text)
        if self._length < _LINE:
            return ""
        line = self.line()
        final = len(line) - len(line) % _LINE
        self._pieces, self._length = [line[final:]], len(line) - final
        return line[:final]

    def _take_back(self) -> None:
        while self._pieces and not self._pieces[-1]:
            self._pieces.pop()
        if self._pieces:
            self._pieces[-1:] = self._pieces[-1][:-1]  # as characters: each is taken back at once
            self._length -= 1

    def _end(self, text: str) -> str:
        line = self.line()
        self._clear()
        return line + text

    def _clear(self) -> None:
        self._pieces, self._length, self._returned = [], 0, False


class StreamText:
    """What the notebook shows of one stream: all of it, or head and tail within `limit` bytes.

    `spill` makes the file for the whole; it is asked only when the limit is passed, and may have
    none to give.
    """

    def __init__(
        self, redactor: Redactor, limit: int, spill: Callable[[], SpillFile | None]
    ) -> None:
        self.file: SpillFile | None = None
        self._redactor = redactor
        self._limit = limit
        self._spill = spill
        self._terminal = Terminal()
        self._held = ""  # may be the beginning of a secret
        self._size = self._size_in_json = 0
        self._head: list[str] = []
        self._is_cut = False  # then the head is whole, and the rest goes by
        self._tail: deque[str] = deque()
        self._tail_length = 0
        self._recent = ""

    @property
    def size(self) -> int:
        """How many bytes of what is final the notebook holds."""
        return min(self._size_in_json, self._limit)

    @property
    def is_line_open(self) -> bool:
        """Whether the last line has not ended yet."""
        return bool(self._terminal.line()) or not self._recent.endswith("\n")

    def feed(self, text: str) -> None:
        """Take what was printed next."""
        final = self._terminal.feed(text)
        if final:
            final = self._held + final
            ready = len(final) - self._redactor.held_back(final)
            self._held = final[ready:]
            self._keep(self._redactor.text(final[:ready]))

    def close(self) -> None:
        """Take the end of the output as it is; more may follow, and begins where this ended."""
        rest, self._held = self._held + self._terminal.line(), ""
        self._terminal = Terminal()
        self._keep(self._redactor.text(rest))
        if self.file is not None:
            self.file.close()

    def text(self) -> str:
        """Return what the notebook shows now; what may begin a secret is shown once it is known."""
        head, pending = "".join(self._head), self._pending()
        if not self._is_cut:
            return head + pending
        head = head_of(head, self._limit // 2)
        tail = _tail_of("".join(self._tail) + pending, self._limit // 2)
        left_out = amount(self._size + _size(pending) - _size(head) - _size(tail))
        break_line = "" if head.endswith("\n") else "\n"
        return f"{head}{break_line}{note(left_out, self.file)}\n{tail}"

    def last_line(self) -> str:
        """Return the last line that says something."""
        lines = (self._recent + self._pending()).splitlines()
        return next((line for line in reversed(lines) if line.strip()), "")

    def _pending(self) -> str:
        text = self._held + self._terminal.line()
        return self._redactor.text(text[: len(text) - self._redactor.held_back(text)])

    def _keep(self, text: str) -> None:
        self._recent = (self._recent + text)[-_RECENT:]
        self._size += _size(text)
        if self._is_cut:
            self._keep_tail(text)
            return
        _join(self._head, text)
        self._size_in_json += size_in_json(text)
        if self._size_in_json > self._limit:
            whole = "".join(self._head)
            self._head, self._is_cut = [whole[: self._limit // 2]], True
            self.file = self._spill()
            self._keep_tail(whole)

    def _keep_tail(self, text: str) -> None:
        if self.file is not None:
            self.file.write(text)
        _join(self._tail, text)
        self._tail_length += len(text)
        while self._tail_length - len(self._tail[0]) >= self._limit // 2:
            self._tail_length -= len(self._tail.popleft())


def head_of(text: str, limit: int) -> str:
    """Cut text to so many bytes of JSON, at the end of a line where one is near."""
    text = text[:limit]
    while text and (size := size_in_json(text)) > limit:
        text = text[: len(text) * limit // (size + 1)]
    newline = text.rfind("\n", max(0, len(text) - _NEAR))
    return text[: newline + 1] or text


def _tail_of(text: str, limit: int) -> str:
    text = text[max(0, len(text) - limit) :]
    while text and (size := size_in_json(text)) > limit:
        text = text[len(text) - len(text) * limit // (size + 1) :]
    return text[text.find("\n", 0, _NEAR) + 1 :]


def _join(pieces: list[str] | deque[str], text: str) -> None:
    """Append text; many small pieces would take more memory than what they say."""
    if pieces and len(pieces[-1]) + len(text) <= _PIECE:
        pieces[-1] += text
    else:
        pieces.append(text)


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))
