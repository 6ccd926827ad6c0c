"""The small verbs: check, kernels, version, step's exit codes, help; and what they import."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys

import pytest
import typer

from nightmill import __version__
from nightmill.cli.app import app
from nightmill.store.open import open_store
from nightmill.store.pointer import CommittedFile, CommittedOutput, Pointer, Token, commit

VERBS = sorted(typer.main.get_command(app).commands)
SOUND = "parts: {notebook: parts.ipynb, outputs: {made: m.txt}}"
CELLS = [('made: str = "m.txt"\npartition: str = "eu"\nas_of: date = "2013-03-01"', "parameters")]


@pytest.fixture
def sound(project, monkeypatch):
    """Make a project with two sound pipelines, and stand in it."""
    project.pipeline("one", SOUND, parts=CELLS)
    project.pipeline("two", SOUND, parts=CELLS)
    monkeypatch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
    monkeypatch.chdir(project.root)
    return project


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ([], "2 pipelines, 2 steps"),
        (["."], "2 pipelines, 2 steps"),
        (["notebooks"], "2 pipelines, 2 steps"),
        (["notebooks/one"], "1 pipeline, 1 step"),
        (["notebooks/one/"], "1 pipeline, 1 step"),
        (["notebooks/one/pipeline.yaml"], "1 pipeline, 1 step"),
        (["notebooks/two/../one"], "1 pipeline, 1 step"),
    ],
)
@pytest.mark.usefixtures("sound")
def test_check_takes_any_way_to_name_a_place(cli, path, told):
    """A project, a pipeline's folder and its file can be checked, however they are written."""
    ended = cli("check", *path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"checked {told}: 0 errors, 0 remarks\n"


def test_check_works_through_a_link_and_from_inside(sound, cli, tmp_path):
    """A project reached through a symbolic link, or from a folder inside it, is the same."""
    (tmp_path / "link").symlink_to(sound.root)
    assert "2 pipelines" in cli("check", str(tmp_path / "link")).out
    assert "1 pipeline," in cli("check", cwd=sound.root / "notebooks" / "two").out
    assert "2 pipelines" in cli("check", "..").out


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("notebooks/nope", "there is nothing at this path"),
        ("kernels", "there is no pipeline to check here"),
        ("notebooks/one/parts.ipynb", "there is no pipeline to check here"),
        ("\x1b[1m", "there is nothing at this path"),
    ],
)
@pytest.mark.usefixtures("sound")
def test_check_of_nothing_is_an_error(cli, path, told):
    """A check that would check nothing is refused instead of passing."""
    ended = cli("check", path)
    assert ended.code == 2
    assert told in ended.err
    assert "\x1b" not in ended.err
    assert ended.out == ""


def test_check_names_only_the_faults_of_its_place(sound, cli):
    """A broken neighbour fails the whole project, and not the check of another pipeline."""
    sound.write("notebooks/two/pipeline.yaml", "pipeline: two\nstep: {}\n")
    assert cli("check").code == 1
    assert cli("check", "notebooks/two").code == 1
    assert cli("check", "notebooks/one").code == 0


def test_check_remarks_fail_nothing(sound, cli):
    """A remark is told with its place and advice, counted, and leaves the exit code alone."""
    sound.pipeline("one", SOUND, parts=[*CELLS, "name = input('who?')"])
    ended = cli("check")
    assert ended.code == 0
    assert re.search(r"^warning: notebooks/one/parts\.ipynb, cell 2", ended.out, re.MULTILINE)
    assert "0 errors, 1 remark" in ended.out


def test_kernels_are_listed_with_their_lock(sound, cli, monkeypatch):
    """Each kernel is a row: name, title as it is, the lock's hash, where it is installed."""
    sound.write("kernels/tabular/kernel.yaml", "display_name: '[/red]\\e'\n".replace("\\e", "x"))
    (row,) = cli("kernels", "list").out.splitlines()[1:]
    assert row.split()[:2] == ["tabular", "[/red]x"]
    assert re.fullmatch(r"[0-9a-f]{12}", row.split()[2])
    assert "tabular-py" in row
    monkeypatch.setenv("NIGHTMILL_KERNELS", "elsewhere")
    assert "not installed" in cli("kernels", "list").out


@pytest.mark.usefixtures("sound")
def test_an_unknown_kernel_is_not_installed(cli):
    """A misspelt kernel is refused with the one that was meant."""
    ended = cli("kernels", "install", "tabulra")
    assert ended.code == 1
    assert "did you mean `tabular`?" in ended.err


