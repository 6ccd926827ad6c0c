"""Links in a store that is a directory: whoever runs a notebook there can make one.

The pages may be able to read more than that author may (the settings of an Airflow, say), and would
show it. So what they give out as it is must lie where it seems to. An operator may still have put
all runs on another disk by a link.
"""

from __future__ import annotations

from nightmill.errors import UsageError
from nightmill.review.links import RUNS
from nightmill.store.interface import Store


def require_inside(store: Store, key: str) -> None:
    """Refuse an object of a run that is a link to elsewhere; raises UsageError."""
    path, runs = store.local_path(key), store.local_path(RUNS)
    if path is None or runs is None or path.resolve().is_relative_to(runs.resolve()):
        return
    raise UsageError(
        "is a link that leads out of the store's runs, and is not followed",
        where=key,
        advice="see who else writes to this store",
    )
