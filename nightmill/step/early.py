"""What `nightmill step` has from its first moment: an engine that loads, an ear for signals.

The first process of a container is sent no signal that it does not handle: a pod that is told to
end while its step still imports would live on until it is killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from nightmill.step.engine_process import EngineProcess
from nightmill.step.stop import StopRequest, stop_on_signals


@dataclass(frozen=True)
class Early:
    """An engine without a plan yet, and a request to stop that somebody may have made already."""

    engine: EngineProcess
    stop: StopRequest


@contextmanager
def begin_early() -> Iterator[Early]:
    """Begin; at the end the engine is gone and signals do what they did before."""
    with stop_on_signals() as stop, closing(EngineProcess()) as engine:
        yield Early(engine, stop)
