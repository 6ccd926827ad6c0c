"""The command line against bad input: one table, one promise for each row of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from nbformat import v4

DAY = "--partition=2013-03-01"

PIPELINE = """\
pipeline: demo
start: 2013-01-01
end: 2013-12-31
steps:
  make:
    notebook: make.ipynb
    outputs: {made: made.txt}
  read:
    notebook: read.ipynb
    inputs: [made]
"""

PARAMETERS = 'top_n: int = 5\ncut: float = 0.5\nmade: str = "made.txt"'

OTHER_KERNEL = PIPELINE.replace("make.ipynb\n", "make.ipynb\n    kernel: tabulra\n")


def notebook(*cells: str | tuple[str, str]) -> str:
    """Write a notebook of these sources, or pairs of a source and its tag."""
    made = []
    for cell in cells:
        source, tags = (cell, []) if isinstance(cell, str) else (cell[0], [cell[1]])
        made.append(v4.new_code_cell(source, metadata={"tags": tags}))
    return v4.writes(v4.new_notebook(cells=made)).encode()


@pytest.fixture
def demo(project, monkeypatch):
    """Make a project with one sound pipeline, and stand in it."""
    project.write("notebooks/demo/pipeline.yaml", PIPELINE)
    for step in ("make", "read"):
        cells = notebook((PARAMETERS, "parameters"), "print(1)")
        project.write(f"notebooks/demo/{step}.ipynb", cells)
    for name in ("NIGHTMILL_KERNELS", "COLUMNS"):
        monkeypatch.setenv(name, project.env[name])
    monkeypatch.delenv("NIGHTMILL_STORE", raising=False)
    monkeypatch.chdir(project.root)
    return project


FILE = "notebooks/demo/pipeline.yaml"
NOTEBOOK = "notebooks/demo/make.ipynb"

# What is wrong: file and content written before; arguments; exit code; what the message must tell.
BAD_FILES = {
    "broken YAML": (FILE, "pipeline: demo\nsteps: [\n", (f"{FILE}:", "-> ")),
    "tab in YAML": (FILE, "pipeline: demo\n\tsteps: {}\n", (f"{FILE}:2",)),
    "not UTF-8": (FILE, b"pipeline: demo\nowner: \xff\n", (FILE, "UTF-8")),
    "unknown key": (FILE, PIPELINE.replace("start:", "strat:"), (f"{FILE}:2: strat", "start")),
    "unknown key of a step": (
        FILE,
        PIPELINE.replace("    inputs:", "    input:"),
        (f"{FILE}:10: steps.read.input", "did you mean `inputs`?"),
    ),
    "unknown kernel": (FILE, OTHER_KERNEL, (f"{FILE}:7", "`tabular`")),
    "cycle": (
        FILE,
        PIPELINE.replace("    outputs:", "    inputs: [red]\n    outputs:")
        + "    outputs: {red: r}",
        (f"{FILE}:", "make", "read", "wait for each other"),
    ),
    "missing notebook": (
        FILE,
        PIPELINE.replace("make.ipynb", "mkae.ipynb"),
        (f"{FILE}:6: steps.make.notebook", "did you mean `make.ipynb`?"),
    ),
    "notebook that is no JSON": (NOTEBOOK, "{cells: 1", (f"{NOTEBOOK}", "JSON")),
    "notebook that is no notebook": (NOTEBOOK, "[1, 2]", (f"{NOTEBOOK}",)),
    "notebook that is empty": (NOTEBOOK, "", (f"{NOTEBOOK}",)),
    "parameters cell that does not parse": (
        NOTEBOOK,
        notebook(("top_n: int = ", "parameters")),
        (f"{NOTEBOOK}, cell 1",),
    ),
    "no parameters cell for an output": (
        NOTEBOOK,
        notebook("made = 'x'"),
        (f"{NOTEBOOK}: made", "tag that cell `parameters`"),
    ),
}


@pytest.mark.parametrize(("file", "content", "told"), BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_wrong_file_is_found_before_anything_runs(demo, cli, verb, file, content, told):
    """What an author wrote wrongly is an error that names file, line and what to do."""
    demo.write(file, content)
    ended = cli("run", "demo", DAY) if verb == "run" else cli("check")
    assert ended.code == 1
    assert_clear(ended, *told)
    assert (ended.out == "") == (verb == "run")
    assert_nothing_ran(demo)


BAD_ARGUMENTS = {
    "unknown pipeline": (["dmeo", DAY], 2, "did you mean `demo`?"),
    "no partition": (["demo"], 2, "--partition"),
    "partition before the start": (["demo", "--partition=2012-12-31"], 2, "start 2013-01-01"),
    "partition after the end": (["demo", "--partition=2014-01-01"], 2, "end 2013-12-31"),
    "partition that is no day": (["demo", "--partition=2013-2-3"], 2, "2013-03-01"),
    "a day that does not exist": (["demo", "--partition=2013-02-30"], 2, "2013-02 has 28 days"),
    "partition with a path in it": (["demo", "--partition=../../x"], 2, "is no date"),
    "empty partition": (["demo", "--partition="], 2, "is no date"),
    "range that leaves the pipeline's days": (
        ["demo", "--from=2013-12-30", "--to=2014-01-02"],
        2,
        "end 2013-12-31",
    ),
    "--from without --to": (["demo", "--from=2013-03-01"], 2, "--to"),
    "--to without --from": (["demo", "--to=2013-03-01"], 2, "--from"),
    "--from after --to": (["demo", "--from=2013-03-02", "--to=2013-03-01"], 2, "swap them"),
    "an endless range": (["demo", "--from=0001-01-01", "--to=9999-12-31"], 2, "at most"),
    "--partition and --from": (["demo", DAY, "--from=2013-03-01"], 2, "exclude each other"),
    "--workers 0": (["demo", DAY, "--workers=0"], 2, "workers"),
    "--workers many": (["demo", DAY, "--workers=x"], 2, "workers"),
    "unknown option": (["demo", DAY, "--patrition=x"], 2, "--patrition"),
    "unknown step": (["demo", DAY, "--step=maek"], 2, "did you mean `make`?"),
    "as_of that is no day": (["demo", DAY, "--as-of=today"], 2, "is no date"),
    "misspelt parameter": (["demo", DAY, "-p", "topn=7"], 2, "did you mean `top_n`?"),
    "misspelt parameter of a step": (["demo", DAY, "-p", "make.topn=7"], 2, "`top_n`"),
    "wrong type": (["demo", DAY, "-p", "top_n=many"], 2, "notebooks/demo/make.ipynb, cell 1"),
    "no assignment": (["demo", DAY, "-p", "top_n"], 2, "-p name=value"),
    "empty -p": (["demo", DAY, "-p", ""], 2, "-p name=value"),
    "-p without a name": (["demo", DAY, "-p", "=7"], 2, "-p name=value"),
    "-p of an output": (["demo", DAY, "-p", "made=/tmp/x"], 2, "set by the runner"),
    "-p partition": (["demo", DAY, "-p", "partition=x"], 2, "use --partition"),
    "input never committed": (
        ["demo", DAY, "--step=read"],
        1,
        "nightmill run demo --partition 2013-03-01",
    ),
    "foreign store": (["demo", DAY, "--store=gs://bucket/x"], 2, "s3://bucket/prefix"),
    "empty store": (["demo", DAY, "--store="], 2, "s3://bucket/prefix"),
    "store that is a file": (["demo", DAY, "--store=kernels/tabular/kernel.yaml"], 1, "->"),
    "name that paints": (["\x1b[31mred\x07", DAY], 2, r"\x1b[31mred\x07"),
    "name like markup": (["[/bold]", DAY], 2, "`[/bold]`"),
    "name that is no UTF-8": (["d\udcffmo", DAY], 2, r"d\udcffmo"),
    "partition that is no UTF-8": (["demo", "--partition=\udcff"], 2, r"\udcff"),
    "parameter that is no UTF-8": (["demo", DAY, "-p", "\udcff=1"], 2, r"\udcff"),
    "text that is no UTF-8": (["demo", DAY, "-p", "made2=\udcff"], 2, "made2"),
    "store that is no UTF-8": (["demo", DAY, "--store=s\udcff"], 2, "UTF-8"),
    "credentials in the store's URL": (
        ["demo", DAY, "--store=s3://key:sEcReT@bucket/x"],
        2,
        "AWS_ACCESS_KEY_ID",
    ),
    "a secret in the store's query": (
        ["demo", DAY, "--store=s3://bucket/x?secret_access_key=sEcReT"],
        2,
        "secret_access_key",
    ),
    "a very long name": (["d" * 5000, DAY], 2, "unknown pipeline"),
}


@pytest.mark.parametrize(("arguments", "code", "told"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_wrong_argument_is_refused(demo, cli, arguments, code, told):
    """What somebody typed wrongly is an error that says what to type, with its exit code."""
    ended = cli("run", *arguments)
    assert ended.code == code
    assert_clear(ended, told)
    assert len(ended.err) < 1500
    assert ended.out == ""
    assert_nothing_ran(demo)


def assert_clear(ended, *told: str) -> None:
    """Hold an error against what every error must be: told whole, without a traceback, inert."""
    for words in told:
        assert words in ended.err
    assert "Traceback" not in ended.err
    assert "bug in Nightmill" not in ended.err
    assert not set(ended.err) & set("\x1b\x07\udcff")
    assert "sEcReT" not in ended.err


def assert_nothing_ran(project) -> None:
    """Assert that no attempt has begun and nothing is committed in the project's own store."""
    assert not (project.store / "runs").exists()
    assert not (project.store / "current").exists()


