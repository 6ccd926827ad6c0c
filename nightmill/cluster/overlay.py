"""Lays platform.<environment>.yaml over platform.yaml and remembers which file each line is in.

The overlay's keys win. The top level, `environment`, `pools` and each pool are merged key by key;
everything below is replaced whole; null removes a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightmill.errors import SpecError
from nightmill.spec.problems import KeyPath
from nightmill.spec.yaml_source import YamlSource


@dataclass(frozen=True, slots=True)
class OverlaidSource(YamlSource):
    """Two files read as one; `file` is the base, errors name the file that they are in."""

    base: YamlSource
    over: YamlSource

    def error(self, problem: str, path: KeyPath, *, advice: str = "") -> SpecError:
        """Make an error that names the file and line of the key, or of what is around it."""
        for length in range(len(path), 0, -1):
            known = path[:length]
            if known in self.over.keys or known in self.over.values:
                return self.over.error(problem, path, advice=advice)
            if known in self.keys or known in self.values:
                break
        return self.base.error(problem, path, advice=advice)


def overlay(base: YamlSource, over: YamlSource) -> OverlaidSource:
    """Merge two files."""
    return OverlaidSource(
        file=base.file,
        data=_merge(base.data, over.data, ()),
        keys={**base.keys, **over.keys},
        values={**base.values, **over.values},
        base=base,
        over=over,
    )


def _is_merged(path: KeyPath, value: Any) -> bool:
    inside = path in ((), ("environment",), ("pools",)) or (len(path) == 2 and path[0] == "pools")  # noqa: PLR2004 - a pool
    return inside and isinstance(value, Mapping)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif _is_merged((*path, key), value) and isinstance(before, Mapping):
            merged[key] = _merge(before, value, (*path, key))
        else:
            merged[key] = value
    return merged
