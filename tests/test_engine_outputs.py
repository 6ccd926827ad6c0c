"""Floods of output, pictures, progress bars: kept within bounds by a real kernel and engine."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from nightmill.step.spill import SpillTo
from tests.executing import make_execute, own_cells, states

MB = 1_000_000

MEASURE = """
import json, sys, warnings
from pathlib import Path
import nbformat, papermill
from nightmill.step.engine import NightmillEngine
from nightmill.step.outcome import Outcome
from nightmill.step.spill import SpillTo

def peak():  # of this program alone: ru_maxrss holds that of whoever started it as well
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

warnings.simplefilter("ignore")
folder, kernel, *sources = sys.argv[1:]
nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources])
outcome, events, before = Outcome(), [], peak()
NightmillEngine.execute_notebook(
    nb, kernel, save_to=Path(folder, "n.ipynb"), outcome=outcome, listener=events.append,
    spill=SpillTo(Path(folder, "spilled"), "s3://b"),
)
facts = {"events": events, "cause": outcome.cause, "engine": peak() - before}
Path(folder, "facts.json").write_text(json.dumps(facts))
"""
KERNEL_PEAK = "print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024)"


@pytest.fixture(scope="module")
def measure(kernel_environment, tmp_path_factory):
    """Return a function that executes cells in a process of its own: (facts, cells, folder)."""

    def run(*sources):
        folder = tmp_path_factory.mktemp("measure")
        environ = {"PATH": "/usr/bin:/bin", "JUPYTER_PATH": str(kernel_environment.jupyter_path)}
        name = kernel_environment.kernel.name
        subprocess.run(
            [sys.executable, "-c", MEASURE, str(folder), name, *sources],
            env={**environ, "HOME": str(folder), "API_TOKEN": "hunter2-hunter2-hunter2"},
            check=True,
            capture_output=True,
        )
        facts = json.loads((folder / "facts.json").read_text())
        return facts, own_cells(folder / "n.ipynb"), folder

    return run


@pytest.fixture(scope="module")
def flood(measure):
    """Print half a gigabyte in pieces, then some megabytes at once."""
    return measure(
        f"for number in range(500): print('x' * {MB})",
        KERNEL_PEAK,
        f"text = 'y' * {20 * MB}; print(text); del text",
    )


def test_a_flood_is_cut_and_kept(flood):
    """Every byte of 500 MB is in the file, and the notebook opens at once: head, note and tail."""
    facts, cells, folder = flood
    assert facts["cause"] is None
    assert states(cells) == ["completed"] * 3
    assert (folder / "spilled" / "cell-1-1.txt").stat().st_size == 500 * (MB + 1)
    assert (folder / "spilled" / "cell-3-1.txt").stat().st_size == 20 * MB + 1
    assert (folder / "n.ipynb").stat().st_size < 3 * MB
    (output,) = cells[0]["outputs"]
    assert "the whole: s3://b/cell-1-1.txt]" in output["text"]
    spilled = [event for event in facts["events"] if event["event"] == "spilled"]
    assert [(event["number"], event["file"]) for event in spilled] == [
        (1, "cell-1-1.txt"),
        (3, "cell-3-1.txt"),
    ]


def test_a_flood_never_is_in_memory_as_a_whole(flood):
    """The engine takes it as it comes, and the kernel waits for it instead of piling it up.

    Without that the kernel alone takes 1.4 GB for these 500 MB.
    """
    facts, cells, _folder = flood
    assert facts["engine"] < 150 * MB
    assert int(cells[1]["outputs"][0]["text"]) < 300 * MB


def test_a_picture_of_two_hundred_megabytes(measure):
    """It is a note in the notebook and a file as it was; the engine survives it."""
    raw = 150 * MB  # 200 MB in base64
    facts, cells, folder = measure(
        f"data = {{'image/png': b'PNG!' * {raw // 4}, 'text/plain': 'Figure'}}",
        "display(data, raw=True)",
    )
    assert facts["cause"] is None
    picture = folder / "spilled" / "cell-2-1.png"
    assert picture.stat().st_size == raw
    with picture.open("rb") as file:
        assert file.read(8) == b"PNG!PNG!"
    (output,) = cells[1]["outputs"]
    assert output["data"]["text/plain"].endswith("the whole: s3://b/cell-2-1.png]\nFigure")
    assert facts["engine"] < 1200 * MB


@pytest.fixture
def execute(kernel_environment, monkeypatch, tmp_path):
    """Return a function that executes cells in a real kernel: (file's cells, outcome)."""
    return make_execute(kernel_environment, monkeypatch, tmp_path)


TQDM = """
import sys, time
from tqdm import tqdm
for number in tqdm(range(300), mininterval=0):
    if number % 10 == 0:
        print('step', number)
"""
GARBAGE = """
import random
random.seed(1)
for _ in range(30):
    print(random.randbytes(100_000).decode('latin-1'))
"""
DISPLAYS = """
from IPython.display import clear_output
handle = display('first', display_id=True)
print('between')
display('second')
handle.update('updated')
"""
CLEARED = """
for number in range(5):
    clear_output(wait=True)
    print('round', number)
"""


def test_what_cells_print_and_show(execute, tmp_path):
    """One notebook with all of it: long loops, bars, garbage, updates and cleared outputs.

    Whoever watches hears the last line, a few times a second at most.
    """
    events, begun = [], time.monotonic()
    cells, outcome = execute(
        "for number in range(100_000): print('line', number)",
        TQDM,
        GARBAGE,
        DISPLAYS,
        CLEARED,
        "handle.update('updated by a later cell')",
        "import sys; print('a', file=sys.stderr); print('b')",
        "for number in range(30): time.sleep(0.05); print('tick', number)",
        listener=lambda event: events.append((time.monotonic(), event)),
        spill=SpillTo(tmp_path / "spilled", "s3://b"),
    )
    assert outcome.cause is None
    lines, bar, garbage, shown, cleared, _later, mixed, _ticks = (c["outputs"] for c in cells)

    (output,) = lines
    text = output["text"]
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("\nline 99999\n")
    whole = (tmp_path / "spilled" / "cell-1-1.txt").read_text()
    assert whole == "".join(f"line {number}\n" for number in range(100_000))

    assert sorted(output["name"] for output in bar) == ["stderr", "stdout"]
    drawn = {output["name"]: output["text"] for output in bar}
    assert drawn["stdout"].count("step") == 30
    assert drawn["stderr"].count("\n") == 1
    assert "300/300" in drawn["stderr"]

    (output,) = garbage
    assert len(json.dumps(output, ensure_ascii=False).encode()) < 1.2 * MB

    first, between, second = shown
    assert first["data"]["text/plain"] == "'updated by a later cell'"
    assert (between["text"], second["data"]["text/plain"]) == ("between\n", "'second'")
    assert [output["text"] for output in cleared] == ["round 4\n"]
    assert "".join(sorted("".join(o["text"] for o in mixed).split())) == "ab"

    heard = [(moment, event["text"]) for moment, event in events if event["event"] == "line"]
    assert heard[-1][1] == "tick 29"
    assert len(heard) < 3 + (heard[-1][0] - begun) / 0.4