@pytest.mark.parametrize("verb", [["run", "demo", DAY], ["check"], ["kernels", "list"]])
def test_a_folder_that_is_no_project_is_refused(tmp_path, cli, verb):
    """Outside of a project the message says what makes one."""
    ended = cli(*verb, cwd=tmp_path)
    assert ended.code == 2
    assert_clear(ended, "notebooks/", "-> change into the project's folder")


def test_hostile_names_of_folders_are_told_inert(demo, cli):
    """A folder whose name is no UTF-8, or paints, breaks neither the check nor the terminal."""
    for name in ("\udcff\udcfe", "\x1b[31mred", "\u202ename"):
        demo.write(f"notebooks/{name}/pipeline.yaml", "pipeline: demo\nstepz: {}\n")
    ended = cli("check")
    assert ended.code == 1
    assert_clear(ended, r"\udcff\udcfe/pipeline.yaml:2: stepz", r"\x1b[31mred", r"\u202ename")
    assert "\u202e" not in ended.err


def test_a_project_in_a_folder_that_is_no_utf8_is_refused(demo, cli):
    """A store whose address no record could hold is refused before anything runs."""
    place = demo.root / "\udcff"
    shutil.copytree(demo.root, place, ignore=shutil.ignore_patterns(place.name))
    ended = cli("run", "demo", DAY, cwd=place)
    assert ended.code == 2
    assert_clear(ended, r"\udcff", "not valid UTF-8")


