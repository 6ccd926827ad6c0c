"""Tells a pod's container which of its variables and folders come from secrets.

The supervisor inside redacts them whatever their names and values look like. Only a whole pod shows
them all: platform.yaml gives some, a pool's patch others.

    env with secretKeyRef                  the variable's name
    envFrom with secretRef and a prefix    `PREFIX*`; without a prefix it is refused (see `patch`),
                                           since nobody could tell its variables from others
    a volume of a secret that is mounted   the folder: its files are secrets
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nightmill.spec.secret_names import DECLARED, names_declared


def declare_secrets(pod: Mapping[str, Any], container: str) -> dict[str, Any]:
    """Return the pod with $NIGHTMILL_SECRETS set in a container; names given there stay."""
    spec = pod["spec"]
    containers = [
        _declared(one, spec) if one["name"] == container else one for one in spec["containers"]
    ]
    return {**pod, "spec": {**spec, "containers": containers}}


def _declared(container: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    given = [one for one in container["env"] if one["name"] == DECLARED]
    others = [one for one in container["env"] if one["name"] != DECLARED]
    names = [name for one in given for name in names_declared(one.get("value", ""))]
    names += [*_variables(others), *_prefixes(container), *_folders(container, spec)]
    if not names:
        return dict(container)
    # Written out once each: Kubernetes takes no lists.
    variable = {"name": DECLARED, "value": ",".join(dict.fromkeys(names))}
    return {**container, "env": [*others, variable]}


def _variables(env: list[Mapping[str, Any]]) -> Iterator[str]:
    for variable in env:
        if "secretKeyRef" in (variable.get("valueFrom") or {}):
            yield variable["name"]


def _prefixes(container: Mapping[str, Any]) -> Iterator[str]:
    for source in container.get("envFrom", ()):
        if "secretRef" in source:
            yield f"{source['prefix']}*"


def _folders(container: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    secret = {volume["name"] for volume in spec.get("volumes", ()) if _is_secret(volume)}
    for mount in container.get("volumeMounts", ()):
        if mount.get("name") in secret:
            yield mount["mountPath"]


def _is_secret(volume: Mapping[str, Any]) -> bool:
    sources = (volume.get("projected") or {}).get("sources") or ()
    driver = (volume.get("csi") or {}).get("driver", "")
    return (
        "secret" in volume
        or any("secret" in source for source in sources)
        or driver == "secrets-store.csi.k8s.io"
    )
