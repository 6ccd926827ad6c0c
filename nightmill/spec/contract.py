"""The contract of a notebook: the parameters that its `parameters` cell declares.

The cell is read by `ast` and never run, so that Airflow and `check` can read it anywhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from nightmill.errors import ContractError
from nightmill.spec.annotation import AnnotationError, from_annotation, from_default
from nightmill.spec.cell_source import CellSyntaxError, comments, parse_cell, python_source
from nightmill.spec.cell_tags import check_tags
from nightmill.spec.notebook import Cell, SourceNotebook
from nightmill.spec.parameter_type import ANY, ParameterType
from nightmill.spec.problems import gather, shown
from nightmill.spec.secret_reference import is_reference

TAG = "parameters"
_MISSPELT = {"parameter", "parameters", "params", "param"}


@dataclass(frozen=True, slots=True)
class Computed:
    """A default that only running the notebook would tell."""

    source: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One variable of the `parameters` cell; `line` counts from 1 inside the cell.

    `default` is a plain value, a date, or `Computed`; it is None as well where `has_default` is
    false, and such a parameter must be given.
    """

    name: str
    type: ParameterType
    cell: int
    line: int
    annotation: str | None = None
    default: Any = None
    has_default: bool = True
    help: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """What a notebook can be given. `cell` is None where no cell is tagged.

    `assigned_elsewhere` then tells, for the names the notebook assigns, the first cell doing so.
    """

    notebook: Path
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    cell: int | None = None
    assigned_elsewhere: Mapping[str, int] = field(default_factory=dict)


def read_contract(notebook: SourceNotebook, path: Path | None = None) -> Contract:
    """Read the parameters that a notebook declares; `path` is how errors name it.

    Raises ContractError for two tagged cells, a tag that cannot be read, broken Python, or a
    parameter that cannot be told.
    """
    path = path or notebook.path
    if errors := check_tags(notebook, path):
        raise gather(errors)
    tagged = [cell for cell in notebook.cells if TAG in cell.tags]
    if len(tagged) > 1:
        numbers = " and ".join(str(cell.number) for cell in tagged)
        raise ContractError(
            f"the cells {numbers} are both tagged `{TAG}`"
            if len(tagged) == 2  # noqa: PLR2004 - "both" is two
            else f"the cells {numbers} are all tagged `{TAG}`",
            notebook=path,
            cell=tagged[1].number,
            advice="merge them into one, or remove the tag from all but one",
        )
    if not tagged:
        _refuse_misspelt(notebook, path)
        return Contract(path, assigned_elsewhere=_assigned(notebook))
    return Contract(path, _parameters(tagged[0], path), tagged[0].number)


def _refuse_misspelt(notebook: SourceNotebook, path: Path) -> None:
    for cell in notebook.cells:
        for tag in cell.tags:
            if tag.strip().casefold() in _MISSPELT:
                raise ContractError(
                    f"the tag {shown(tag)} has no meaning",
                    notebook=path,
                    cell=cell.number,
                    advice=f"write it `{TAG}`, in small letters",
                )


def _assigned(notebook: SourceNotebook) -> dict[str, int]:
    found: dict[str, int] = {}
    for cell in notebook.code_cells():
        try:
            module = parse_cell(cell.source)
        except CellSyntaxError:
            continue
        for statement in module.body if module else ():
            for assignment in _assignments(statement):
                if isinstance(assignment.target, ast.Name):
                    found.setdefault(assignment.target.id, cell.number)
    return found


class _Assignment(NamedTuple):
    target: ast.expr
    annotation: ast.expr | None
    value: ast.expr | None
    last_line: int


def _assignments(statement: ast.stmt) -> Iterator[_Assignment]:
    last = statement.end_lineno or statement.lineno
    match statement:
        case ast.AnnAssign():
            yield _Assignment(statement.target, statement.annotation, statement.value, last)
        case ast.Assign():
            for target in statement.targets:
                yield _Assignment(target, None, statement.value, last)


def _parameters(cell: Cell, path: Path) -> dict[str, Parameter]:
    if cell.kind != "code":
        raise ContractError(
            f"tagged `{TAG}`, but it is a {cell.kind} cell", notebook=path, cell=cell.number
        )
    module = _parse(cell, path)
    reader = _Reader(cell, path, comments(python_source(cell.source) or ""))
    for statement in module.body:
        if isinstance(statement, ast.AugAssign):
            reader.change(statement)
        for assignment in _assignments(statement):
            reader.read(assignment)
    if reader.errors:
        raise gather(reader.errors)
    return reader.found


