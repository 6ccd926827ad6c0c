"""How a checked parameter value becomes the code that papermill injects.

papermill's own translator knows no dates and breaks on some text. A value is handed over with its
expression: papermill stores the JSON value in the notebook's metadata and writes the expression
into the injected cell, so that a date arrives as a date under the author's own name for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from papermill.translators import PythonTranslator, papermill_translators


class TypedTranslator(PythonTranslator):  # type: ignore[misc]  # papermill ships no types
    """Writes the expression that was made for each value, instead of translating the value."""

    expressions: Mapping[str, str] = {}

    @classmethod
    def codify(cls, parameters: Mapping[str, Any], comment: str = "Parameters") -> str:
        """Return the source of the injected cell."""
        lines = [cls.comment(comment)]
        lines += [cls.assign(name, cls.expressions[name]) for name in parameters]
        return "\n".join(lines) + "\n"

    @classmethod
    def inspect(cls, parameters_cell: Any) -> list[Any]:  # noqa: ARG003 - papermill's signature
        """Return nothing: the contract was checked by `ast` before, so no regex is asked."""
        return []


def register(kernel_name: str, expressions: Mapping[str, str]) -> None:
    """Make papermill write these expressions for notebooks that run in this kernel."""
    translator = type("Translator", (TypedTranslator,), {"expressions": expressions})
    papermill_translators.register(kernel_name, translator)
