"""`keep:` of pipeline.yaml: how long what ran stays in the store, and how many versions of it.

What is current stays for as long as it is current, whatever these say.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from nightmill.spec.model import Model
from nightmill.spec.units import Duration

MAX_VERSIONS = 1000


class Keep(Model):
    """How long attempts are kept, counted from their end. What any of these asks for stays.

    `versions` is how many committed ones of a step and partition stay at any age, the current one
    among them; `runs` is for those beyond, `failed` for attempts that never committed. `notebooks`
    and `spilled` are for these parts of an attempt that stays itself. An attempt that stays also
    keeps the inputs that it read, until it is older than `replays`. None is for as long as it.
    `tables` is for files of Delta tables, from the commit on that replaced their rows: whoever
    reads a former state of the table needs them. The rows themselves are in the versions.
    """

    runs: Duration = timedelta(days=90)
    versions: Annotated[int, Field(ge=1, le=MAX_VERSIONS)] = 5
    failed: Duration = timedelta(days=30)
    notebooks: Duration | None = None
    spilled: Duration | None = None
    replays: Duration | None = None
    tables: Duration = timedelta(days=7)
