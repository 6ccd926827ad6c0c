"""`nightmill replay` with real kernels: old code from git and from the store, compared and kept."""

from __future__ import annotations

import json
import re
import shutil
from unittest.mock import Mock

import pytest

from nightmill.cli import replaying
from nightmill.cli.replay import _choose as chosen
from nightmill.errors import DamagedError, KernelError, StoreError
from nightmill.spec.record import Record
from nightmill.store.open import open_store
from tests.remembered import git, remember

DAY = "2013-03-01"
COMMITS = 30

STEPS = """\
make:
  notebook: make.ipynb
  outputs: {made: made.parquet}
score:
  notebook: score.ipynb
  inputs: [made]
  outputs: {scores: scores.parquet}
  members: [a, b]
  cpu: 1
  env: {FACTOR: "VERSION"}
lucky:
  notebook: lucky.ipynb
  inputs: [made]
  outputs: {drawn: drawn.parquet}
  checks: {drawn: {unique: id}}
"""
MAKE = [
    ("made: str = 'm'\ntop: int = 5", "parameters"),
    "import pandas as pd\npd.DataFrame({'id': range(top)}).to_parquet(made)",
]
SCORE_PARAMETERS = """\
from datetime import date
made: str = "m"
scores: str = "s"
member: str = ""
partition: date = date(2000, 1, 1)
as_of: date = date(2000, 1, 1)
limit: float = 0.0
secret: str = ""
"""
SCORE = """\
import os
import pandas as pd
import helper
from scrapbook import glue
table = pd.read_parquet(made)
table["score"] = table.id * helper.VERSION * float(os.environ["FACTOR"]) * VERSION
table["told"] = f"{member} {partition} {as_of} {limit} {len(secret)}"
table["threads"] = os.environ["OMP_NUM_THREADS"]
table.to_parquet(scores)
glue("rows", len(table))
"""
LUCKY = """\
import random
import pandas as pd
from scrapbook import glue
table = pd.read_parquet(made)
table["draw"] = [1.0] * len(table)
table.loc[3, "draw"] = random.random()
table.to_parquet(drawn)
glue("luck", random.random())
"""


def write_version(project, version):
    """Write the pipeline so that notebook, module and pipeline.yaml each depend on the version."""
    score = [(SCORE_PARAMETERS, "parameters"), SCORE.replace("* VERSION", f"* {version}")]
    lucky = [("made: str = 'm'\ndrawn: str = 'd'", "parameters"), LUCKY]
    steps = STEPS.replace("VERSION", str(version))
    project.pipeline("night", steps, make=MAKE, score=score, lucky=lucky)
    project.write("notebooks/night/helper.py", f"VERSION = {version}\n")


class Past:
    """A run that lies 30 commits back, replayed by git, and then by the store alone."""

    def __init__(self, project):
        self.project = project
        self.secret = {"TOKEN_OF_THEN": "s3cr3t-of-then"}
        write_version(project, 1)
        project.write(".gitignore", ".nightmill/\n")
        git(project.root, "init", "-q")
        git(project.root, "add", ".")
        git(project.root, "commit", "-qm", "version 1")
        self.commit = git(project.root, "rev-parse", "HEAD")
        values = ["make.top=7", "score.limit=inf", "score.secret=secret://TOKEN_OF_THEN"]
        given = [part for value in values for part in ("-p", value)]
        self.ran = project.run(
            *("run", "night", "--partition", DAY, "--as-of", "2013-03-09", *given, "--workers=1"),
            env=self.secret,
        )
        (self.name,) = {path.parts[-3] for path in project.attempts("night", "make")}
        for version in range(2, COMMITS + 2):
            write_version(project, version)
            git(project.root, "commit", "-qam", f"version {version}")
        project.run("run", "night", "--partition", DAY, "--rerun", "--step", "make")
        self.pointers = self.read_pointers()
        self.by_git = self.replay("--step=score", "--member=b")
        shutil.rmtree(project.root / ".git")
        self.by_bundle = self.replay()

    def read_pointers(self):
        """Read what is current, by pointer."""
        return {
            path: path.read_bytes() for path in (self.project.store / "current").rglob("*.json")
        }

    def replay(self, *arguments):
        """Replay the run."""
        return self.project.run("replay", self.name, *arguments, env=self.secret)

    def stores(self, step):
        """Find the stores of all replays of a step, the oldest first."""
        return sorted(self.project.root.glob(f".nightmill/replays/*/{step}/store"))


@pytest.fixture(scope="module")
def past(make_project):
    """Run a pipeline, change all of it thirty times, and replay the run."""
    past = Past(make_project("past"))
    assert past.ran.code == 0, past.ran.out
    return past


def test_a_run_of_thirty_commits_ago_gives_equal_outputs(past):
    """The commit of the record is run, not what is checked out; outputs and metrics are equal."""
    assert past.by_git.code == 0, past.by_git.out + past.by_git.err
    assert f"code from git commit {past.commit[:10]}" in past.by_git.out
    assert re.search(r"= +output scores +equal bytes \(\d", past.by_git.out)
    assert re.search(r"= +metric rows +equal \(7\)", past.by_git.out)


