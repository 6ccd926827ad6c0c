"""The strategic merge patch of a node pool: whatever a pod needs that platform.yaml has no key for.

    metadata, spec, ...         merged key by key; null removes a key
    containers, initContainers  merged by name
    env, volumes, volumeMounts, imagePullSecrets
                                an item replaces the one of the same name (mounts: the same path)
    tolerations                 added to the pool's own
    any other list              replaced whole

This is what `kubectl patch` does, but for two lists: `env` and `volumes` are replaced item by item,
since a variable with a value and a reference, or a volume of two kinds, is no valid pod; and
`tolerations` grow, since a patch should not have to repeat the pool's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nightmill.spec.problems import Fault, KeyPath, shown, suggest
from nightmill.spec.secret_names import looks_secret
from nightmill.spec.validation import describe

_TOP = ("metadata", "spec")
_MERGED_BY = {"containers": "name", "initContainers": "name"}
_REPLACED_BY = {
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
}
_KEYED = _MERGED_BY | _REPLACED_BY
_APPENDED = ("tolerations",)


def strategic_merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base with the patch laid over it; neither is changed."""
    merged = dict(base)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(key, merged.get(key), value)
    return merged


def _merge_value(key: str, base: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return strategic_merge(base if isinstance(base, Mapping) else {}, value)
    if not isinstance(base, list) or not isinstance(value, list):
        return value
    if key in _APPENDED:
        return [*base, *value]
    if key not in _KEYED:
        return value
    by = _KEYED[key]
    items = {item[by]: item for item in base}
    for item in value:
        merged = key in _MERGED_BY and item[by] in items
        items[item[by]] = strategic_merge(items[item[by]], item) if merged else item
    return list(items.values())


def patch_faults(patch: Mapping[str, Any]) -> Iterator[Fault]:
    """Find what would make no pod, or put a secret's value into one."""
    for key in patch:
        if key not in _TOP:
            advice = suggest(key, _TOP, noun="a patch has the keys")
            yield Fault(f"unknown key {shown(key)}", advice, (key,))
    yield from _faults_below(patch, ())


def _faults_below(value: Any, path: KeyPath) -> Iterator[Fault]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _KEYED or key in _APPENDED or key == "envFrom":
                yield from _list_faults(key, inner, (*path, key))
            yield from _faults_below(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _faults_below(inner, (*path, index))
    else:
        yield from _plain_faults(value, path)


def _list_faults(key: str, items: Any, path: KeyPath) -> Iterator[Fault]:
    if items is None:
        return
    if not isinstance(items, list):
        yield Fault(f"`{key}` is a list in a pod", "begin each item with `- `", path)
        return
    for index, item in enumerate(items):
        at = (*path, index)
        by = _KEYED.get(key)
        if not isinstance(item, Mapping) or (by and not isinstance(item.get(by), str)):
            wanted = f"keys and values, among them `{by}`" if by else "keys and values"
            yield Fault(f"each item of `{key}` needs {wanted}", at=at)
        elif key == "env" and "value" in item:
            yield from _variable_faults(item["name"], item["value"], (*at, "value"))
        elif key == "envFrom" and "secretRef" in item and not item.get("prefix"):
            advice = "add `prefix: NAME_`, or give its keys one by one under `env`"
            yield Fault("nobody could tell this secret's variables from others", advice, at)


def _variable_faults(name: str, value: Any, path: KeyPath) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield Fault(f"expected text, found {describe(value)}", "put it between quotes", path)
    elif looks_secret(name, value):
        advice = "use valueFrom: {secretKeyRef: {name: ..., key: ...}}"
        yield Fault(f"{shown(name)} looks like a secret, and everybody would see it", advice, path)


def _plain_faults(value: Any, path: KeyPath) -> Iterator[Fault]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        kind = type(value).__name__
        yield Fault(f"a {kind} has no place in a pod", "put it between quotes", path)
