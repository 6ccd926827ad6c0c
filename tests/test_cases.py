"""What happened to others who ran notebooks at night, and must not happen here: by command line."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import notebook_json

DAY = "2013-01-01"

TEXTS = [
    r"C:\new\temp",
    "a\"b'c",
    "two\nlines",
    "{day}",
    "{{ ds }}",
    "$HOME `id` $(id)",
    "ends with a backslash\\",
    "é",
    "🦉",
    "'); import os #",
    "--help",
    "a=b",
    " spaced ",
    '"""',
]
NAMES = [f"text_{number}" for number in range(len(TEXTS))]

PERCENT_KERNELSPEC = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""
PERCENT = """\
# %% [markdown]
# A script that lost its header, or most of it.

# %% tags=["parameters"]
top_n = 3

# %%
# %%time
print(top_n)
"""
NO_METADATA = [("top_n = 3", "parameters"), "print(top_n)"]

STEPS = """
header: {notebook: header.py}
bare: {notebook: bare.py}
plain: {notebook: plain.ipynb}
drifted: {notebook: drifted.ipynb, kernel: tabular}
texts: {notebook: texts.ipynb}
"""


def notebook_with(cells, **metadata) -> str:
    """Write a notebook's JSON with metadata of its own."""
    from nbformat import v4  # noqa: PLC0415 - slow

    nb = v4.new_notebook(metadata=metadata)
    for source, tags in cells:
        nb.cells.append(v4.new_code_cell(source, metadata={"tags": tags}))
    return json.dumps(nb)


@pytest.fixture(scope="module")
def night(make_project):
    """Run five hostile notebooks once, in one run, and return (project, sources, exit)."""
    project = make_project("night")
    declared = "\n".join(f"{name}: str = ''" for name in NAMES)
    texts = [(declared, "parameters"), f"import json; print(json.dumps([{', '.join(NAMES)}]))"]
    project.pipeline("p", STEPS, plain=NO_METADATA, texts=texts)
    kernelspec = {"name": "conda-base", "display_name": "my laptop", "language": "python"}
    drifted = notebook_with([("print('here')", [])], kernelspec=kernelspec)
    sources = {
        "header.py": PERCENT_KERNELSPEC + PERCENT,
        "bare.py": PERCENT,
        "drifted.ipynb": drifted,
    }
    for name, text in sources.items():
        project.write(f"notebooks/p/{name}", text)
    given = [f"{name}={text}" for name, text in zip(NAMES, TEXTS, strict=True)]
    flags = [flag for text in [*given, "top_n=7"] for flag in ("-p", text)]
    ended = project.run("run", "p", "--partition", DAY, "--workers", "2", *flags)
    return project, sources, ended


def printed(project, step: str) -> str:
    """Join what the cells of a step printed."""
    cells = project.notebook("p", step)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(each["text"]) for each in outputs if "text" in each)


def test_the_night_was_good(night):
    """None of these notebooks fails."""
    assert night[2].code == 0, night[2]


