"""Waiting for inputs that somebody else makes, while other steps run.

A step that waits holds no worker. What it waits for is looked for now and then, and given up when
the time that its pipeline.yaml allows is over and a last look has found nothing: then the attempt
has failed, and a record says so.

The store may be slow, or hang. So it is asked in a thread, and whoever asks goes on meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from nightmill.errors import InputError, StoreError
from nightmill.run.plan import Key
from nightmill.run.status import StepState, StepStatus, Wait
from nightmill.spec.graph import InputSource
from nightmill.store.inputs import Lack, find_lack, resolve_input
from nightmill.store.interface import Store

LOOK_EVERY_S = 10.0


@dataclass(frozen=True)
class _Question:
    """What is asked of the store: `over` is the longest wait of a source that is over.

    `told` is what the last look found, if it was of a single source: words for people cost more
    requests than a look, so they stay while nothing has come, and the wait is not given up.
    """

    sources: tuple[InputSource, ...]
    partition: str
    over: timedelta
    told: Lack | None = field(compare=False)


@dataclass(frozen=True)
class _Answer:
    """What the store said, and when on the monotonic clock."""

    lack: Lack | None
    at: float


@dataclass(frozen=True)
class _Asked:
    """A step's question, which others may have asked as well; `at` is on the monotonic clock."""

    at: float
    answer: Future[_Answer]


class Awaited:
    """Whether the inputs are there that planned steps may wait for."""

    def __init__(self, store: Store, look_every_s: float = LOOK_EVERY_S) -> None:
        self._store = store
        self._look_every_s = look_every_s
        self._asked: dict[Key, _Asked] = {}
        self._told: dict[Key, Lack] = {}
        self._open: dict[_Question, Future[_Answer]] = {}  # the first is being asked
        self._lock = threading.Lock()

    def are_there(self, status: StepStatus, ring: Callable[[], None]) -> bool:
        """Tell whether a step may begin; while not, its status says what it waits for.

        Never waits for the store: nothing is known before it has answered, then `ring` is called.
        When the wait is given up, the status is that of an attempt that failed. A store that cannot
        be asked is waited for as well.
        """
        now, key = time.monotonic(), status.planned.key
        if status.wait is not None and now < status.wait.look_at:
            return False
        if key not in self._asked:
            question = _question(status, now, self._told.pop(key, None))
            self._asked[key] = _Asked(now, self._ask(question))
            self._asked[key].answer.add_done_callback(lambda _answer: ring())
        if not self._asked[key].answer.done():
            return False
        return self._take(status, self._asked.pop(key))

    def _take(self, status: StepStatus, asked: _Asked) -> bool:
        answer = asked.answer.result()
        since = status.wait.since if status.wait else asked.at
        status.wait = None
        lack = answer.lack
        if lack is None:
            return True
        if lack.left:
            self._told[status.planned.key] = lack
            until = since + lack.wait.total_seconds()
            look_at = min(until, answer.at + self._look_every_s)
            status.wait = Wait(lack.told, since, until=until, look_at=look_at)
        else:
            status.state = StepState.FAILED
            status.cause, status.message = lack.error.cause.value, lack.message
        return False

    def _ask(self, question: _Question) -> Future[_Answer]:
        """Ask when all that was asked before is answered; the same is asked once for all."""
        with self._lock:
            if question not in self._open:
                self._open[question] = Future()
                if len(self._open) == 1:  # a daemon, as nobody waits for a store that hangs
                    threading.Thread(target=self._answer, args=[question], daemon=True).start()
            return self._open[question]

    def _answer(self, question: _Question | None) -> None:
        """Answer one question after the other, until none is open."""
        while question is not None:
            answer = self._open[question]
            try:
                settle = partial(answer.set_result, self._look(question))
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is taken
                settle = partial(answer.set_exception, error)
            with self._lock:  # first of all, as whoever asks from now on wants to know anew
                del self._open[question]
                question = next(iter(self._open), None)
            settle()

    def _look(self, question: _Question) -> _Answer:
        sources, partition, over = question.sources, question.partition, question.over
        lack = question.told
        if lack is None or _is_news(self._store, sources[0], partition):
            lack = find_lack(self._store, sources, partition, waited=over, patiently=True)
        return _Answer(lack, time.monotonic())


def _question(status: StepStatus, now: float, told: Lack | None) -> _Question:
    """Ask what any step would that lacks the same, of whose waits the same are over."""
    planned = status.planned
    waited = timedelta(seconds=now - status.wait.since if status.wait else 0)
    waits = (one.wait for one in planned.awaits if one.wait and one.wait <= waited)
    over = max(waits, default=timedelta())
    changes = len(planned.awaits) > 1 or planned.awaits[0].members  # what is told may, meanwhile
    if changes or over or (told and not isinstance(told.error, InputError)):
        told = None
    return _Question(planned.awaits, planned.run.partition, over, told)


def _is_news(store: Store, source: InputSource, partition: str) -> bool:
    """Tell, with few requests, whether an input that was not there is, or the store is away."""
    try:
        return resolve_input(store, replace(source, optional=True), partition) is not None
    except StoreError:
        return True
