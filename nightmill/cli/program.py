"""The frame that all verbs are put into; `step` has one of its own, to import nothing else."""

from __future__ import annotations

import io
import sys

import typer


def new_program() -> typer.Typer:
    """Make `nightmill` without any verb yet."""
    return typer.Typer(
        name="nightmill",
        help="Runs, tonight, the notebook you explored with.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def be_lenient() -> None:
    """Write characters that the terminal's encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