@pytest.mark.parametrize("step", ["header", "bare"])
def test_case_5_a_percent_script_without_its_header(night, step):
    """A percent script keeps its cells, tag and magics, prints 7, and is never written back."""
    project, sources, _ended = night
    cells = project.notebook("p", step)["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "code", "code"]
    assert cells[1]["metadata"]["tags"] == ["parameters"]
    said = printed(project, step)
    assert said.startswith("7\n")
    assert "Wall time" in said
    file = project.root / f"notebooks/p/{step}.py"
    assert file.read_text() == sources[file.name]


def test_case_7_no_kernelspec(night):
    """Without metadata the step's kernel decides, and the executed notebook names it."""
    assert printed(night[0], "plain") == "7\n"
    assert night[0].notebook("p", "plain")["metadata"]["kernelspec"]["name"] == "tabular"


def test_case_8_the_kernel_that_ran_is_the_one_shown(night, kernel_environment):
    """The executed notebook and the record name the kernel used; the source keeps the author's."""
    project, sources, _ended = night
    shown = project.notebook("p", "drifted")["metadata"]["kernelspec"]
    kernel = kernel_environment.kernel
    assert (shown["name"], shown["display_name"]) == ("tabular", kernel.display_name)
    assert project.record("p", "drifted")["kernel"]["lock_sha256"] == kernel.lock_sha256
    assert (project.root / "notebooks/p/drifted.ipynb").read_text() == sources["drifted.ipynb"]
    assert "conda-base" in project.run("check").out


def test_case_11_text_arrives_as_it_was_typed(night):
    """No shell, template, format or injected code changes a character, and the record agrees."""
    project = night[0]
    assert json.loads(printed(project, "texts")) == TEXTS
    assert project.record("p", "texts")["parameters"] == dict(zip(NAMES, TEXTS, strict=True))


def test_case_3_two_parameters_cells(project):
    """Two cells tagged parameters are an error that numbers both, before anything runs."""
    cells = [("top_n = 3\ncut = 0.5", "parameters"), "1", ("cut = 0.9", "parameters")]
    project.pipeline("p", "s: {notebook: s.ipynb}", s=cells)
    ended = project.run("run", "p", "--partition", DAY, "-p", "top_n=7", "-p", "cut=0.1")
    assert ended.code in (1, 2)
    said = ended.out + ended.err
    assert "1" in said
    assert "3" in said
    assert "Traceback" not in said
    assert project.attempts("p", "s") == []


def test_case_13_values_for_a_notebook_without_a_parameters_cell(project):
    """A forgotten tag is named, with the cell that looks like it, before any kernel starts."""
    project.pipeline("p", "s: {notebook: s.ipynb}", s=["alpha = 0.5", "print(alpha)"])
    ended = project.run("run", "p", "--partition", DAY, "-p", "alpha=0.1")
    assert ended.code in (1, 2)
    said = ended.out + ended.err
    assert "parameters" in said
    assert "cell 1" in said
    assert project.attempts("p", "s") == []


BAD_STEPS = """
asks: {notebook: asks.ipynb}
loops: {notebook: loops.ipynb}
threads: {notebook: threads.ipynb}
names: {notebook: names.ipynb}
"""
ASKS = ["1", "user = input('user: ')", "print('after')"]
LOOPS = [
    "import asyncio\nasync def fetch():\n    return 3",
    "n = asyncio.run(fetch())",
    "print(n)",
]
THREADS = [
    "import threading, time\ndef work():\n    time.sleep(0.5)\n    raise OSError('lost a shard')",
    "threading.Thread(target=work, name='shards').start()",
]
NAMES_OF_FILES = [
    "name = b'caf\\xe9.csv'.decode('utf-8', 'surrogateescape')\nprint(name, 'é')",
    "display({'text/plain': name}, raw=True)",
    "raise ValueError(name)",
]
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


@pytest.fixture(scope="module")
def bad_night(make_project):
    """Run four unfortunate notebooks once, in a locale that knows ASCII only: (project, exit)."""
    project = make_project("bad_night")
    with_mark = b"\xef\xbb\xbf" + notebook_json(NAMES_OF_FILES).encode()
    project.pipeline("p", BAD_STEPS, asks=ASKS, loops=LOOPS, threads=THREADS)
    project.write("notebooks/p/names.ipynb", with_mark)
    return project, project.run("run", "p", "--partition", DAY, "--workers", "2", env=ASCII)


def test_case_17_a_notebook_that_asks(bad_night):
    """A question is a notebook_error at its cell, within seconds, and says that nobody answers."""
    record = bad_night[0].record("p", "asks")
    failure = record["failure"]
    assert (failure["cause"], failure["cell"], failure["cells"]) == ("notebook_error", 2, 3)
    assert "nobody is there at night to answer" in failure["message"]
    assert [cell["state"] for cell in record["cells"]] == ["completed", "failed", "not_run"]
    assert record["duration_s"] < 60


def test_case_24_an_exception_in_a_thread_is_no_plain_green(bad_night):
    """The step succeeds, and its record warns of the thread that failed and was waited for."""
    record = bad_night[0].record("p", "threads")
    assert record["state"] == "succeeded"
    failed, at_work = record["warnings"]
    assert "shards: OSError: lost a shard" in failed
    assert "still at work in threads when the last cell ended: shards" in at_work


def test_case_26_text_that_is_not_valid_unicode(bad_night):
    """Whatever the locale, record, notebook, progress and log are UTF-8 with the bad byte replaced.

    The source file began with a byte order mark.
    """
    project, ended = bad_night
    files = [
        file
        for attempt in project.attempts("p", "names")
        for file in attempt.rglob("*")
        if file.is_file()
    ]
    assert {"record.json", "notebook.ipynb"} <= {file.name for file in files}
    for file in files:
        assert "\\ud" not in file.read_bytes().decode()
    cells = project.notebook("p", "names")["cells"]
    first, shown, _failed = (cell for cell in cells if cell["cell_type"] == "code")
    assert first["outputs"][0]["text"] == "caf\ufffd.csv é\n"
    assert shown["outputs"][0]["data"]["text/plain"] == "caf\ufffd.csv"
    assert project.record("p", "names")["failure"]["evalue"] == "caf\ufffd.csv"
    assert "Traceback" not in ended.err


def test_case_42_asyncio_run(bad_night):
    """No magic: it fails as in Jupyter, at its cell, and check knows the call and what to write."""
    project = bad_night[0]
    failure = project.record("p", "loops")["failure"]
    assert (failure["cause"], failure["cell"]) == ("notebook_error", 2)
    assert "running event loop" in failure["message"]
    said = project.run("check").out
    assert "write `await fetch()` in its place" in said
    assert "cell 2" in said


def test_case_17_check_warns_of_questions_it_can_see(project):
    """What asks at night is known before the night: check names the call and its cell."""
    project.pipeline("p", "s: {notebook: s.ipynb}", s=["1", "user = input('user: ')"])
    ended = project.run("check")
    said = ended.out + ended.err
    assert "input" in said
    assert "cell 2" in said


def test_case_22_every_time_has_a_zone(project):
    """In a pod of another time zone, all moments are UTC and say so, and no span takes hours."""
    project.pipeline("p", "s: {notebook: s.ipynb}", s=["import time; time.tzset()", "print(1)"])
    begun = datetime.now(UTC) - timedelta(seconds=1)
    ended = project.run("run", "p", "--partition", DAY, env={"TZ": "Asia/Tokyo"})
    assert ended.code == 0
    notebook, record = project.notebook("p", "s"), project.record("p", "s")
    moments = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', json.dumps([notebook, record]))
    assert len(moments) >= 2 * 3 + 2  # two cells and the notebook; the record
    for moment in moments:
        read = datetime.fromisoformat(moment)
        assert read.utcoffset() == timedelta(0)
        assert begun <= read <= datetime.now(UTC)
    spans = re.findall(r'"duration(?:_s)?": ([-\d.]+)', json.dumps([notebook, record]))
    assert len(spans) >= 4
    assert all(0 <= float(span) < 60 for span in spans)
