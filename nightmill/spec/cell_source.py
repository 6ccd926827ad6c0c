"""The Python inside a code cell: IPython's own syntax replaced, every line kept where it was."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings

# Cell magics whose body is still Python of the notebook; all others (%%bash, %%sql, ...) are not.
PYTHON_CELL_MAGICS = {"time", "timeit", "capture", "prun"}

_CELL_MAGIC = re.compile(r"\s*%%(\w+)")
_LINE_MAGIC = re.compile(r"(\s*)(?:[%!?]|\S+\?{1,2}\s*$)")
_ASSIGNED_MAGIC = re.compile(r"(\s*[\w.,\s]+=\s*)(?:!|%\w)")


class CellSyntaxError(Exception):
    """The cell is no Python; `line` counts from 1 in the cell."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def python_source(source: str) -> str | None:
    """Give the cell as plain Python with the same number of lines; None where it is none.

    `x = !ls` becomes `x = ...`: a value nobody can know before the night.
    """
    if _CELL_MAGIC.match(source):
        first, *rest = source.lstrip("\n").split("\n")
        blanks = "\n" * (len(source) - len(source.lstrip("\n")))
        if _CELL_MAGIC.match(first)[1] not in PYTHON_CELL_MAGICS:  # type: ignore[index]
            return None
        source = blanks + "\n".join(["", *rest])
    return source if _parses(source) else _without_magics(source)


def parse_cell(source: str) -> ast.Module | None:
    """Parse a cell's Python; None for a cell in another language. Raises CellSyntaxError."""
    python = python_source(source)
    if python is None:
        return None
    try:
        return _parse(python)
    except SyntaxError as error:
        raise CellSyntaxError(error.msg, error.lineno or 1) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise CellSyntaxError(str(error) or "nested too deeply", 1) from error


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape is the author's business at run time
        return ast.parse(source)


def _parses(source: str) -> bool:
    try:
        _parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _without_magics(source: str) -> str:
    """Replace magics where a statement may start; inside strings and brackets % is no magic."""
    kept: list[str] = []
    statement = ""  # the lines of a statement that is still open
    in_magic = False  # the line before was a magic that ended with a backslash
    for line in source.split("\n"):
        plain = line
        if in_magic or not statement:
            plain = "" if in_magic else _replace_magic(line)
        in_magic = (in_magic or plain != line) and line.endswith("\\")
        kept.append(plain)
        statement = f"{statement}{plain}\n"
        if not _is_open(statement):
            statement = ""
    return "\n".join(kept)


def _replace_magic(line: str) -> str:
    if (assigned := _ASSIGNED_MAGIC.match(line)) and "==" not in assigned[1]:
        return f"{assigned[1]}..."
    if magic := _LINE_MAGIC.match(line):
        # A comment may end with a question mark.
        return line if line.lstrip().startswith("#") else f"{magic[1]}pass"
    return line


def _is_open(statement: str) -> bool:
    try:
        for _ in tokenize.generate_tokens(io.StringIO(statement.strip(" ")).readline):
            pass
    except tokenize.TokenError as error:
        # Python 3.11 says "EOF in multi-line string", 3.12 "unterminated triple-quoted string".
        return "multi-line" in str(error) or "triple-quoted" in str(error)
    except SyntaxError:
        return False
    return False


def comments(source: str) -> dict[int, tuple[str, bool]]:
    """Map the lines of a cell to their comment and whether the line holds nothing else."""
    found: dict[int, tuple[str, bool]] = {}
    lines = source.split("\n")
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                alone = not lines[row - 1][:column].strip()
                found[row] = (token.string.lstrip("#").strip(), alone)
    except (tokenize.TokenError, SyntaxError):
        return found
    return found
