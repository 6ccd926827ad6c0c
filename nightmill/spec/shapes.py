"""What to write where pipeline.yaml has text or a list, and keys and values, or a list, belong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from nightmill.spec.problems import KeyPath, shown, suggest

_NAME = re.compile(r"[A-Za-z]\w{0,62}", re.ASCII)
_FILE = re.compile(r"[A-Za-z]\w{0,62}\.\w{1,12}", re.ASCII)
_SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
_ALERT = f"{{notifier: {_SMTP}, arguments: {{to: ...}}}}"


def advise_mapping(path: KeyPath, given: Any, known: Sequence[str]) -> str:
    """Say how to write the keys and values that belong at a path; `known` are its keys, if fixed.

    Names and files that were given are kept where they can be.
    """
    key = path[-1] if path else ""
    item = given[0] if isinstance(given, list) and given else given
    file = item if isinstance(item, str) and _FILE.fullmatch(item) else ""
    name = PurePosixPath(file).stem or "<name>"
    if isinstance(item, str) and _NAME.fullmatch(item):
        name = item
    shapes = {
        "outputs": f"{{{name}: {file or f'{name}.<ending>'}}}",
        "steps": f"{{{name}: {{notebook: {file or f'{name}.ipynb'}}}}}",
        "checks": '{<output>: {rows: ">0"}}',
        "parameters": f"{{{name}: <value>}}",
        "env": f"{{{name}: <text>}}",
        "retry": "{notebook_error: backoff}",
        "alerts": f"{{failure: [{_ALERT}]}}",
    }
    if key in shapes:
        return f"write `{key}: {shapes[str(key)]}`"
    if path[:1] == ("alerts",):
        return f"name an Airflow notifier: `{_ALERT}`"
    if path[:1] == ("steps",) and len(path) == 2:  # noqa: PLR2004 - a step
        return f"write `{{notebook: {file or '<name>.ipynb'}}}`"
    if known:
        return suggest("", known, noun="write keys and values; known keys")
    return f"write {shown(f'{key}: {{<name>: ...}}')}"


def advise_list(path: KeyPath, given: Any) -> str:
    """Say how to write the list that belongs at a path."""
    if path[:1] == ("alerts",):
        return f"name Airflow notifiers: `[{_ALERT}]`"
    is_one = isinstance(given, str | int | float) and not isinstance(given, bool)
    return f"put it between brackets: {shown(f'[{given}]')}" if is_one else ""
