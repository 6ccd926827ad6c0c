"""Session fixtures of the cluster suite: the cluster, the image on its nodes, a store for pods."""

from __future__ import annotations

import pytest

from tests.e2e import browser as browsers
from tests.e2e import cluster as clusters
from tests.e2e import image as images
from tests.s3_server import run_s3_server

ARCHIVE = clusters.REPOSITORY / ".nightmill" / "image" / "nightmill.tar"


@pytest.fixture(scope="session")
def cluster():
    """Connect to the cluster, brought up if need be; skips where there can be none."""
    if reason := clusters.why_no_cluster():
        pytest.skip(reason)
    with clusters.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def browser():
    """Start one real browser for the pages of a file.

    Not for the whole session: while it is open, its event loop runs in this thread.
    """
    with browsers.open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def image(cluster):
    """Return the name of the image, which every node has."""
    return images.ready_image(cluster, ARCHIVE)


@pytest.fixture(scope="session")
def image_archive(image):
    """Return the docker archive of the image; skips where the image was built elsewhere."""
    if image != images.IMAGE:
        pytest.skip(f"{image} was built elsewhere: no archive to look into")
    return ARCHIVE


@pytest.fixture(scope="session")
def pod_s3(cluster):
    """Run an S3 server that pods reach, on the cluster's side of this machine."""
    with run_s3_server(cluster.host_ip) as server:
        yield server
