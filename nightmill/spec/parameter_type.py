"""The types a parameter may have: what each accepts, and how a value is written for a notebook.

A value is JSON inside Nightmill (a date is its ISO text, the keys of a dict are text); only
`literal` turns it into the Python expression that the notebook receives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from nightmill.spec.problems import shown
from nightmill.spec.secret_reference import expression, is_reference, variable_of
from nightmill.spec.units import iso_date
from nightmill.spec.validation import describe

Kind = Literal["any", "int", "float", "str", "bool", "date", "list", "dict", "literal", "none"]


@dataclass(frozen=True, slots=True)
class ParameterType:
    """What an annotation says. `date_name` is how the author's code calls the class `date`."""

    kind: Kind
    optional: bool = False
    items: tuple[ParameterType, ...] = ()  # of a list, or key and value of a dict
    choices: tuple[object, ...] = ()
    date_name: str = "date"

    def __str__(self) -> str:
        name: str = "None" if self.kind == "none" else self.kind
        if self.kind == "literal":
            name = f"one of {', '.join(ascii(choice) for choice in self.choices)}"
        if self.items:
            name += f"[{', '.join(str(item) for item in self.items)}]"
        return f"{name} or None" if self.optional and self.kind != "any" else name

    @property
    def takes_text(self) -> bool:
        """Whether any text, such as an address, is a value."""
        return self.kind in ("str", "any")

    @property
    def takes_none(self) -> bool:
        """Whether None is a value."""
        return self.optional or self.kind in ("any", "none")


ANY = ParameterType("any")


class UnfitError(Exception):
    """A value does not fit the type; the message says what came."""


def check(wanted: ParameterType, value: object) -> Any:
    """Give the value as JSON can hold it; raises UnfitError saying what came.

    Any parameter that takes text takes a reference to a secret.
    """
    if isinstance(value, str) and is_reference(value):
        return _check_reference(wanted, value)
    return _check(wanted, value)


def _check_reference(wanted: ParameterType, reference: str) -> str:
    if not wanted.takes_text:
        raise UnfitError("a reference to a secret, which is text")
    if variable_of(reference) is None:
        raise UnfitError(f"{shown(reference)}, which names no variable: write secret://NAME")
    return reference


def _check(wanted: ParameterType, value: object) -> Any:
    if value is None and wanted.takes_none:
        return None
    return _CHECKS[wanted.kind](wanted, value)


def _check_any(_: ParameterType, value: object) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            raise _unfit(value)
        case date():
            return value.isoformat()
        case list() | tuple():
            return [_inside(f"item {n}", ANY, item) for n, item in enumerate(value, start=1)]
        case Mapping():
            return {
                _text_key(key): _inside(f"key {shown(key)}", ANY, item)
                for key, item in value.items()
            }
    raise _unfit(value)


def _check_int(_: ParameterType, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _unfit(value)


def _check_float(_: ParameterType, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UnfitError("a whole number too large for a float") from None
    raise _unfit(value)


def _check_str(_: ParameterType, value: object) -> str:
    if isinstance(value, str):
        return value
    raise _unfit(value)


def _check_bool(_: ParameterType, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _unfit(value)


def _check_date(_: ParameterType, value: object) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        try:
            return iso_date(value).isoformat()
        except ValueError:
            pass
    raise _unfit(value)


def _check_list(wanted: ParameterType, value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _unfit(value)
    inner = wanted.items[0] if wanted.items else ANY
    return [_inside(f"item {n}", inner, item) for n, item in enumerate(value, start=1)]


def _check_dict(wanted: ParameterType, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _unfit(value)
    keys, values = wanted.items or (ParameterType("str"), ANY)
    return {
        _check_key(keys, key): _inside(f"key {shown(key)}", values, item)
        for key, item in value.items()
    }


def _check_key(wanted: ParameterType, key: object) -> str:
    """JSON has only text as a key, so a number or date may come as itself or as text."""
    if wanted.kind == "int" and isinstance(key, str):
        try:
            return str(int(key))
        except ValueError:
            raise UnfitError(f"the key {shown(key)}, which is no whole number") from None
    return str(_inside("a key", wanted, key)) if wanted.kind != "any" else _text_key(key)


def _text_key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise UnfitError(f"{describe(key)} as a key, where only text can be")


def _check_literal(wanted: ParameterType, value: object) -> Any:
    for choice in wanted.choices:
        if type(choice) is type(value) and choice == value:
            return value
    raise _unfit(value)


def _check_none(_: ParameterType, value: object) -> None:
    raise _unfit(value)


def _inside(where: str, wanted: ParameterType, value: object) -> Any:
    if is_reference(value):
        raise UnfitError(f"a reference to a secret in {where}, where only a whole value can be one")
    try:
        return _check(wanted, value)
    except UnfitError as error:
        raise UnfitError(f"{error} in {where}") from None


def _unfit(value: object) -> UnfitError:
    return UnfitError(describe(value))


_CHECKS = {
    "any": _check_any,
    "int": _check_int,
    "float": _check_float,
    "str": _check_str,
    "bool": _check_bool,
    "date": _check_date,
    "list": _check_list,
    "dict": _check_dict,
    "literal": _check_literal,
    "none": _check_none,
}


def literal(wanted: ParameterType, value: object) -> str:
    """Write a value as the Python expression that the annotation promises.

    Only ASCII comes out, so that no editor, encoding or log changes a character on its way.
    """
    checked = check(wanted, value)
    return expression(checked) if is_reference(checked) else _write(wanted, checked)


def _write(wanted: ParameterType, value: Any) -> str:
    match value:
        case str():
            return _write_text(wanted, value)
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case list():
            inner = wanted.items[0] if wanted.items else ANY
            return f"[{', '.join(_write(inner, item) for item in value)}]"
        case dict():
            keys, values = wanted.items or (ANY, ANY)
            pairs = (f"{_write_text(keys, k)}: {_write(values, v)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
    return repr(value)


def _write_text(wanted: ParameterType, text: str) -> str:
    if wanted.kind == "date":
        return f'{wanted.date_name}.fromisoformat("{text}")'
    # A key of dict[int, ...] is text in JSON and a number in Python.
    return text if wanted.kind == "int" else ascii(text)
