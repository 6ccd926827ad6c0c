"""The review pages of a project, served by the real command for as long as a test wants them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import ProjectFiles


@contextmanager
def serving(project: ProjectFiles, port: int = 0, *arguments: str) -> Iterator[str]:
    """Serve the project's store; yields the address, without a slash at its end."""
    with project.start("review", "--port", str(port), *arguments) as process:
        try:
            yield re.sub(r"/?(sign-in.*)?\n$", "", process.stdout.readline())
        finally:
            process.terminate()
            process.communicate(timeout=30)
