"""Every error a user can meet, and who must act on it.

Tree::

    NightmillError        base; the command line catches this and nothing else
      UsageError          whoever typed the command must act
      SpecError           the pipeline's author must act: pipeline.yaml and the graph
        ContractError     ... and the parameters of a notebook (cause bad_parameters)
      KernelError         the owner of kernels/ must act
      InputError          an input is not committed yet, or too old
      NotebookError       the notebook's author must act: a cell failed
      StoreError          the operator must act: address, operation
        StoreConflict     another writer won a conditional write
        DamagedError      what is in the store is not what was written there
      FencedError         a newer attempt has committed; this one must not
      InterruptedRunError somebody pressed Ctrl-C

A message has three parts: what is wrong, where, and what to do. Fields are attributes, so that
callers and tests need not match text. This module imports nothing of ours but the causes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nightmill.causes import Cause

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class NightmillError(Exception):
    """Base of all expected errors: says what is wrong and what to do about it."""

    exit_code = EXIT_FAILED
    cause = Cause.NIGHTMILL_BUG

    def __init__(self, problem: str, *, where: str = "", advice: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.advice = advice

    def __reduce__(self) -> tuple[Callable[..., NightmillError], tuple[Any, ...]]:
        """Let errors cross process boundaries whole, whatever their constructors ask for."""
        return _restore, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        located = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{located}\n  -> {self.advice}" if self.advice else located


def _restore(
    kind: type[NightmillError], args: tuple[Any, ...], fields: Mapping[str, Any]
) -> NightmillError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class UsageError(NightmillError):
    """The command line was used wrongly."""

    exit_code = EXIT_USAGE
    cause = Cause.BAD_PARAMETERS


class SpecError(NightmillError):
    """A pipeline.yaml, or the graph it describes, is wrong.

    `where` reads ``file:line: key`` as far as these are known.
    """

    cause = Cause.BAD_PARAMETERS

    def __init__(
        self,
        problem: str,
        *,
        file: Path | str | None = None,
        line: int | None = None,
        key: str = "",
        advice: str = "",
    ) -> None:
        position = str(file) if file is not None else ""
        if line is not None:
            position += f":{line}"
        parts = [part for part in (position, key) if part]
        super().__init__(problem, where=": ".join(parts), advice=advice)
        self.file = file
        self.line = line
        self.key = key


class ContractError(SpecError):
    """Parameters do not fit the notebook's `parameters` cell.

    `cell` counts from 1 over all cells, `line` from 1 inside that cell.
    """

    def __init__(  # noqa: PLR0913 - the place has four parts, and each is an attribute
        self,
        problem: str,
        *,
        notebook: Path | str,
        cell: int | None = None,
        line: int | None = None,
        parameter: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(problem, advice=advice)
        position = str(notebook)
        if cell is not None:
            position += f", cell {cell}"
        if line is not None:
            position += f", line {line}"
        self.where = f"{position}: {parameter}" if parameter else position
        self.file = notebook
        self.notebook = notebook
        self.cell = cell
        self.line = line
        self.key = parameter
        self.parameter = parameter


class KernelError(NightmillError):
    """A kernel is unknown, not installed, or its lock cannot be installed."""

    cause = Cause.IMAGE


class InputError(NightmillError):
    """An input has no committed version that the step may read."""

    cause = Cause.BAD_PARAMETERS


class NotebookError(NightmillError):
    """A cell of the notebook failed; the executed notebook tells more."""

    cause = Cause.NOTEBOOK_ERROR


class StoreError(NightmillError):
    """The store refused or could not be reached."""

    cause = Cause.STORE

    def __init__(self, problem: str, *, address: str, operation: str, advice: str = "") -> None:
        super().__init__(problem, where=f"{operation} {address}", advice=advice)
        self.address = address
        self.operation = operation


class StoreConflict(StoreError):  # noqa: N818 - a conflict is an answer, often expected
    """A conditional write lost: the object is not what the writer last saw."""


class DamagedError(StoreError):
    """What is in the store is not what was written there."""


class FencedError(NightmillError):
    """A newer attempt has committed this output; the present one must not replace it."""

    cause = Cause.FENCED


class InterruptedRunError(NightmillError):
    """The user interrupted the run."""

    exit_code = EXIT_INTERRUPTED
    cause = Cause.TERMINATED
