"""The environment variables of a kernel: the caller's, less the runner's own, plus the step's.

The runner's packages and settings must not shine through into the notebook, and the user's own
Jupyter and IPython configuration must not either: at night there is none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nightmill.kernels import KernelEnvironment

_RUNNERS_OWN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONBREAKPOINT")


def for_kernel(
    kernel: KernelEnvironment, settings: Mapping[str, str], scratch: Path
) -> dict[str, str]:
    """Return the environment for the engine and its kernel; makes the folders it names."""
    inherited = {name: text for name, text in os.environ.items() if name not in _RUNNERS_OWN}
    folders = {
        "JUPYTER_RUNTIME_DIR": scratch / "jupyter",
        "IPYTHONDIR": scratch / "ipython",
        "TMPDIR": scratch / "tmp",
    }
    for folder in folders.values():
        folder.mkdir()
    path = os.pathsep.join([str(kernel.python.parent), os.environ.get("PATH", os.defpath)])
    return {
        **inherited,
        **{name: str(folder) for name, folder in folders.items()},
        "JUPYTER_PATH": str(kernel.jupyter_path),
        "JUPYTER_NO_CONFIG": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # sources stay untouched; kernels are compiled already
        "PATH": path,
        **settings,
    }