def _parse(cell: Cell, path: Path) -> ast.Module:
    try:
        module = parse_cell(cell.source)
    except CellSyntaxError as error:
        raise ContractError(
            f"no valid Python: {error.problem}",
            notebook=path,
            cell=cell.number,
            line=error.line,
            advice="run the cell once in JupyterLab",
        ) from error
    if module is None:
        raise ContractError(
            f"the cell tagged `{TAG}` is no Python",
            notebook=path,
            cell=cell.number,
            line=1,
            advice="remove its `%%` line",
        )
    return module


@dataclass(slots=True)
class _Reader:
    """Reads the statements of one cell, in order; a later assignment replaces an earlier one."""

    cell: Cell
    path: Path
    comments: Mapping[int, tuple[str, bool]]
    found: dict[str, Parameter] = field(default_factory=dict)
    errors: list[ContractError] = field(default_factory=list)

    def read(self, assignment: _Assignment) -> None:
        target = assignment.target
        if isinstance(target, ast.Tuple | ast.List):
            self.error(
                target,
                "several parameters in one assignment cannot be told apart",
                "give each its own line: `a = 1`",
            )
        if not isinstance(target, ast.Name):
            return  # os.environ["X"] = ... sets something, and declares nothing
        try:
            self.found[target.id] = self.parameter(target, assignment)
        except AnnotationError as error:
            self.error(target, str(error), error.advice)

    def parameter(self, target: ast.Name, assignment: _Assignment) -> Parameter:
        earlier = self.found.get(target.id)
        annotation, value = assignment.annotation, assignment.value
        default = None if value is None else _default(value)
        if is_reference(default):
            raise AnnotationError(
                "a default is read by the kernel as it stands, and no reference to a secret",
                advice='write `os.environ["NAME"]`; pass secret://NAME from outside',
            )
        if annotation is not None:
            wanted = from_annotation(annotation)
        elif earlier is not None and earlier.annotation is not None:
            wanted = earlier.type
        else:
            wanted = ANY if value is None else from_default(value, default)
        kept = earlier.annotation if earlier else None
        return Parameter(
            name=target.id,
            type=wanted,
            cell=self.cell.number,
            line=target.lineno,
            annotation=ast.unparse(annotation) if annotation is not None else kept,
            default=default,
            has_default=value is not None,
            help=self.help(target.lineno, assignment.last_line),
        )

    def change(self, statement: ast.AugAssign) -> None:
        """Note that `x += 1` leaves a default nobody can know without running it."""
        if isinstance(statement.target, ast.Name) and statement.target.id in self.found:
            earlier = self.found[statement.target.id]
            self.found[earlier.name] = Parameter(
                name=earlier.name,
                type=earlier.type if earlier.annotation else ANY,
                cell=earlier.cell,
                line=statement.lineno,
                annotation=earlier.annotation,
                default=Computed(ast.unparse(statement)),
                help=earlier.help,
            )

    def help(self, first: int, last: int) -> str:
        """Take the comment on the lines of the assignment, or else the lines right above it."""
        for line in (last, first):
            if line in self.comments:
                return self.comments[line][0]
        above: list[str] = []
        line = first - 1
        while line in self.comments and self.comments[line][1]:
            above.insert(0, self.comments[line][0])
            line -= 1
        return " ".join(above)

    def error(self, node: ast.expr, problem: str, advice: str) -> None:
        self.errors.append(
            ContractError(
                problem,
                notebook=self.path,
                cell=self.cell.number,
                line=node.lineno,
                parameter=ast.unparse(node)[:60],
                advice=advice,
            )
        )


def _default(node: ast.expr) -> Any:
    try:
        value = _date(node) if isinstance(node, ast.Call) else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return Computed(ast.unparse(node))
    return Computed(ast.unparse(node)) if value is ... else value


def _date(call: ast.Call) -> date:
    """Evaluate `date(2013, 1, 1)` and `date.fromisoformat("2013-01-01")`; raises ValueError."""
    arguments = [ast.literal_eval(argument) for argument in call.args]
    named = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    match call.func:
        case ast.Name(id="date") | ast.Attribute(attr="date"):
            return date(*arguments, **named)
        case ast.Attribute(value=ast.Name(id="date") | ast.Attribute(attr="date"), attr=method):
            if method == "fromisoformat" and not named:
                return date.fromisoformat(*arguments)
    raise ValueError(ast.unparse(call))