def test_version_is_the_packages(cli):
    """`nightmill version` prints the version, and works outside of a project."""
    assert cli("version").out == f"nightmill {__version__}\n"


@pytest.mark.parametrize(
    "verb", [[], *([verb] for verb in VERBS), *(["kernels", v] for v in ("list", "install"))]
)
def test_every_verb_has_help(cli, verb):
    """--help of every verb says what it does, and nothing in it is left unexplained."""
    ended = cli(*verb, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: nightmill" in ended.out
    options = re.findall(r"^  (-\S.*)$", ended.out, re.MULTILINE)
    assert options
    if not verb:
        assert all(re.search(rf"^  {one}  +\S", ended.out, re.MULTILINE) for one in VERBS)


def test_the_list_of_verbs_fits_a_narrow_terminal(cli, monkeypatch):
    """In 80 columns each verb is one line, whose sentence is not cut."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("--help").out.partition("Commands:\n")[2].splitlines()
    assert sorted(line.split()[0] for line in lines) == VERBS
    assert all(len(line) <= 80 and line.endswith(".") for line in lines)
    assert not any(line.endswith("...") for line in lines)


@pytest.fixture
def reach_launcher(monkeypatch):
    """Stop a run where it would launch its steps; return the word that its error then has."""

    class ReachedError(Exception):
        """The launcher was reached."""

    def reached(*_arguments: object, **_options: object) -> None:
        raise ReachedError

    monkeypatch.setattr("nightmill.cli.run.Launcher", reached)
    return ReachedError.__name__


def test_a_pipeline_of_text_partitions_passes_the_checks_of_a_run(sound, cli, reach_launcher):
    """A partition that is no day leaves `as_of` a day: the run gets as far as its first step."""
    file = sound.root / "notebooks/one/pipeline.yaml"
    file.write_text(file.read_text().replace("steps:", "partition: text\nsteps:"))
    assert reach_launcher in cli("run", "one", "--partition=eu west").err


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(("given", "lacking"), [("--from", "--to"), ("--to", "--from")])
def test_half_a_range_is_told_as_one(cli, given, lacking):
    """Whoever gave one end of a range is told which one is missing."""
    ended = cli("run", "one", f"{given}=2013-03-01")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        f"error: {given} is given without {lacking}",
        f"   -> add {lacking} 2013-03-01",
    ]


# -- nightmill step -----------------------------------------------------------------------------


def step(**changes: str) -> list[str]:
    """Write the arguments of an attempt; those of the keywords are another's."""
    given = {"pipeline": "one", "step": "parts", "partition": "2013-03-01", "as-of": "2013-03-01"}
    given |= {"run": "r", "order": "1", "store": "store"} | changes
    return ["step", *(f"--{name}={value}" for name, value in given.items())]


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"order": "x"}, 2, "order"),
        ({"attempt": "0"}, 2, "--attempt"),
        ({"parameters": "!"}, 2, "--parameters"),
        ({"pipeline": "noe"}, 12, "did you mean `one`?"),
        ({"step": "part"}, 12, "has no step"),
        ({"store": "gs://b"}, 21, "s3://bucket/prefix"),
        ({"store": "notebooks/one/parts.ipynb/x"}, 21, "parts.ipynb"),
    ],
)
@pytest.mark.usefixtures("sound")
def test_step_ends_with_its_causes_own_code(cli, changes, code, told):
    """Whoever launches a step reads the cause from its exit code: 2 usage, 12 input, 21 store."""
    ended = cli(*step(**changes))
    assert ended.code == code
    assert told in ended.err + ended.out
    assert "Traceback" not in ended.err


@pytest.mark.usefixtures("sound")
def test_step_as_json_ends_with_one_event(cli):
    """With --log-format=json the last line is the step's end, whatever became of it."""
    ended = cli(*step(step="part"), "--log-format=json")
    event = json.loads(ended.out.splitlines()[-1])
    assert (event["event"], event["state"], event["cause"]) == (
        "step_ended",
        "failed",
        "bad_parameters",
    )


def test_step_goes_on_when_nobody_reads(sound):
    """A reader that closes the pipe does not change how the step ends."""
    with sound.start(*step(step="part")) as process:
        process.stdout.close()
        process.stderr.close()
        assert process.wait(timeout=60) == 12


# -- the boundary -------------------------------------------------------------------------------