def test_the_code_of_then_is_in_the_store_as_well(past):
    """Without git the bundle is run, each step and member; all that is not luck is equal."""
    said = past.by_bundle.out
    for label in ("make", "score[a]", "score[b]", "lucky"):
        line = next(line for line in said.splitlines() if line.startswith(f"{label} "))
        assert line.endswith("code from the bundle in the store")
    assert said.count("equal bytes") == 3
    assert len(re.findall(r"= +outcome +succeeded", said)) == 4


def test_a_replay_that_differs_names_column_and_rows(past):
    """Of a notebook that draws lots, the column, the row and the metric are named; exit code 1."""
    assert past.by_bundle.code == 1
    for line in (
        r"! +output drawn +1 of 2 columns differ in 1 row",
        r"! +metric luck +0\.\d+ -> 0\.\d+ \([+-]0\.\d+\)",
        r" +output drawn: draw: 1 row, by 0\.\d+ at most",
        r" +output drawn: id=3: draw 0\.\d+ -> 0\.\d+",
    ):
        assert re.search(f"^{line}$", past.by_bundle.out, re.MULTILINE)


def test_a_replay_changes_nothing_that_is_current(past):
    """What others read is what it was; all that a replay leaves is in a folder of its own."""
    assert past.read_pointers() == past.pointers
    assert len(past.project.attempts("night", "make")) == 2
    helper = past.project.root / "notebooks/night/helper.py"
    assert helper.read_text() == f"VERSION = {COMMITS + 1}\n"


@pytest.mark.parametrize("which", ["by git", "by bundle"])
def test_a_replay_leaves_record_and_notebook(past, which):
    """Its record says what it ran: the code of then, with the values, versions and days of then."""
    path = past.project.store / f"runs/night/{DAY}/{past.name}/score/b/1/record.json"
    then = json.loads(path.read_bytes())
    store = past.stores("score/b")[which == "by bundle"]
    (path,) = store.glob("runs/night/*/*/score/b/1/record.json")
    now = json.loads(path.read_bytes())
    for field in ("code", "partition", "as_of", "member", "metrics"):
        assert now[field] == then[field]
    assert now["run"] != then["run"]
    assert (store / now["notebook"]).is_file()
    for field in ("parameters", "inputs", "outputs"):
        assert without_places(now[field]) == without_places(then[field])
    assert now["parameters"]["limit"] == "Infinity"
    assert now["parameters"]["secret"] == "secret://TOKEN_OF_THEN"
    for field in ("lock_sha256", "threads", "libraries"):
        assert now["kernel"][field] == then["kernel"][field]


def without_places(value):
    """Leave out of a part of a record what tells in which store something lies."""
    if isinstance(value, dict):
        places = ("address", "etag", "made", "scores") if "limit" in value else ("address", "etag")
        return {key: without_places(one) for key, one in value.items() if key not in places}
    return [without_places(one) for one in value] if isinstance(value, list) else value


def test_a_replay_is_looked_at_like_any_run(past):
    """`nightmill show` reads the store of a replay as it reads any other."""
    store = past.stores("score/b")[0]
    shown = past.project.run("show", store.parts[-4], "--store", str(store))
    assert shown.code == 0
    assert "score[b]" in shown.out


def test_a_secret_is_taken_from_the_environment_of_now(past):
    """A replay knows where a secret is, not what it is; without it the step says what it lacks."""
    ended = past.project.run("replay", past.name, "--step=score", "--member=a")
    assert ended.code == 1
    assert "succeeded -> bad_parameters" in ended.out
    assert "TOKEN_OF_THEN" in ended.out


# -- other stores, other ends ---------------------------------------------------------------------

CRASH = """\
crash:
  notebook: crash.ipynb
  inputs: {made: {from: made, version: latest}}
  outputs: {never: never.txt}
make:
  notebook: make.ipynb
  outputs: {made: made.parquet, log: log/}
"""
MAKE_BOTH = [
    ("made: str = 'm'\nlog: str = 'l'\ntop: int = 5", "parameters"),
    MAKE[1] + "\nopen(f'{log}/lines.txt', 'w').write('made')",
]
CRASH_CELLS = [("made: str = 'm'\nnever: str = 'n'", "parameters"), "1", "open(made).seek(-1)"]


def test_a_failure_on_s3_is_replayed_as_well(make_project, s3_url):
    """Code, inputs and outputs come from S3; what failed fails again in the same cell."""
    project = make_project("s3")
    project.pipeline("far", CRASH, make=MAKE_BOTH, crash=CRASH_CELLS)
    ran = project.run("run", "far", "--partition", DAY, "--store", s3_url)
    assert ran.code == 1
    project.write("notebooks/far/make.ipynb", "{}")  # now only the bundle has it
    listed = project.run("runs", "--store", s3_url).out.splitlines()
    name = listed[1].split()[0]
    ended = project.run("replay", name, "--store", s3_url)
    assert ended.code == 0, ended.out + ended.err
    assert "attempt 1: code from the bundle in the store" in ended.out  # make
    assert "attempt 1: code from the working tree" in ended.out  # crash
    assert re.search(r"= +outcome +notebook_error in cell 3", ended.out)
    assert ended.out.count("equal bytes") == 2


