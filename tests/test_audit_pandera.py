"""pandera schemas of an author, run by a real Python with a real pandera, never in our process."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pyarrow as pa
import pytest

from nightmill.audit import watch
from nightmill.errors import InterruptedRunError
from tests.audited import make_auditor, night

SCHEMAS = """
import os, sys, time
import pandera.pandas as pa

print("a module may print what it likes")
Scores = pa.DataFrameSchema({
    "p_delay": pa.Column(float, pa.Check.in_range(0, 1)),
    "flight_id": pa.Column("int64", unique=True),
})

class Model(pa.DataFrameModel):
    p_delay: float = pa.Field(ge=0, le=1)
    carrier: str = pa.Field(isin=["AA", "DL", "UA", "WN"])

class Slow(pa.DataFrameModel):
    p_delay: float

    @pa.dataframe_check
    def sleeps(cls, df):
        time.sleep(600)
        return True

class Raises(pa.DataFrameModel):
    @pa.dataframe_check
    def has_a_bug(cls, df):
        return df["nope"] > 0

def Dies():
    pass

class Dies:
    @classmethod
    def validate(cls, table, lazy):
        os._exit(7)
"""


@pytest.fixture
def auditor(tmp_path):
    """Make an auditor with a module of schemas beside the notebook."""
    auditor = make_auditor(tmp_path)
    (tmp_path / "notebooks" / "schemas.py").write_text(SCHEMAS, encoding="utf-8")
    return auditor


@pytest.mark.parametrize("name", ["Scores", "Model"])
def test_a_schema_that_holds(auditor, name):
    """A schema object and a model class pass where the data fits, parts of a folder included."""
    result = auditor.one(night(), f'pandera: "schemas:{name}"')
    assert (result.check, result.state) == ("pandera", "passed"), result.message
    parts = auditor.root / "outputs" / "scores" / "parts"
    auditor.file(night().slice(0, 300), "parts/a.parquet")
    auditor.file(night().slice(300), "parts/b.parquet")
    assert auditor.one(parts, f'pandera: "schemas:{name}"').state == "passed"


@pytest.mark.parametrize(
    ("name", "words"), [("Scores", "in_range(0, 1)"), ("Model", "less_than_or_equal_to(1)")]
)
def test_a_schema_that_does_not_hold(auditor, name, words):
    """What pandera found is in the message: column, check, how often, and an example."""
    values = [2.5, 3.5, *night()["p_delay"].to_pylist()[2:]]
    table = night().set_column(4, "p_delay", pa.array(values))
    result = auditor.one(table, f'pandera: "schemas:{name}"')
    assert result.state == "failed"
    assert result.blocks
    assert f"p_delay: {words} (2 failed, such as 2.5)" in result.message


def test_a_warning(auditor):
    """The long form makes it a warning."""
    table = night().drop_columns(["p_delay"])
    result = auditor.one(table, '{pandera: {schema: "schemas:Scores", severity: warn}}')
    assert (result.state, result.severity, result.blocks) == ("failed", "warn", False)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("schemas:Nothing", "has no attribute 'Nothing'"),
        ("nothing:Scores", "No module named 'nothing'"),
        ("schemas:Dies", "ended with 7"),
        ("broken:Scores", "ZeroDivisionError: division by zero (broken.py:2)"),
    ],
)
def test_a_schema_that_cannot_be_run(auditor, target, words):
    """A module or schema that is not there, or breaks, is an error that says where."""
    (auditor.root / "notebooks" / "broken.py").write_text("\n1 / 0\n")
    result = auditor.one(night(), f'pandera: "{target}"')
    assert (result.state, result.blocks) == ("error", True)
    assert words in result.message


def test_a_check_with_a_bug_is_no_pass(auditor):
    """A check of the author that raises does not pass."""
    result = auditor.one(night(), 'pandera: "schemas:Raises"')
    assert result.blocks
    assert "nope" in result.message


def test_a_kernel_without_pandera_is_told_so(auditor, kernel_python):
    """The shipped kernel has no pandera: the message says what to add, and where."""
    kernel = replace(auditor.context.kernel, python=kernel_python, env={})
    result = auditor.one(night(), 'pandera: "schemas:Scores"', kernel=kernel)
    assert result.state == "error"
    assert "pandera is not in the kernel: add it to the kernel's requirements.in" in result.message


def test_our_process_imports_nothing_of_the_authors(auditor):
    """The schema's module is imported in another process, and leaves nothing in its folder."""
    auditor.one(night(), 'pandera: "schemas:Scores"')
    assert "schemas" not in sys.modules
    assert [file.name for file in auditor.context.scratch.iterdir()] == []


