"""A step as its launcher sees it: a process, a record, a notebook. Real kernels, real scrapbook."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import jsonschema
import psutil
import pytest

from nightmill.spec.record import SCHEMA_FILE
from nightmill.spec.steprun import StepRun

DAY = "2013-01-01"
EXIT = {"check_failed": 11, "kernel_died": 13, "deadline": 16, "terminated": 17, "store": 21}
RUNNERS_OWN = ("nightmill", "typer", "boto3", "shines_by_path", "shines_by_user")

HEADER = """
import importlib.util, json, os, pathlib, signal, subprocess, sys, time
def mark(): pathlib.Path(os.environ["MARK"]).write_text(str(os.getpid()))
"""
FACTS = f"""
import helper
facts = {{
    "importable": [name for name in {RUNNERS_OWN} if importlib.util.find_spec(name)],
    "helper": helper.VALUE,
    "cwd": os.getcwd(),
    "executable": sys.executable,
    "greeting": os.environ.get("GREETING"),
    "threads": os.environ["OMP_NUM_THREADS"],
    "numba": os.environ["NUMBA_NUM_THREADS"],
    "given": [top, partition, as_of, numbers],
}}
"""
POOLS = """
import numpy, polars, threadpoolctl, xgboost
facts["pools"] = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
facts["polars"] = polars.thread_pool_size()
"""
GLUE = """
import scrapbook as sb
sb.glue("auc", 0.75)
sb.glue("counts", {"late": [1, 2]})
sb.glue("note", "so so")
"""
LEAVE_BEHIND = """
ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", ignoring], start_new_session=True)
if os.fork() == 0:  # a daemon: an orphan in a session of its own
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "300"])
    os._exit(0)
os.wait()
"""
LONG = "mark()\ntime.sleep(300)"
DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nmark()\nwhile True: time.sleep(1)"
GIVEN = ("partition", "as_of", "numbers", "parts", "scores")

STEPS = """
make:
  notebook: make.ipynb
  outputs: {numbers: numbers.csv, parts: parts/}
good:
  notebook: good.ipynb
  cpu: 1
  env: {GREETING: "hello {{ ds }}", NUMBA_NUM_THREADS: "7"}
  inputs: [numbers, parts]
  parameters: {top: 3}
  outputs: {scores: deep/scores.json}
long: {notebook: long.ipynb}
deaf: {notebook: deaf.ipynb}
late: {notebook: long.ipynb, timeout: 4s}
wrong:
  notebook: wrong.ipynb
  outputs: {fine: fine.txt, table: table.parquet}