SIDE = """\
make:
  notebook: make.ipynb
  outputs: {made: made.parquet}
use:
  notebook: use.ipynb
  inputs: [made]
  outputs: {used: used.txt}
"""
USE_SIDE = [
    ("made: str = 'm'\nused: str = 'u'", "parameters"),
    "open(used, 'w').write(open('side.json').read())",
]


@pytest.fixture(scope="module")
def quick(make_project):
    """Run a step that has failed before it began, and one that is running still."""
    project = make_project("quick")
    project.pipeline("far", CRASH, make=MAKE_BOTH, crash=CRASH_CELLS)
    common = ("--pipeline=far", "--partition=2013-03-01", "--as-of=2013-03-01", "--run=r1")
    ended = project.run(*("step", *common, "--step=crash", "--order=1", f"--store={project.store}"))
    assert ended.code == 12, ended.err  # its input was never made
    record = project.record("far", "crash")
    record |= {"step": "make", "state": "running", "failure": None}
    project.write(".nightmill/store/runs/far/2013-03-01/r1/make/1/record.json", json.dumps(record))
    return project


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "there is no run"),
        (["r1", "--step=mak"], "did you mean `make`"),
        (["r1", "--step=make"], "still running"),
        (["r1", "--step=crash", "--attempt=7"], "no such attempt"),
        (["r1", "--step=crash", "--member=x"], "no such attempt"),
        (["r1"], "nothing of it ran"),
    ],
)
def test_what_cannot_be_replayed_is_told_at_once(quick, arguments, words):
    """A name that is wrong, an attempt that runs or never began: exit code 2, and no folder."""
    ended = quick.run("replay", *arguments)
    assert ended.code == 2
    assert words in ended.err
    assert not list(quick.root.glob(".nightmill/replays/*"))


def test_what_never_began_is_left_out(quick, capsys):
    """Of a whole run all that ran is replayed; of what did not it is said so, and nobody stops."""
    began = remember(quick.root, "far", "make")
    never = Record.model_validate(quick.record("far", "crash") | {"code": None, "step": "other"})
    assert chosen([began, never], None, None, None) == [began]
    assert "note: other ended before anything of it ran" in capsys.readouterr().out
    assert chosen([began, never], "other", None, None) == [never]
    assert chosen([never], None, None, None) == [never]


@pytest.fixture(scope="module")
def with_side(make_project):
    """Run a step that reads a file beside its notebook, and commit all of it to git."""
    project = make_project("side")
    project.pipeline("far", SIDE, make=MAKE, use=USE_SIDE)
    project.write("notebooks/far/side.json", "1")
    project.write(".gitignore", ".nightmill/\n")
    git(project.root, "init", "-q")
    git(project.root, "add", ".")
    git(project.root, "commit", "-qm", "first")
    ran = project.run("run", "far", "--partition", DAY)
    assert ran.code == 0, ran.out
    return project


def replay_use(project):
    """Replay the step that reads the file."""
    return project.run("replay", project.record("far", "use")["run"], "--step=use")


def test_a_file_beside_the_notebook_that_has_changed_is_named(with_side):
    """What is no code is not compared: it says so, and git tells what is not as it was."""
    before = replay_use(with_side)
    assert before.code == 0
    assert "other files are not compared" in before.out
    assert "warning" not in before.out
    with_side.write("notebooks/far/side.json", "2")
    after = replay_use(with_side)
    with_side.write("notebooks/far/side.json", "1")
    assert after.code == 1
    assert "code from the working tree" in after.out
    assert re.search(r"warning: not as in git commit \w{10}, .*: side.json", after.out)


@pytest.mark.parametrize(
    ("harm", "words"),
    [("change", "other bytes than those"), ("remove", "not there any more")],
)
def test_an_input_that_is_not_there_any_more_is_exit_code_2(with_side, harm, words):
    """Neither equal nor different: what the attempt read is gone, and the error names it."""
    made = with_side.attempts("far", "make")[0] / "outputs/made/made.parquet"
    content = made.read_bytes()
    made.unlink()
    if harm == "change":
        made.write_bytes(content[:-1] + b"x")
    ended = replay_use(with_side)
    made.unlink(missing_ok=True)
    made.write_bytes(content)
    assert ended.code == 2
    assert words in ended.err
    assert made.relative_to(with_side.root).as_posix() in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KernelError("the lock cannot be installed"), 2),
        (DamagedError("the bundle is damaged", address="code/x", operation="read"), 2),
        (StoreError("the store does not answer", address="x", operation="read"), 1),
    ],
)
def test_only_what_is_not_there_any_more_is_exit_code_2(quick, monkeypatch, error, code):
    """A kernel or a bundle that is no use any more is missing; a store that is away is not."""
    monkeypatch.setattr(replaying, "set_up", Mock(side_effect=error))
    record = remember(quick.root, "far", "make")
    with pytest.raises(type(error)) as caught:
        replaying.replay_one(record, quick.root, open_store("s", base=quick.root), ("r", 1))
    assert caught.value.exit_code == code