def test_a_bug_is_reported_without_a_traceback(sound, cli, monkeypatch):
    """What nobody expected is told in two lines, with its own exit code; a variable shows more."""
    del sound
    monkeypatch.setattr("nightmill.cli.check.check_pipeline", lambda _pipeline: 1 / 0)
    ended = cli("check")
    assert ended.code == 23
    assert "a bug in Nightmill: ZeroDivisionError" in ended.err
    assert "NIGHTMILL_DEBUG=1" in ended.err
    assert "Traceback" not in ended.err
    monkeypatch.setenv("NIGHTMILL_DEBUG", "1")
    assert "Traceback" in cli("check").err


def test_a_machine_that_refuses_is_no_bug(sound, cli, monkeypatch):
    """A folder that cannot be written to is an error that names it, not a report of a bug."""
    place = sound.write("taken", "a file where a folder should be")
    monkeypatch.setenv("NIGHTMILL_KERNELS", str(place))
    ended = cli("kernels", "install")
    assert ended.code == 1
    assert ended.err == "error: taken: the system refused: File exists\n"


def test_ctrl_c_before_anything_runs_is_an_interruption(sound, cli, monkeypatch):
    """Ctrl-C while a run is still being planned ends with 130 and no traceback."""
    del sound

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nightmill.cli.run.build_plan", interrupted)
    ended = cli("run", "one", "--partition=2013-03-01")
    assert (ended.code, ended.err) == (130, "")


def test_a_terminal_that_lacks_a_character_gets_its_code(sound):
    """Where the encoding of the output has no é, it is told as an escape and nothing breaks."""
    sound.write("kernels/tabular/kernel.yaml", "display_name: caf\u00e9 \u2713\n")
    ended = sound.run("kernels", "list", env={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 0
    assert r"caf\xe9 \u2713" in ended.out


def test_what_is_committed_needs_its_notebook_no_more(sound, cli, reach_launcher):
    """A run checks the steps that will run: a committed one may have a broken notebook by now."""
    steps = f"{SOUND}\nlast: {{notebook: last.ipynb}}"
    sound.pipeline("one", steps, parts="broken", last=["1"])
    assert cli("run", "one", "--partition=2013-03-01").code == 1
    token = Token(order=1, attempt=1)
    done = {"run": "r", "token": token, "attempt_prefix": "x", "outputs": {}}
    pointer = Pointer(pipeline="one", step="parts", partition="2013-03-01", **done)
    commit(open_store(str(sound.store), base=sound.root), pointer)
    assert reach_launcher in cli("run", "one", "--partition=2013-03-01").err


def test_the_outputs_of_a_range_are_told_with_their_day(sound, cli):
    """Of several partitions the last one's outputs are named with it, and how to ask for others."""
    store = open_store(str(sound.store), base=sound.root)
    days = [f"2013-03-0{day}" for day in (1, 2, 3)]
    for day in days:
        prefix = f"runs/one/{day}/r/parts/1"
        etag = store.write(f"{prefix}/outputs/made/m.txt", b"x")
        sha256 = hashlib.sha256(b"x").hexdigest()
        file = CommittedFile(path="m.txt", size=1, sha256=sha256, etag=etag)
        made = CommittedOutput(
            name="made", kind="file", prefix=f"{prefix}/outputs/made", files=(file,)
        )
        done = {"run": "r", "token": Token(order=1, attempt=1), "attempt_prefix": prefix}
        outputs = {"made": made}
        commit(store, Pointer(pipeline="one", step="parts", partition=day, outputs=outputs, **done))
    place = ".nightmill/store/runs/one/{day}/r/parts/1/outputs/made/m.txt"
    told = cli("run", "one", f"--from={days[0]}", f"--to={days[2]}").out.splitlines()
    assert told[-2:] == [
        f"  {days[2]} made: {place.format(day=days[2])}",
        f"  those of 2 other partitions: `nightmill where one.made --partition {days[0]}`",
    ]
    alone = cli("run", "one", f"--partition={days[0]}").out.splitlines()
    assert alone[-1:] == [f"  made: {place.format(day=days[0])}"]


# -- imports ------------------------------------------------------------------------------------

HEAVY = ["papermill", "nbclient", "nbformat", "boto3", "botocore", "airflow", "starlette", "psutil"]


@pytest.mark.parametrize("verb", [["check"], ["runs"], ["show", "nope"], ["version"]])
def test_looking_needs_no_extra(sound, verb):
    """What only reads imports neither Jupyter, nor S3, nor Airflow: the core alone is enough."""
    program = (
        "import json, sys\nfrom nightmill.__main__ import main\n"
        f"sys.argv = ['nightmill', *{verb!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=sound.root,
        env=sound.env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
