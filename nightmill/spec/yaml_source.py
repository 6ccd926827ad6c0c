"""YAML files read into plain data that remembers the line and column of every key and value.

Nodes are composed by PyYAML and built here, because PyYAML's own constructors forget the lines,
let a later duplicate key win in silence, and expand anchors without a limit. Keys stay the text
that was written: `no:` and `2013:` are the keys "no" and "2013".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nightmill.errors import SpecError
from nightmill.spec.problems import Fault, KeyPath, gather, shown
from nightmill.spec.units import ISO_DATE, no_date

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_NODES = 20_000  # after anchors are expanded: a bomb of nine short lines asks for 10**9

_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


class Place(NamedTuple):
    """Where something starts in the file, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class YamlSource:
    """A YAML file: its data (always a mapping) and where each part of it stands."""

    file: Path
    data: Mapping[str, Any]
    keys: Mapping[KeyPath, Place]
    values: Mapping[KeyPath, Place]

    def line(self, path: KeyPath) -> int:
        """Find the line of a key or list item, or of the nearest thing around it."""
        for length in range(len(path), 0, -1):
            place = self.keys.get(path[:length]) or self.values.get(path[:length])
            if place:
                return place.line
        return 1

    def error(self, problem: str, path: KeyPath, *, advice: str = "") -> SpecError:
        """Make an error that names this file and the line of the key."""
        key = ".".join(str(part) for part in path)
        key = key if len(key) <= 200 else key[:197] + "..."  # noqa: PLR2004 - a readable length
        return SpecError(problem, file=self.file, line=self.line(path), key=key, advice=advice)


def read_yaml(file: Path) -> YamlSource:
    """Read a YAML file whose top is a mapping.

    Raises SpecError with file and line for anything that is not one plain, small document.
    """
    text = _read_text(file)
    node = _compose(file, text)
    if not isinstance(node, yaml.MappingNode):
        found = (
            "nothing"
            if node is None
            else "a list"
            if isinstance(node, yaml.SequenceNode)
            else "plain text"
        )
        raise SpecError(
            f"expected keys and values, found {found}",
            file=file,
            line=1 if node is None else node.start_mark.line + 1,
            advice="write lines like `pipeline: my_pipeline`",
        )
    builder = _Builder(file)
    data = builder.mapping(node, ())
    if builder.problems:
        raise gather(builder.problems)
    return YamlSource(file, data, builder.keys, builder.values)


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=file) from error
    if len(raw) > MAX_BYTES:
        raise SpecError(
            f"larger than {MAX_BYTES // 1024} KiB", file=file, advice="keep data out of this file"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"not UTF-8: byte 0x{raw[error.start]:02x}",
            file=file,
            line=raw.count(b"\n", 0, error.start) + 1,
            advice="save the file as UTF-8",
        ) from error


def _compose(file: Path, text: str) -> yaml.Node | None:
    try:
        loader = Loader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(
            "a character that YAML does not allow", file=file, line=line, advice="remove it"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(file, text, error) from error
    except RecursionError as error:  # only the pure Python loader has no limit of its own
        raise SpecError("nested too deeply", file=file) from error
    return node


def _syntax_error(file: Path, text: str, error: yaml.MarkedYAMLError) -> SpecError:
    # What is never closed ends at the end of the file: where it begins is the line to look at.
    unclosed = "end of stream" in (error.problem or "") and error.context_mark
    mark = error.context_mark if unclosed else error.problem_mark
    line = mark.line + 1 if mark else None
    written = "".join(text.split("\n")[line - 1 : line]) if line else ""
    what = ", ".join(part for part in (error.context, error.problem) if part)
    if "single document" in what:
        return SpecError(
            "several documents in one file",
            file=file,
            line=line,
            advice="remove the `---` line and what follows it",
        )
    return SpecError(f"no valid YAML: {what}", file=file, line=line, advice=_syntax_advice(written))


def _syntax_advice(written: str) -> str:
    value = written.partition(":")[2].strip()
    if "\t" in written[: len(written) - len(written.lstrip())] or value.startswith("\t"):
        return "indent with spaces, not with tabs"
    if value[:1] in ("@", "*", "%", "`", "&", "!"):
        key = written.partition(":")[0].strip()
        return f'put the value between quotes: {key}: "{value}"'
    return "look at this line and the one above: a quote, a colon, or spaces in front"


@dataclass(slots=True)
class _Builder:
    """Turns nodes into data and notes their places; one for each file."""

    file: Path
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[SpecError] = field(default_factory=list)
    merging: list[yaml.Node] = field(default_factory=list)
    nodes: int = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.count(node, path)
        self.values[path] = _place(node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if node.tag not in _PLAIN:
            raise self.error(node, f"the tag {shown(node.tag)} is not allowed here")
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.mapping(node, path)

    def mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        # What is merged comes first, so that own keys win and keep their own lines.
        for key, value in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
            if key.tag == _MERGE:
                merged |= self.merge(value, path)
            elif not isinstance(key, yaml.ScalarNode):
                self.problems.append(self.error(key, "a key must be plain text"))
            elif key.value in lines:
                self.problems.append(self.duplicate(key, lines[key.value]))
            else:
                lines[key.value] = _place(key).line
                own[key.value] = self.build(value, (*path, key.value))
                self.keys[*path, key.value] = _place(key)
        return merged | own

    def merge(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        """Build what `<<: *anchor` brings in."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, "`<<` takes one mapping", advice="write `<<: *name`")
        if node in self.merging:
            raise self.error(node, "`<<` leads back to itself")
        self.count(node, path)
        self.merging.append(node)
        merged = self.mapping(node, path)
        self.merging.pop()
        return merged

    def count(self, node: yaml.Node, path: KeyPath) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self.error(
                node,
                f"more than {MAX_NODES} values or {MAX_DEPTH} levels, anchors expanded",
                advice="write it flat, without anchors",
            )

    def scalar(self, node: yaml.ScalarNode) -> Any:
        loader = Loader("")
        try:
            return loader.construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            fault = Fault(f"{shown(node.value)} is no valid value", "put it between quotes")
            if ISO_DATE.fullmatch(node.value):
                fault = no_date(node.value)
                fault = fault._replace(advice=f"{fault.advice}; put it between quotes")
            advice = f"{fault.advice} if it is meant as text"
            raise self.error(node, fault.problem, advice=advice) from error
        finally:
            loader.dispose()

    def duplicate(self, key: yaml.ScalarNode, first: int) -> SpecError:
        return self.error(
            key,
            f"the key {shown(key.value)} stands here a second time, first in line {first}",
            advice="keep one of them",
        )

    def error(self, node: yaml.Node, problem: str, *, advice: str = "") -> SpecError:
        return SpecError(problem, file=self.file, line=_place(node).line, advice=advice)


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
