"""`secret://NAME`: a parameter that says which variable holds a secret, and never what it is.

The reference is all that pipeline.yaml, a form, a record, the notebook's metadata and a pod's
arguments show. Only the injected cell's expression reads the variable, inside the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

SCHEME = "secret://"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)


def is_reference(value: object) -> bool:
    """Say whether a value means to be a reference, be it a right one or not."""
    return isinstance(value, str) and value.startswith(SCHEME)


def variable_of(reference: str) -> str | None:
    """Give the variable that a reference names; None where it names none that could exist."""
    name = reference.removeprefix(SCHEME)
    return name if _NAME.fullmatch(name) else None


def expression(reference: str) -> str:
    """Write the Python that reads a reference's variable and leaves no other name behind."""
    return f'__import__("os").environ["{variable_of(reference)}"]'


def references(values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give parameter and variable of each value that is a reference."""
    for name, value in values.items():
        if isinstance(value, str) and is_reference(value):
            yield name, variable_of(value) or ""