def test_a_slow_schema_is_ended(auditor):
    """A schema that does not end is killed after its time."""
    result = auditor.one(night(), 'pandera: "schemas:Slow"', timeout_s=4)
    assert result.state == "error"
    assert "took longer than 4 s" in result.message


LEFT = """
import subprocess, sys
child = subprocess.Popen(["sleep", "120"], start_new_session=ESCAPES)
open("PIDS", "w").write(str(child.pid))
print("left", child.pid, file=sys.stderr, flush=True)

class S:
    @classmethod
    def validate(cls, table, lazy):
        return table
"""


def left_behind(auditor, end: str, *, escapes: bool) -> Path:
    """Write a module that starts a process, and goes on with `end`; return where its number is."""
    pids = auditor.root / "pids"
    code = LEFT.replace("PIDS", str(pids)).replace("ESCAPES", str(escapes))
    (auditor.root / "notebooks" / "leaves.py").write_text(code + end, encoding="utf-8")
    return pids


@pytest.mark.parametrize("escapes", [False, True], ids=["in the group", "out of it"])
@pytest.mark.parametrize(
    ("end", "state", "words"),
    [
        ("", "passed", "the data fits the schema"),
        ("import os; os._exit(7)", "error", "ended with 7: left"),
        ("import time; time.sleep(120)", "error", "took longer than 90 s"),
    ],
    ids=["good", "dies", "hangs"],
)
def test_nobody_waits_for_what_a_module_left_behind(
    auditor, end, state, words, escapes, monkeypatch
):
    """The check ends with its process, or its time, though another holds the pipe open."""
    pids = left_behind(auditor, end, escapes=escapes)
    if "sleep" in end:  # its time is over as soon as it has left something behind
        clock = SimpleNamespace(monotonic=lambda: 1000.0 if has_text(pids) else 0.0)
        monkeypatch.setattr(watch, "time", clock)
    begun = time.monotonic()
    try:
        result = auditor.one(night(), 'pandera: "leaves:S"', timeout_s=90)
        assert (result.state, words in result.message) == (state, True), result.message
        assert time.monotonic() - begun < 100
        if not escapes:
            wait_for_end(int(pids.read_text()))
    finally:
        if escapes:
            os.kill(int(pids.read_text()), signal.SIGKILL)


def has_text(file: Path) -> bool:
    """Whether something was written into a file."""
    return file.exists() and bool(file.read_text())


def wait_for_end(pid: int) -> None:
    """See that a process has ended, collected or not."""
    deadline = time.monotonic() + 60
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_much_that_is_said_is_not_kept(auditor):
    """A module may say as much as it likes: only the last of it is kept, for one that fails."""
    code = "import os, sys\nsys.stderr.write('x' * 10_000_000 + 'é the end')\nsys.stderr.flush()\n"
    (auditor.root / "notebooks" / "says.py").write_text(code + "os._exit(3)", encoding="utf-8")
    result = auditor.one(night(), 'pandera: "says:S"')
    assert "ended with 3: xxx" in result.message
    assert "é the end" in result.message


def test_a_stop_ends_a_schema(auditor):
    """When the step is asked to stop, the process is killed and the audit ends."""
    with pytest.raises(InterruptedRunError):
        auditor.one(night(), 'pandera: "schemas:Slow"', stopping=lambda: True)


def test_data_that_would_not_fit_is_not_loaded(auditor):
    """A schema needs all data in memory: where that cannot be, the check says what it needs."""
    result = auditor.one(night(), 'pandera: "schemas:Scores"', memory_bytes=40_000)
    assert result.state == "error"
    assert "write the check in SQL, or give the step more memory" in result.message
