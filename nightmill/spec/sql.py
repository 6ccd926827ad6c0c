"""Texts and names as DuckDB's SQL takes them, whatever they hold."""

from __future__ import annotations


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Quote the name of a column."""
    return '"' + name.replace('"', '""') + '"'