full: {notebook: full.ipynb}
"""
NOTEBOOKS = {
    "make": [
        ("numbers: str = 'n'\nparts: str = 'p'", "parameters"),
        "open(numbers, 'w').write('1,2')\nfor n in '12': open(f'{parts}/{n}', 'w').write(n)",
    ],
    "good": [
        (
            "\n".join(f"{name}: str = ''" for name in GIVEN) + "\ntop: int = 1",
            "parameters",
        ),
        ("# Look around", "markdown"),
        HEADER + FACTS,
        POOLS,
        GLUE,
        "mark()\ntime.sleep(0.7)\nwhile not os.path.exists(os.environ['SEEN']): time.sleep(0.02)",
        "facts['read'] = [open(numbers).read(), sorted(os.listdir(parts))]",
        LEAVE_BEHIND,
        "open(scores, 'w').write(json.dumps(facts))",
    ],
    "long": [HEADER, LEAVE_BEHIND, LONG, "print('after')"],
    "deaf": [HEADER, DEAF, "print('after')"],
    "wrong": [
        ("fine: str = 'f'\ntable: str = 't'", "parameters"),
        "import os; os.makedirs(table); [open(f'{table}/{n}', 'w') for n in '01']",
        "open(fine, 'w').write('fine')",
    ],
    "full": [HEADER, "print('a' * 3_000_000)", "print('b' * 3_000_000)", "print('after')"],
}


def sha256(path: str | Path) -> str:
    """Hash a file, by the library's own function."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def wait_for(condition, timeout_s=90.0):
    """Poll until the condition holds, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)  # a poll with a deadline
    return pytest.fail(f"not within {timeout_s} s: {condition}")


@dataclass
class Step:
    """A started step: its process, and the token that all of its processes carry."""

    project: object
    name: str
    process: subprocess.Popen
    token: str
    mark: Path
    seen: Path

    @property
    def marked(self) -> int:
        """The kernel's process id, once the cell that tells it has run."""
        text = self.mark.read_text() if self.mark.exists() else ""
        return int(text or 0)

    def processes(self) -> list[psutil.Process]:
        """Find every process that inherited the token and is alive."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("NM_TOKEN") == self.token:
                    found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
            except psutil.Error:
                continue
        return found

    def engine(self) -> psutil.Process:
        """Find the engine, the supervisor's only child."""
        return psutil.Process(self.process.pid).children()[0]

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was said."""
        out, err = self.process.communicate(timeout=40)
        return self.process.returncode, out + err

    def record(self) -> dict:
        """Read the record, which the published schema must allow."""
        record = self.project.record("p", self.name)
        schema = json.loads(SCHEMA_FILE.read_bytes())
        jsonschema.Draft202012Validator(schema).validate(record)
        return record

    def cells(self) -> list[dict]:
        """Read the cells of the executed notebook, but for papermill's error markers."""
        cells = self.project.notebook("p", self.name)["cells"]
        return [cell for cell in cells if "nightmill" in cell["metadata"]]

    def states(self) -> list[str]:
        """Read the states of all code cells from the executed notebook."""
        mine = [cell["metadata"]["nightmill"] for cell in self.cells()]
        return [each["state"] for each in mine if "state" in each]


@pytest.fixture(scope="module")
def steps(make_project):
    """Make the project of this file, in a git repository, with traps around it."""
    project = make_project("steps")
    project.pipeline("p", STEPS, **NOTEBOOKS)
    project.write("notebooks/p/helper.py", "VALUE = 41\n")
    project.write("papermill.py", "raise SystemExit('the folder shines through')")
    project.write("path/shines_by_path.py", "")
    user = f"user/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    project.write(f"{user}/shines_by_user.py", "")
    for command in ("init -q", "add notebooks kernels", "commit -qm first"):
        git(project, *command.split())
    return project


