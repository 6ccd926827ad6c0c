"""The little that a kernel is told when it starts, and what it is asked at the end.

Apart from the engine so that a kernel can be started before papermill or Jupyter is imported.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SOURCE = str(Path(__file__).with_name("in_kernel.py"))

_READ = f"__import__('pathlib').Path({_SOURCE!r}).read_bytes()"
# In a namespace of its own: no name is left behind that a notebook could use by mistake.
_RUN = f"exec(compile({_READ}, {_SOURCE!r}, 'exec'), {{'__name__': 'nightmill_in_kernel'}})"

KERNEL_ARGUMENTS = (
    f"--IPKernelApp.exec_lines={_RUN}",
    "--HistoryManager.hist_file=:memory:",  # the history of sources belongs on no disk
)
"""Arguments for ipykernel; no other kernel understands them."""


def settle_threads(wait_s: float) -> str:
    """Return the expression that makes the kernel wait for its threads and tell of them."""
    kernel = "__import__('IPython').get_ipython().kernel"
    return f"{kernel}.nightmill_threads.settle({wait_s!r})"


def thread_warnings(answer: Mapping[str, Any]) -> Iterator[str]:
    """Tell for people what the kernel answered to `settle_threads`.

    The answer is one of the `user_expressions` of Jupyter's protocol. A kernel that cannot answer,
    because it is no ipykernel or was interrupted, has nothing to tell.
    """
    if answer.get("status") != "ok":
        return
    try:
        facts = json.loads(ast.literal_eval(answer["data"]["text/plain"]))
    except (KeyError, ValueError, SyntaxError):
        return
    for error in facts["errors"]:
        yield f"an exception in a thread was seen by no cell: {error}"
    if facts["found"]:
        yield _still_at_work(facts)


def _still_at_work(facts: Mapping[str, Any]) -> str:
    names, waited = ", ".join(facts["found"]), f"{facts['waited_s']:g} s"
    said = f"still at work in threads when the last cell ended: {names}"
    if facts["left"]:
        left = ", ".join(facts["left"])
        return f"{said}; waited {waited}, then ended with the kernel: {left}"
    return f"{said}; waited {waited} for them"
