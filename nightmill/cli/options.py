"""What several verbs of the command line take alike: the store, spans of time."""

from __future__ import annotations

import getpass
import os
import platform
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from nightmill.errors import EXIT_USAGE, SpecError, StoreError, UsageError
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import Faults, shown
from nightmill.spec.project import Project, find_root
from nightmill.spec.units import parse_duration
from nightmill.store.directory import DirectoryStore
from nightmill.store.interface import Backend
from nightmill.store.open import open_store

DEFAULT_STORE = ".nightmill/store"

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="NIGHTMILL_STORE",
        help="A folder, or s3://bucket/prefix; .nightmill/store in the project by default.",
        show_envvar=True,
    ),
]


def open_chosen(store: str | None) -> Backend:
    """Open the store that was named, else the project's own, from whatever folder inside it."""
    try:
        opened = open_store(DEFAULT_STORE if store is None else store, base=_base(store))
    except StoreError as error:  # nobody was asked yet: the address itself is wrong
        error.exit_code = EXIT_USAGE
        raise
    try:
        opened.url.encode()
    except UnicodeEncodeError as error:
        problem = f"the store's address {shown(opened.url)} is not valid UTF-8"
        raise UsageError(problem, advice="rename the folder, or choose another") from error
    return opened


def open_existing(store: str | None) -> Backend:
    """Open the store for a verb that makes none: a folder that was named has to be there.

    The project's own may come with its first run. Raises StoreError: nothing found in a place that
    was mistyped, or is not mounted, is no news of a store.
    """
    opened = open_chosen(store)
    if is_missing(store, opened):
        raise StoreError(
            "there is no such folder",
            address=opened.url,
            operation="open",
            advice="see that --store or NIGHTMILL_STORE is right, and its file system mounted; "
            "a new store is made by its first run",
        )
    return opened


def is_missing(store: str | None, opened: Backend) -> bool:
    """Tell whether a folder that was named is not there; from now on, all its looks say so too."""
    return store is not None and isinstance(opened, DirectoryStore) and not opened.expect()


def read_span(text: str, option: str) -> timedelta:
    """Read a span of time like 90s, 15m or 2h; raises UsageError that names the option."""
    try:
        return parse_duration(text)
    except Faults as error:
        fault = error.faults[0]
        raise UsageError(fault.problem, where=option, advice=fault.advice) from None


def acting() -> str:
    """Name whoever acts; a container may have no name for its user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    return f"{user} on {platform.node()}"


def spec_here(pipeline: str) -> PipelineSpec | None:
    """Return what the project around this folder says of a pipeline; None where there is none."""
    try:
        return Project.load(find_root(Path.cwd())).pipeline(pipeline).spec
    except (UsageError, SpecError):  # no project here, or none that can be read
        return None


def _base(store: str | None) -> Path:
    here = Path.cwd()
    if store is not None:
        return here
    try:
        return find_root(here)
    except UsageError:  # no project here: a look at a store needs none
        return here