def git(project, *arguments: str) -> str:
    """Ask git, which knows nobody's settings here."""
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(project.root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def start(project, name: str, *flags: str, attempt=1, stdin=subprocess.DEVNULL, **env) -> Step:
    """Start a step in an environment full of traps."""
    token = uuid4().hex
    mark, seen = project.root / f"mark-{token}", project.root / f"seen-{token}"
    traps = {
        "PYTHONPATH": str(project.root / "path"),
        "PYTHONUSERBASE": str(project.root / "user"),
        "PYTHONDONTWRITEBYTECODE": "",
        "NM_TOKEN": token,
        "MARK": str(mark),
        "SEEN": str(seen),
    }
    run = StepRun(
        pipeline="p",
        step=name,
        partition=DAY,
        as_of="2013-01-02",
        run="run-1",
        order=1_000_000,
        attempt=attempt,
        store=str(project.store),
    )
    process = project.start(*run.to_argv(), *flags, env=traps | env, stdin=stdin)
    return Step(project, name, process, token, mark, seen)


def tree(root: Path) -> dict[str, str]:
    """Hash every file of the sources."""
    files = [file for top in ("notebooks", "kernels") for file in (root / top).rglob("*")]
    return {str(file): sha256(file) for file in files if file.is_file()}


@pytest.fixture(scope="module")
def made(steps):
    """Run the step that makes the inputs, from a clean commit."""
    step = start(steps, "make")
    assert step.end()[0] == 0
    return step.record()


@pytest.fixture(scope="module")
def good(steps, made):
    """Run the good step once, look at its record while it runs, and return (step, record, facts).

    A module beside the notebook has been changed since the commit.
    """
    steps.write("notebooks/p/helper.py", "VALUE = 42\n")
    (steps.root / "notebooks/p/.#helper.py").symlink_to("nowhere")  # an editor's lock
    before = tree(steps.root)
    assert made["committed"]
    step = start(steps, "good")
    wait_for(lambda: step.marked)
    during = step.record(), step.processes()
    step.seen.touch()
    ended = step.end()
    assert ended[0] == 0, ended[1]
    after = step.processes()
    facts = json.loads(Path(step.record()["outputs"]["scores"]["address"]).read_bytes())
    return {
        "during": during,
        "after": after,
        "unchanged": tree(steps.root) == before,
        "record": step.record(),
        "facts": facts,
        "notebook": steps.attempts("p", "good")[-1] / "notebook.ipynb",
    }


def test_the_record_exists_while_the_step_runs(good):
    """While cells run there is a valid record: running, not committed, inputs and code known."""
    record, processes = good["during"]
    assert (record["state"], record["committed"], record["failure"]) == ("running", False, None)
    assert record["code"]["notebook"] == "notebooks/p/good.ipynb"
    assert set(record["inputs"]) == {"numbers", "parts"}
    assert len(processes) >= 3  # supervisor, engine, kernel


def test_the_record_says_what_ran(steps, good, made, kernel_environment):
    """Notebook hash, modules, commit and dirty flag, lock hash and versions are the real ones."""
    record, root = good["record"], steps.root
    assert record["code"] == {
        "notebook": "notebooks/p/good.ipynb",
        "notebook_sha256": sha256(root / "notebooks/p/good.ipynb"),
        "modules": {"notebooks/p/helper.py": hashlib.sha256(b"VALUE = 42\n").hexdigest()},
        "git_commit": git(steps, "rev-parse", "HEAD"),
        "git_dirty": True,
        "image": None,
        "bundle": record["code"]["bundle"],  # tested with the store's bundles
    }
    assert made["code"]["git_dirty"] is False
    kernel = record["kernel"]
    assert kernel["lock_sha256"] == sha256(root / "kernels/tabular/requirements.txt")
    asked = "import importlib.metadata as m; print(m.version('pandas'), m.version('ipykernel'))"
    answer = subprocess.check_output([kernel_environment.python, "-c", asked], text=True)
    assert answer.split() == [kernel["libraries"][name] for name in ("pandas", "ipykernel")]


def test_the_record_says_what_was_read_and_written(good, made):
    """Inputs are the committed versions with their hashes; outputs have true sizes and hashes."""
    record = good["record"]
    numbers = record["inputs"]["numbers"]
    assert (numbers["run"], numbers["attempt"], numbers["partition"]) == ("run-1", 1, DAY)
    assert numbers["files"] == made["outputs"]["numbers"]["files"]
    assert numbers["files"][0]["sha256"] == hashlib.sha256(b"1,2").hexdigest()
    assert [file["path"] for file in record["inputs"]["parts"]["files"]] == ["1", "2"]
    output = record["outputs"]["scores"]
    assert output["size"] == Path(output["address"]).stat().st_size
    assert output["files"][0]["sha256"] == sha256(output["address"])
    assert good["facts"]["read"] == ["1,2", ["1", "2"]]


def test_the_record_says_how_it_went(good):
    """Cells carry their author's numbers, titles and at least the time they slept."""
    record = good["record"]
    assert (record["state"], record["committed"], record["failure"]) == ("succeeded", True, None)
    assert [cell["number"] for cell in record["cells"]] == [1, 1, 3, 4, 5, 6, 7, 8, 9]
    assert [cell["injected"] for cell in record["cells"]] == [False, True] + [False] * 7
    assert {cell["state"] for cell in record["cells"]} == {"completed"}
    assert record["cells"][2]["title"] == "Look around"
    assert 0.7 <= record["cells"][5]["duration_s"] < record["duration_s"]
    assert record["memory"]["peak_bytes"] > 50_000_000
    assert record["cells"][5]["peak_memory_bytes"] <= record["memory"]["peak_bytes"]


def test_metrics_are_the_scraps_that_scrapbook_itself_reads(good, kernel_python):
    """What the real scrapbook reads back from the executed notebook is what the record says."""
    code = (
        "import json, sys, scrapbook as sb\n"
        "scraps = sb.read_notebook(sys.argv[1]).scraps\n"
        "print(json.dumps({name: scrap.data for name, scrap in scraps.items()}))"
    )
    command = [kernel_python, "-W", "ignore", "-c", code, good["notebook"]]
    metrics = json.loads(subprocess.check_output(command, text=True))
    assert metrics == {"auc": 0.75, "counts": {"late": [1, 2]}, "note": "so so"}
    assert good["record"]["metrics"] == metrics


def test_the_kernel_is_the_locked_one_and_nothing_else(steps, good, kernel_environment):
    """The notebook runs in its kernel and its folder; runner, PYTHONPATH and user site stay out."""
    facts = good["facts"]
    assert facts["importable"] == []
    assert facts["executable"] == str(kernel_environment.python)
    assert facts["helper"] == 42
    assert facts["cwd"] == str(steps.root / "notebooks/p")


def test_what_the_notebook_is_given(good):
    """Parameters, partition, as_of and the step's own environment arrive as they were written."""
    top, partition, as_of, numbers = good["facts"]["given"]
    assert (top, partition, as_of) == (3, DAY, "2013-01-02")
    assert numbers == good["record"]["parameters"]["numbers"]
    assert good["facts"]["greeting"] == "hello {{ ds }}"


def test_threads_follow_the_step_s_cpu(good):
    """With `cpu: 1` every library sees one thread, an author's variable wins, the record tells."""
    facts, kernel = good["facts"], good["record"]["kernel"]
    assert (facts["threads"], facts["numba"]) == ("1", "7")
    assert facts["pools"]
    assert set(facts["pools"]) == {1}
    assert facts["polars"] == 1
    assert (kernel["threads"], kernel["threads_from"]) == (1, "cpu of the step")


def test_the_sources_stay_as_they_were(good):
    """A step writes nothing beside the notebooks and kernels it runs, not even a bytecode cache."""
    assert good["unchanged"]


def test_no_process_of_a_good_step_is_left(good):
    """Daemons, new sessions and children that ignore SIGTERM end with the step."""
    assert good["after"] == []


def test_the_executed_notebook_names_its_kernel(good):
    """Whoever opens the executed notebook gets the kernel that ran it."""
    metadata = json.loads(good["notebook"].read_bytes())["metadata"]
    assert metadata["kernelspec"]["name"] == "tabular"


def test_an_attempt_that_committed_is_not_run_again(steps, good):
    """The same attempt asked for once more reports its success and runs nothing."""
    step = start(steps, "good")
    assert step.end()[0] == 0
    assert step.record() == good["record"]
    assert not step.mark.exists()


def test_a_folder_where_a_file_was_declared(steps):
    """A good notebook with a wrong output is check_failed, and nothing at all is committed."""
    step = start(steps, "wrong")
    assert step.end()[0] == EXIT["check_failed"]
    failure = step.record()["failure"]
    assert "declared a file (table.parquet), found a folder of 2 parts" in failure["message"]
    assert step.record()["outputs"] == {}
    assert step.states() == ["completed"] * 4
    assert not (steps.store / "current/p/wrong").exists()


def stop_by_sigterm(step: Step) -> None:
    """Ask as Kubernetes does."""
    step.process.send_signal(signal.SIGTERM)


def kill_the_engine(step: Step) -> None:
    """Kill the engine, as an out-of-memory killer may."""
    step.engine().kill()


def wait_only(_step: Step) -> None:
    """Do nothing: the deadline does."""


STOPS = [
    pytest.param("long", stop_by_sigterm, "terminated", "stopped by SIGTERM", id="SIGTERM"),
    pytest.param("deaf", stop_by_sigterm, "terminated", "stopped by SIGTERM", id="deaf"),
    pytest.param("late", wait_only, "deadline", "stopped by its timeout of 4 s", id="deadline"),
    pytest.param(
        "long", kill_the_engine, "kernel_died", "the engine was killed by SIGKILL", id="engine"
    ),
]


@pytest.mark.parametrize(("name", "act", "cause", "words"), STOPS)
def test_a_step_that_is_stopped(steps, name, act, cause, words):
    """However a step is cut short: its cause is told, its notebook kept, no process left."""
    attempt = len(steps.attempts("p", name)) + 1
    step = start(steps, name, attempt=attempt)
    if name != "late":
        wait_for(lambda: step.marked)
    act(step)
    code, said = step.end()
    assert step.processes() == []
    assert code == EXIT[cause], said
    record = step.record()
    assert (record["state"], record["committed"]) == ("failed", False)
    assert record["failure"]["cause"] == cause
    assert words in record["failure"]["message"]
    if step.marked:
        before = len(NOTEBOOKS["deaf" if name == "deaf" else "long"]) - 2
        assert step.states() == ["completed"] * before + ["interrupted", "not_run"]
        assert record["failure"]["cell"] == before + 1
        assert step.cells()[before]["outputs"][-1]["output_type"] == "error"


def test_a_supervisor_that_is_killed_leaves_nothing_behind(steps):
    """When the supervisor itself is killed, engine, kernel and its children end in seconds."""
    step = start(steps, "long", attempt=9)
    wait_for(lambda: step.marked)
    step.process.kill()
    step.end()
    wait_for(lambda: not step.processes(), timeout_s=60)
    assert step.record()["state"] == "running"  # nobody was left to say otherwise


def test_a_launcher_that_is_gone_ends_the_step(steps):
    """A step that was told to die with its standard input stops when that closes."""
    step = start(steps, "long", "--die-with-stdin", attempt=8, stdin=subprocess.PIPE)
    wait_for(lambda: step.marked)
    code, said = step.end()  # closes standard input
    assert code == EXIT["terminated"], said
    assert "launcher is gone" in step.record()["failure"]["message"]
    assert step.processes() == []


@pytest.fixture
def tiny_disk(tmp_path):
    """Mount a disk of 4 MiB."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_scratch_disk(steps, tiny_disk):
    """When the local disk fills, the cause is store, the advice says how, and states are true."""
    step = start(steps, "full", NIGHTMILL_SCRATCH=str(tiny_disk))
    code, said = step.end()
    assert code == EXIT["store"], said
    record = step.record()
    assert "No space left" in record["failure"]["message"]
    assert "running" not in [cell["state"] for cell in record["cells"]]
    assert step.processes() == []


def test_a_full_store(steps, tiny_disk):
    """When the store fills, the exit code says store and the work is kept on the local disk."""
    run = StepRun(
        pipeline="p",
        step="full",
        partition=DAY,
        as_of=DAY,
        run="run-2",
        order=2,
        store=str(tiny_disk / "store"),
    )
    scratch = steps.root / "scratch"
    scratch.mkdir()
    done = steps.run(*run.to_argv(), env={"NIGHTMILL_SCRATCH": str(scratch), "MARK": ""})
    assert done.code == EXIT["store"], done
    assert str(scratch) in done.out + done.err
    assert list(scratch.rglob("notebook.ipynb"))
