"""What several verbs of the command line take alike: the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightmill.errors import UsageError
from nightmill.spec.project import find_root
from nightmill.store.interface import Store
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


def open_chosen(store: str | None) -> Store:
    """Open the store that was named, else the project's own, from whatever folder inside it."""
    here = Path.cwd()
    if store is not None:
        return open_store(store, base=here)
    try:
        return open_store(DEFAULT_STORE, base=find_root(here))
    except UsageError:  # no project here: a look at a store needs none
        return open_store(DEFAULT_STORE, base=here)