# -- stores that fail ---------------------------------------------------------------------------


@pytest.mark.usefixtures("demo")
def test_a_store_that_nobody_answers_for_is_told_soon(cli, act_as):
    """A dead endpoint is an error within 30 s, which names the endpoint."""
    act_as("admin")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses every connection
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        begun = time.monotonic()
        ended = cli("run", "demo", DAY, f"--store=s3://bucket/x?endpoint={endpoint}")
    assert time.monotonic() - begun < 30
    assert ended.code == 1
    assert_clear(ended, endpoint, "-> ")


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    ("identity", "secret"), [("admin", "wrong"), ("nobody", ""), ("reader", "")]
)
def test_a_store_without_permission_is_told_before_anything_runs(
    cli, act_as, s3_server, identity, secret
):
    """A wrong secret, an unknown key and a key without the right to write are errors at once."""
    act_as(identity, secret)
    ended = cli("run", "demo", DAY, f"--store={s3_server.url('denied')}")
    assert ended.code == 1
    assert_clear(ended, "s3://nightmill-tests/denied", "-> ")
    assert f"{identity}-secret" not in ended.err


def nightmill(project, *arguments: str, prefix: tuple[str, ...] = ()):
    """Run the command as a process of its own, after another command that limits it."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "nightmill", *arguments],
        cwd=project.root,
        env=project.env,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_folder_without_permission_is_told_before_anything_runs(demo):
    """A store that this user may not write to is an error that names the folder."""
    closed = demo.root / "closed"
    closed.mkdir(mode=0o500)
    prefix = ()
    if os.geteuid() == 0:  # root may write anywhere, unless it has lost that capability
        if shutil.which("setpriv") is None:
            pytest.skip("root can be refused nothing without setpriv (util-linux)")
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
    ended = nightmill(demo, "run", "demo", DAY, f"--store={closed}/store", prefix=prefix)
    assert ended.returncode == 1
    assert "closed" in ended.stderr
    assert "ermission denied" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(closed.iterdir()) == []


@contextmanager
def full_disk(place):
    """Mount a tiny file system and fill it."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a disk that is full takes the right to mount one")
    try:
        with suppress(OSError), (place / "full").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_before_anything_runs(demo, cli):
    """A store on a disk without room is an error that says so."""
    place = demo.root / "disk"
    with full_disk(place):
        ended = cli("run", "demo", DAY, f"--store={place}/store")
    assert ended.code == 1
    assert_clear(ended, "disk/store", "the disk is full", "make room")


def test_a_kernel_that_is_not_installed_is_told_before_anything_runs(demo, cli, monkeypatch):
    """A missing environment is an error with the command that builds it."""
    monkeypatch.setenv("NIGHTMILL_KERNELS", str(demo.root / "none"))
    ended = cli("run", "demo", DAY)
    assert ended.code == 1
    assert_clear(ended, "kernel tabular is not installed", "`nightmill kernels install tabular`")
    assert_nothing_ran(demo)
