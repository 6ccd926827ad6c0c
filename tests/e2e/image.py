"""The image for the cluster's nodes: built and loaded when what goes into it has changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tarfile
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.e2e.cluster import REPOSITORY, Cluster, run_rig

IMAGE = "localhost/nightmill:e2e"
MARKER = "nightmill-test-image"  # a ConfigMap: lives and dies with the cluster that has the image
GOES_INTO_IMAGE = (
    ".dockerignore",
    "constraints.txt",
    "image/Dockerfile",
    "image/requirements.txt",
    "kernels",
    "nightmill",
    "notebooks",
    "pyproject.toml",
)


def ready_image(cluster: Cluster, archive: Path) -> str:
    """Return the name of the image; with the rig, build and load it if anything in it changed.

    The archive is kept for whoever wants to look into it.
    """
    if named := os.environ.get("NIGHTMILL_TEST_IMAGE"):
        return named
    assert not os.environ.get("NIGHTMILL_TEST_KUBECONFIG"), "set NIGHTMILL_TEST_IMAGE as well"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        contents = contents_sha256()
        if _loaded(cluster) != contents or not archive.is_file():
            _build(archive)
            run_rig("load-image", str(archive))
            _mark_loaded(cluster, contents)
    return IMAGE


def contents_sha256() -> str:
    """Return one hash of all files that go into the image, committed or not."""
    digest = hashlib.sha256()
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    for name in sorted(filter(None, _git(*listing, *GOES_INTO_IMAGE).split("\0"))):
        file = REPOSITORY / name
        if file.is_file():  # a deleted file is still in git's index
            digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def commit() -> str:
    """Return the commit that an image is built from, marked if files differ from it."""
    return _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*").strip()


def read_image(archive: Path) -> tuple[dict[str, Any], set[str]]:
    """Return the configuration of an image in a docker archive, and the paths in its layers."""
    paths: set[str] = set()
    with tarfile.open(archive) as tar:
        manifest = yaml.safe_load(tar.extractfile("manifest.json"))[0]
        settings = yaml.safe_load(tar.extractfile(manifest["Config"]))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=tar.extractfile(layer)) as files:
                paths |= {name.removeprefix("./") for name in files.getnames()}
    return settings["config"], paths


def _build(archive: Path) -> None:
    base, base_archive = run_rig("base-image").split()
    assert Path(base_archive).is_file()
    settings = {"BASE_IMAGE": base, "GIT_COMMIT": commit()}
    options = [f"--build-arg={name}={value}" for name, value in settings.items()]
    dockerfile = str(REPOSITORY / "image" / "Dockerfile")
    run_rig("build-image", dockerfile, str(REPOSITORY), IMAGE, str(archive), *options)


def _loaded(cluster: Cluster) -> str:
    try:
        found = cluster.core.read_namespaced_config_map(MARKER, "nightmill")
    except client.ApiException as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return ""
        raise
    return found.data["contents"]


def _mark_loaded(cluster: Cluster, contents: str) -> None:
    body = {"metadata": {"name": MARKER}, "data": {"contents": contents}}
    if _loaded(cluster):
        cluster.core.replace_namespaced_config_map(MARKER, "nightmill", body)
    else:
        cluster.core.create_namespaced_config_map("nightmill", body)


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(REPOSITORY), *arguments], check=True, capture_output=True, text=True
    ).stdout
