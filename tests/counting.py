"""A store that counts what it is asked, for tests that promise few requests."""

from __future__ import annotations

from collections import Counter


class Counting:
    """Passes on to a store: `asked` counts its calls by name, `listed` what listings gave."""

    def __init__(self, store):
        self._store = store
        self.asked = Counter()
        self.listed = 0

    def __getattr__(self, name):
        """Count, and do as the store does."""
        self.asked[name] += 1
        return getattr(self._store, name)

    def list(self, *where, **options):
        """Count, and list as the store does."""
        self.asked["list"] += 1
        for entry in self._store.list(*where, **options):
            self.listed += 1
            yield entry
