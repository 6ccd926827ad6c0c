"""Steps with members: one attempt, one pointer and one record for each, read as a mapping."""

import pytest

from nightmill.errors import SpecError
from nightmill.spec.project import Project
from nightmill.spec.steprun import StepRun

TRAIN = [
    ("member: str = 'x'\nmodel: str = 'm.txt'\npartition: str = ''", "parameters"),
    """assert member != 'bad' or partition == '2013-01-02', 'this member fails'
open(model, 'w').write(f'{member} of {partition}')""",
]
VOTE = [
    ("model: dict[str, str] = {}\nvotes: str = 'v.txt'", "parameters"),
    """text = '; '.join(f'{name}: {open(path).read()}' for name, path in model.items())
open(votes, 'w').write(text)""",
]
STEPS = """
train: {notebook: train.ipynb, members: [one, bad], outputs: {model: model.txt}}
vote: {notebook: vote.ipynb, inputs: [model], outputs: {votes: votes.txt}}
"""


@pytest.fixture(scope="module")
def ensemble(make_project):
    """Run a step with two members, of which one fails on the first day, over two days."""
    project = make_project("ensemble")
    project.pipeline("ensemble", STEPS, train=TRAIN, vote=VOTE)
    return project, project.run("run", "ensemble", "--from", "2013-01-01", "--to", "2013-01-02")


def test_each_member_runs_and_commits_for_itself(ensemble):
    """A failing member keeps neither the other member nor another day from committing."""
    project, ended = ensemble
    assert ended.code == 1
    committed = sorted(
        path.relative_to(project.store / "current" / "ensemble").as_posix()
        for path in project.store.glob("current/ensemble/**/*.json")
    )
    assert committed == [
        "train/2013-01-01/one.json",
        "train/2013-01-02/bad.json",
        "train/2013-01-02/one.json",
        "vote/2013-01-02.json",
    ]


def test_the_reader_gets_an_address_for_each_member(ensemble):
    """The input is a mapping from member to address, in the order of pipeline.yaml."""
    project, _ended = ensemble
    votes = next(project.store.glob("runs/ensemble/2013-01-02/*/vote/1/outputs/votes/votes.txt"))
    assert votes.read_text() == "one: one of 2013-01-02; bad: bad of 2013-01-02"
    inputs = project.record("ensemble", "vote")["inputs"]
    assert sorted(inputs) == ["model[bad]", "model[one]"]


def test_the_failed_member_is_named(ensemble):
    """The closing table and the record say which member failed."""
    project, ended = ensemble
    assert "train[bad]" in ended.out
    shown = project.run("show", ended.out.split("/runs/ensemble/2013-01-01/")[1].split("/")[0])
    assert "train[bad]" in shown.out
    assert "this member fails" in shown.out


def test_what_members_committed_is_left_alone(ensemble):
    """A second request runs only the member that is missing."""
    project, _ended = ensemble
    ended = project.run("run", "ensemble", "--partition", "2013-01-02")
    assert "all is committed (3 steps)" in ended.out


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ("0", "from 1 to 1000"),
        ("[]", "a number of members or a list"),
        ("[a, a]", "must differ"),
        ("[a/b]", "no name of a member"),
        ("{a: 1}", "a number of members or a list"),
    ],
)
def test_members_that_cannot_be(project, members, words):
    """Members need names that are different and fit into keys."""
    project.pipeline("p", f"s: {{notebook: s.ipynb, members: {members}}}", s=["1"])
    with pytest.raises(SpecError, match=words):
        Project.load(project.root).pipeline("p")


def test_a_number_of_members_names_them(project):
    """`members: 3` are the members 0, 1 and 2."""
    project.pipeline("p", "s: {notebook: s.ipynb, members: 3}", s=["1"])
    assert Project.load(project.root).pipeline("p").spec.steps["s"].members == ("0", "1", "2")


def test_an_input_from_members_must_be_declared_as_a_mapping(project):
    """A parameter that takes one address cannot take several."""
    wrong = [("model: str = ''\nvotes: str = ''", "parameters")]
    project.pipeline("ensemble", STEPS, train=TRAIN, vote=wrong)
    ended = project.run("check")
    assert ended.code == 1
    assert "a step with members" in ended.err
    assert "dict[str, str]" in ended.err


def test_the_argv_of_a_member_comes_back():
    """A member crosses in the arguments; a step without members has no such argument."""
    fields = {"pipeline": "p", "step": "s", "partition": "d", "as_of": "d", "run": "r"}
    run = StepRun(**fields, order=1, store="x", member="2")
    assert StepRun.from_argv(run.to_argv()) == run
    assert not any("member" in part for part in StepRun(**fields, order=1, store="x").to_argv())
