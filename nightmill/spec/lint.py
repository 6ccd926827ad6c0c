"""What works by day and fails at night: found in a notebook's source, without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nightmill.spec.cell_source import CellSyntaxError, parse_cell, python_source
from nightmill.spec.notebook import Cell, SourceNotebook
from nightmill.spec.problems import shown

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class LintWarning:
    """One finding. A note is harmless; an error will fail for certain."""

    rule: str
    level: Level
    problem: str
    advice: str
    cell: int | None = None
    line: int | None = None


SYNTAX = "syntax"
"""The rule that a cell which is no Python breaks."""

_ASKS = ("asks", "asks for input, and nobody is there at night", "pass it as a parameter")
_DEBUGS = ("asks", "stops for a debugger, and nobody is there at night", "remove it")
_LOOPS = ("event-loop", "fails in a kernel, whose event loop is already running", "")
_CLOCK = (
    "clock",
    "reads the clock, so another night's run gives another result",
    "use the parameter `partition` or `as_of`",
)

# By the last two names of what is called, or the last one.
_CALLS: dict[tuple[str, ...], tuple[str, str, str]] = {
    ("input",): _ASKS,
    ("getpass",): _ASKS,
    ("getpass", "getpass"): _ASKS,
    ("breakpoint",): _DEBUGS,
    ("set_trace",): _DEBUGS,
    ("pdb", "set_trace"): _DEBUGS,
    ("ipdb", "set_trace"): _DEBUGS,
    ("asyncio", "run"): _LOOPS,
    ("anyio", "run"): _LOOPS,
    ("uvloop", "run"): _LOOPS,
    ("*", "run_until_complete"): _LOOPS,
    ("datetime", "now"): _CLOCK,
    ("datetime", "today"): _CLOCK,
    ("datetime", "utcnow"): _CLOCK,
    ("date", "today"): _CLOCK,
    ("Timestamp", "now"): _CLOCK,
    ("Timestamp", "today"): _CLOCK,
}

_NESTS = "nest_asyncio"  # makes what runs a loop work in a kernel, too

# A magic, or a line of a cell for the shell.
_INSTALLS = re.compile(
    r"\s*[%!]*\s*(?:\S+ -m )?(?:uv +)?(?:pip[\d.]*|conda|mamba|micromamba) +install\b"
)

_HOME = re.compile(r"(?:file://)?(?:/home/|/Users/|/root/|[A-Za-z]:[\\/]Users[\\/])[^\s/\\]")


def lint_notebook(notebook: SourceNotebook, kernel: str) -> list[LintWarning]:
    """List what will fail or surprise at night, in the order of the cells."""
    return [*_about_file(notebook, kernel), *_about_cells(notebook, kernel)]


def _about_file(notebook: SourceNotebook, kernel: str) -> Iterator[LintWarning]:
    if notebook.kernel_name and notebook.kernel_name != kernel:
        yield LintWarning(
            "kernel",
            "note",
            f"saved with the kernel {shown(notebook.kernel_name)}, runs in {shown(kernel)}",
            "choose the same kernel in JupyterLab to explore with the same packages",
        )
    full = [cell.number for cell in notebook.cells if cell.has_outputs]
    if full:
        yield LintWarning(
            "outputs",
            "warning",
            f"{len(full)} cell{'s hold' if len(full) > 1 else ' holds'} outputs",
            "clear them (nbstripout): they may hold data, and every save changes the file",
            cell=full[0],
        )


def _about_cells(notebook: SourceNotebook, kernel: str) -> Iterator[LintWarning]:
    nests = any(_NESTS in cell.source for cell in notebook.code_cells())
    for cell in notebook.code_cells():
        yield from _about_installing(cell, kernel)
        try:
            module = parse_cell(cell.source)
        except CellSyntaxError as error:
            yield LintWarning(
                SYNTAX,
                "error",
                f"no valid Python: {error.problem}",
                "run the cell once in JupyterLab",
                cell.number,
                error.line,
            )
            continue
        found = _about_code(module, cell.number) if module else iter(())
        for warning in sorted(found, key=lambda warning: warning.line or 0):
            if not (nests and warning.rule == _LOOPS[0]):
                yield warning


def _about_installing(cell: Cell, kernel: str) -> Iterator[LintWarning]:
    python = (python_source(cell.source) or "").split("\n")
    for number, line in enumerate(cell.source.split("\n"), start=1):
        is_python = line in python[number - 1 : number]
        if not is_python and _INSTALLS.match(line):
            yield LintWarning(
                "installs",
                "warning",
                f"{shown(line.strip())} installs what is newest that night, past the kernel's lock",
                f"the kernel's packages are in kernels/{kernel}/requirements.in: add it there, "
                f"then `nightmill kernels lock {kernel}`",
                cell.number,
                number,
            )


def _about_code(module: ast.Module, cell: int) -> Iterator[LintWarning]:
    inner = _within_functions(module)
    for node in ast.walk(module):
        match node:
            case ast.Call(func=called):
                if finding := _called(called):
                    rule, problem, advice = finding
                    name = shown(f"{ast.unparse(called)}()")
                    yield LintWarning(
                        rule,
                        "warning",
                        f"{name} {problem}",
                        advice or _await_instead(node, is_inner=node in inner),
                        cell,
                        node.lineno,
                    )
            case ast.Constant(value=str(text)) if _HOME.match(text):
                yield LintWarning(
                    "home",
                    "warning",
                    f"the path {shown(text)} is on one person's machine",
                    "read an input, or a path relative to the notebook",
                    cell,
                    node.lineno,
                )


def _within_functions(module: ast.Module) -> set[ast.AST]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    outer = [node for node in ast.walk(module) if isinstance(node, functions)]
    return {inner for function in outer for inner in ast.walk(function)}


def _await_instead(call: ast.Call, *, is_inner: bool) -> str:
    if is_inner or not call.args:
        return "use `await`, in a function that is `async` itself"
    return f"write {shown(f'await {ast.unparse(call.args[0])}')} in its place"


def _called(called: ast.expr) -> tuple[str, str, str] | None:
    match called:
        case ast.Name(id=name):
            return _CALLS.get((name,))
        case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
            return _CALLS.get((owner, name)) or _CALLS.get(("*", name))
        case ast.Attribute(attr=name):
            return _CALLS.get(("*", name))
    return None
