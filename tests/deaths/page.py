"""Writes docs/deaths.md from the table of ways to die and from what was measured of papermill."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.deaths.plain import Left
from tests.deaths.table import SECTIONS, WAYS
from tests.deaths.way import Way

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deaths.md"
MEASURED = Path(__file__).with_name("papermill.json")

_INTRO = """\
# Ways to die

A notebook that runs at night can end in many ways. This page lists {count} of them, what Nightmill
says of each, and what plain papermill {version} leaves behind in the same situation.

The tests write it. Every row of Nightmill's is run for real by `tests/test_deaths.py` or, where it
is marked *pod*, on a cluster by `tests/e2e/test_deaths_cluster.py`. Papermill's side was measured
with its command line, and `tests/test_deaths_page.py` measures it again. A test fails when this
page is out of date.

How to read it:

- Most notebooks have three cells, and it happens in the second. *Cells* are the states in the
  executed notebook and in the record, which agree. They are proven: each cell tells the test, past
  Nightmill, that it has come to its end, and only such a cell may be called completed.
- *Cause* and *exit* are those of the record and of `nightmill step`. A pod's row gives the exit
  code of its container, "-" where nobody was left to give one; -9 means killed by SIGKILL.
- Where *cause* is "none" the step succeeds.
- *Next* is what the retry policy says: `never` where the same would happen again, `backoff` to try
  again after a while, `more_memory` to try again with more of it. A step may say otherwise.
- Where a row is marked *swept* or *amended*, nothing was left that could write the end into the
  store, or no store to take it: `nightmill sweep`, or `nightmill amend` with the cause that the
  exit code tells, wrote it afterwards. In Airflow the operator does.
- In papermill's columns **bold** is what is not true: a cell called completed that did not
  complete, a cell still "running" although all is over, and the exception `null` that a good run
  has as well.
"""
_HEAD = (
    "| what happens | cause | exit | cells | next | papermill: exit | cells | exception |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def page(measured: Mapping[str, Any]) -> str:
    """Return the whole page."""
    text = _INTRO.format(count=len(WAYS), version=measured["version"])
    for title, ways in SECTIONS.items():
        rows = "\n".join(_row(way, measured["ways"].get(way.name)) for way in ways)
        text += f"\n## {title}\n\n{_HEAD}{rows}\n"
    return text


def read_measured() -> dict[str, Any]:
    """Read what was measured of papermill."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def write_measured(version: str, lefts: Mapping[str, Left]) -> None:
    """Keep what was measured of papermill anew, one line a way; what was not stays as it is."""
    known = read_measured()["ways"] if MEASURED.exists() else {}
    known |= {name: left.to_json() for name, left in lefts.items()}
    ways = ",\n".join(
        f"  {json.dumps(way.name)}: {json.dumps(known[way.name])}"
        for way in WAYS
        if way.name in known and way.plain.runs
    )
    text = f'{{\n "version": {json.dumps(version)},\n "ways": {{\n{ways}\n }}\n}}\n'
    MEASURED.write_text(text, encoding="utf-8")


def _row(way: Way, left: Mapping[str, Any] | None) -> str:
    mended = {"": "", "sweep": "swept", "amend": "amended"}[way.mended_by]
    marks = [mark for mark in ("pod" if way.where == "pod" else "", mended) if mark]
    title = f"{way.title} *({', '.join(marks)})*" if marks else way.title
    ours = [
        title,
        f"`{way.cause}`" if way.cause else _success(way),
        "-" if way.fate.exit is None else str(way.fate.exit),
        _in_words(way.states) or "no notebook",
        f"`{way.fate.retry}`" if way.fate.retry else "-",
    ]
    theirs = _of_papermill(way, left) if left else [way.plain.note or "-", "-", "-"]
    return f"| {' | '.join([*ours, *theirs])} |"


def _success(way: Way) -> str:
    told = [*(["a warning"] if way.warns else []), *(f"`{name}`" for name in way.evidence)]
    return f"none, the record tells of it ({', '.join(told)})" if told else "none"


def _of_papermill(way: Way, left: Mapping[str, Any]) -> list[str]:
    code = str(left["exit"]) + (f" ({way.plain.note})" if way.plain.note else "")
    if left["saved"] != "whole":
        return [code, {"none": "no notebook", "half": "**half a file**"}[left["saved"]], "-"]
    return [code, _in_words(_with_lies(way, left)), _exception(way, left)]


def _with_lies(way: Way, left: Mapping[str, Any]) -> list[str]:
    """Mark the states that are not true, by what the cells themselves told."""
    proven = _proven(way, left)
    lies = {("completed", False), ("failed", True), ("running", False), ("running", True)}
    return [
        f"**{state}**" if (state, number in proven) in lies else state
        for number, state in enumerate(left["states"], 1)
    ]


def _exception(way: Way, left: Mapping[str, Any]) -> str:
    told = json.dumps(left["exception"])
    is_whole = len(_proven(way, left)) == len(way.notebook)
    return told if is_whole or left["exception"] else f"**{told}**"


def _proven(way: Way, left: Mapping[str, Any]) -> set[int]:
    return {*left["proven"], *way.silent}


def _in_words(states: Sequence[str]) -> str:
    """Say once what is the same of all."""
    if len(states) > 1 and len(set(states)) == 1:
        return f"all {len(states)} {states[0]}"
    return ", ".join(states)
