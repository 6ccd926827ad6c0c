"""Annotations of a `parameters` cell, read as the types that values from outside can have."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import date

from nightmill.spec.parameter_type import ANY, Kind, ParameterType
from nightmill.spec.problems import shown

KEY_KINDS = ("str", "int", "date", "any")
_KNOWN = "use int, float, str, bool, date, list, dict, Literal or `T | None`"


class AnnotationError(Exception):
    """An annotation that no value from outside could satisfy; `advice` says what could be."""

    def __init__(self, problem: str, *, advice: str = _KNOWN) -> None:
        super().__init__(problem)
        self.advice = advice


_PLAIN: dict[str, Kind] = {
    "int": "int", "float": "float", "str": "str", "bool": "bool",
    "list": "list", "dict": "dict", "object": "any",
}  # fmt: skip
_QUALIFIED: dict[str, Kind] = {"date": "date", "Any": "any", "List": "list", "Dict": "dict"}


def from_annotation(node: ast.expr) -> ParameterType:
    """Read an annotation; raises AnnotationError for one that no value can be checked against."""
    match node:
        case ast.Constant(value=None):
            return ParameterType("none")
        case ast.Constant(value=str(text)):
            return _from_text(text)
        case ast.Name(id=name) if name in _PLAIN:
            return ParameterType(_PLAIN[name])
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _QUALIFIED:
            return ParameterType(_QUALIFIED[name], date_name=ast.unparse(node))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([left, right])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _subscript(node, name, _elements(inner))
    raise _unknown(node)


def _from_text(text: str) -> ParameterType:
    try:
        return from_annotation(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError):
        raise AnnotationError(f"the annotation {shown(text)} cannot be read") from None


def _subscript(node: ast.expr, name: str, inner: list[ast.expr]) -> ParameterType:
    match name, inner:
        case "Optional", [item]:
            return replace(from_annotation(item), optional=True)
        case "Union", _:
            return _union(inner)
        case "Annotated", [item, *_]:
            return from_annotation(item)
        case "Literal", [_, *_]:
            return _choices(node, inner)
        case (("list" | "List"), [item]):
            return ParameterType("list", items=(from_annotation(item),))
        case (("dict" | "Dict"), [key, value]):
            keys = from_annotation(key)
            if keys.kind in KEY_KINDS and not keys.optional:
                return ParameterType("dict", items=(keys, from_annotation(value)))
    raise _unknown(node)


def _union(members: list[ast.expr]) -> ParameterType:
    types = [from_annotation(member) for member in members]
    real = [one for one in types if one.kind != "none"]
    if len(real) != 1:
        raise AnnotationError("a union of several types; only `T | None` can be told apart")
    return replace(real[0], optional=real[0].optional or len(types) > len(real))


def _choices(node: ast.expr, members: list[ast.expr]) -> ParameterType:
    try:
        choices = [ast.literal_eval(member) for member in members]
    except ValueError:
        raise _unknown(node) from None
    if not all(choice is None or type(choice) in (str, int, bool) for choice in choices):
        raise _unknown(node)
    real = tuple(choice for choice in choices if choice is not None)
    return ParameterType("literal", optional=None in choices, choices=real)


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _unknown(node: ast.expr) -> AnnotationError:
    return AnnotationError(
        f"the annotation {shown(ast.unparse(node))} is none that a value can be given"
    )


def from_default(node: ast.expr, default: object) -> ParameterType:
    """Infer the type of a parameter without annotation from its literal default."""
    if isinstance(node, ast.Call) and isinstance(default, date):
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr == "fromisoformat":
            called = called.value
        return ParameterType("date", date_name=ast.unparse(called))
    kind = _INFERRED.get(type(default))
    return ParameterType(kind) if kind else ANY


_INFERRED: dict[type, Kind] = {
    int: "int", float: "float", str: "str", bool: "bool", list: "list", dict: "dict",
}  # fmt: skip
