"""Which names are allowed, in one table: they become labels, store keys and Python variables."""

from __future__ import annotations

import keyword
import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from nightmill.spec.problems import Fault, Faults, shown

MAX_NAME = 63  # a Kubernetes label value holds no more
MAX_PATH = 200
RESERVED = ("partition", "as_of", "member")  # the runner gives these to every notebook

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def check_name(text: str) -> str:
    """Check the name of a pipeline, step, node pool or kernel."""
    _check_length(text)
    if not _NAME.fullmatch(text):
        raise Faults(
            [
                Fault(
                    f"{shown(text)} is no valid name",
                    "use letters a-z, A-Z, digits, `_` and `-`, beginning with a letter",
                )
            ]
        )
    return text


def check_variable(text: str) -> str:
    """Check a name that becomes a variable of the notebook."""
    _check_length(text)
    if not _VARIABLE.fullmatch(text) or keyword.iskeyword(text):
        raise Faults(
            [
                Fault(
                    f"{shown(text)} cannot be a variable of a notebook",
                    "use letters a-z, A-Z, digits and `_`, and no Python keyword",
                )
            ]
        )
    if text in RESERVED:
        raise Faults([Fault(f"{shown(text)} is given by the runner", "choose another name")])
    return text


def check_data_name(text: str) -> str:
    """Check the name of an output or input: a variable that begins with a letter."""
    check_variable(text)
    return check_name(text)


def check_path(text: str) -> str:
    """Check a path that must stay inside its folder; "/" separates, on every system."""
    if len(text) > MAX_PATH:
        raise Faults([Fault(f"the path has {len(text)} characters, at most {MAX_PATH}")])
    parts = PurePosixPath(text).parts
    if not parts or not text.isprintable() or "\\" in text:
        raise Faults([Fault(f"{shown(text)} is no path", "write it like `folder/file.parquet`")])
    if text.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:|~|\w+://", text):
        raise Faults(
            [Fault(f"{shown(text)} leaves its folder", "use a relative path without `..`")]
        )
    return text


def _check_length(text: str) -> None:
    if len(text) > MAX_NAME:
        raise Faults(
            [
                Fault(
                    f"the name {shown(text)} has {len(text)} characters, at most {MAX_NAME}",
                    "shorten it",
                )
            ]
        )


Name = Annotated[str, AfterValidator(check_name)]
Variable = Annotated[str, AfterValidator(check_variable)]
DataName = Annotated[str, AfterValidator(check_data_name)]
RelativePath = Annotated[str, AfterValidator(check_path)]


def label(name: str, member: str) -> str:
    """Name a step or input together with its member, as in ``model[2]``."""
    return f"{name}[{member}]" if member else name
