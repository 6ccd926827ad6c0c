"""Outputs that another step made: one that was renamed since, or that an output was taken from."""

from __future__ import annotations

import pytest

from nightmill.publish.place import Place
from nightmill.publish.publish import publish_current, repair
from nightmill.publish.target import State
from nightmill.store.keys import attempt_prefix, pointer_key
from nightmill.store.open import open_store
from nightmill.store.pointer import commit
from tests.published import FILES, scores
from tests.stored_versions import DAY, PIPELINE, STEP, make_pointer, store_outputs
from tests.test_publish_generations import FORMS, OTHERS, rows

FORMER = "former"  # what the step was called before


@pytest.fixture(params=FORMS)
def declare(load_spec, request):
    """Declare the scores, in each form, as an output of the step of today."""

    def declared(members: str = ""):
        text = FILES.replace("scores: scores.parquet", f"scores: {FORMS[request.param]}")
        return load_spec(text + (f"    members: [{members}]\n" if members else ""))

    return declared


def commits(store, step: str, order: int, *, day: str = DAY, member: str = "", files=None) -> None:
    """Let a step commit scores, or other outputs."""
    prefix = attempt_prefix(PIPELINE, day, f"run-{order}", step, 1, member=member)
    made = store_outputs(store, prefix, files or {"scores": {"scores.parquet": scores(order)}})
    names = {"step": step, "partition": day, "attempt_prefix": prefix}
    commit(store, make_pointer(order, outputs=made, member=member, **names))


def published(store, spec, *, step: str = STEP, member: str = "") -> list[State]:
    """Publish what is current, as a step does after its commit."""
    found = publish_current(store, spec, step=step, partition=DAY, member=member)
    assert [one.problem for one in found if one.problem] == []
    return [one.state for one in found]


def repaired(store, spec, **how) -> list[State]:
    """Repair; a second one finds nothing to do."""
    found = list(repair(store, spec, **how))
    assert [one.problem for one in found if one.problem] == []
    if not how.get("dry_run"):
        assert all(one.state is State.CURRENT for one in repair(store, spec, **how))
    return [one.state for one in found]


def lose_data(store) -> None:
    """Delete all that is published."""
    for entry in list(store.list("data")):
        store.delete(entry.key)


@pytest.mark.parametrize("how", [{}, {"partition": DAY}], ids=["all", "one"])
def test_a_repair_brings_back_what_a_renamed_step_has_committed(store, declare, how):
    """A lost folder or table comes back from the former step's version, which is current yet."""
    spec = declare()
    commits(store, FORMER, 1)
    assert repaired(store, spec, dry_run=True, **how) == [State.BEHIND]
    assert repaired(store, spec, **how) == [State.PUBLISHED]
    lose_data(store)
    assert repaired(store, spec, **how) == [State.PUBLISHED]
    assert rows(store) == [("", 1)]


def test_the_present_steps_version_counts_where_it_has_one(store, declare):
    """What the former step committed for the same partition is not put over it."""
    spec = declare()
    commits(store, STEP, 2)
    commits(store, FORMER, 1)
    assert published(store, spec) == [State.PUBLISHED]
    lose_data(store)
    assert repaired(store, spec) == [State.PUBLISHED]
    assert rows(store) == [("", 2)]


def test_an_output_that_has_moved_to_another_step_stays(store, declare):
    """The step that makes it now has run without it: the other's version counts, and comes back."""
    spec = declare()
    commits(store, FORMER, 1)
    repaired(store, spec)
    commits(store, STEP, 2, files=OTHERS)
    assert State.WITHDRAWN not in published(store, spec)
    assert rows(store) == [("", 1)]
    lose_data(store)
    assert repaired(store, spec) == [State.PUBLISHED]
    assert rows(store) == [("", 1)]


def test_a_version_that_is_taken_back_gives_way_to_the_former_steps(store, declare):
    """After a rollback to the time before an output moved, readers find what was there then."""
    spec = declare()
    commits(store, FORMER, 1)
    commits(store, STEP, 2)
    assert published(store, spec) == [State.PUBLISHED]
    commits(store, STEP, 3, files=OTHERS)
    assert published(store, spec) == [State.PUBLISHED]
    assert rows(store) == [("", 1)]
    commits(store, STEP, 4)
    assert published(store, spec) == [State.PUBLISHED]
    assert rows(store) == [("", 4)]


def test_a_step_that_has_its_former_name_again_has_its_versions_published(store, declare):
    """A repair goes by pipeline.yaml: rows of a newer run of the other name give way."""
    spec = declare()
    commits(store, STEP, 1)
    commits(store, FORMER, 5)
    other = spec.model_copy(update={"steps": {FORMER: spec.steps[STEP]}})
    assert published(store, other, step=FORMER) == [State.PUBLISHED]
    assert repaired(store, spec) == [State.PUBLISHED]
    assert rows(store) == [("", 1)]
    commits(store, STEP, 6)
    assert published(store, spec) == [State.PUBLISHED]
    assert rows(store) == [("", 6)]


def test_a_repair_goes_back_with_a_store_that_was_restored(store, declare):
    """Where pointers are those of a backup, what was published after it is not up to date."""
    commits(store, STEP, 5)
    assert published(store, declare()) == [State.PUBLISHED]
    store.delete(pointer_key(PIPELINE, STEP, DAY))
    commits(store, STEP, 1)
    assert repaired(store, declare()) == [State.PUBLISHED]
    assert rows(store) == [("", 1)]


def test_of_a_renamed_step_only_declared_members_are_published(store, declare):
    """Each by itself, as those of one step: with the new step's where that has committed."""
    for member in "xyz":
        commits(store, FORMER, 1, member=member)
    commits(store, STEP, 2, member="y")
    assert repaired(store, declare("x, y")) == [State.PUBLISHED] * 2
    assert rows(store) == [("x", 1), ("y", 2)]


def test_other_steps_outputs_are_none_of_a_renamed_ones(store, declare):
    """Steps without the output have nothing to publish, and hide no step that had it."""
    spec = declare()
    commits(store, "other", 1, files=OTHERS)
    assert repaired(store, spec) == []
    assert list(store.list("data")) == []
    commits(store, FORMER, 2)
    commits(store, "other", 3, files=OTHERS)
    assert repaired(store, spec) == [State.PUBLISHED]
    assert rows(store) == [("", 2)]


@pytest.mark.parametrize("at", [1, 2], ids=["before it looks", "before it writes"])
def test_what_the_present_step_commits_during_a_repair_has_the_last_word(
    tmp_path, declare, monkeypatch, at
):
    """Overtaken by a publish of the new step, a repair of the former one's leaves its rows."""
    store, spec, reads = open_store("store", base=tmp_path), declare(), []
    commits(store, FORMER, 1)
    read = Place.read

    def overtaken(place):
        found = read(place)
        reads.append(found)
        if len(reads) == at:
            commits(store, STEP, 2)
            published(store, spec)
        return found

    monkeypatch.setattr(Place, "read", overtaken)
    list(repair(store, spec))
    assert len(reads) > at
    assert rows(store) == [("", 2)]


LONG = "ab " * 80  # its key is shortened, so only the pointer tells it


def test_repair_counts_outputs_of_renamed_steps(cli, project):
    """`nightmill repair` in a project whose step has another name by now: all comes back."""
    project.pipeline("flights", "grade: {notebook: s.ipynb, outputs: {scores: s.pq}}", s=[""])
    store = open_store(str(project.store), base=project.root)
    for day in (DAY, "2013-03-02", LONG):
        commits(store, "score", 1, day=day)
    commits(store, "grade", 2, day=DAY)
    said = cli("repair", cwd=project.root)
    assert (said.code, said.out.splitlines()[-1]) == (0, "3 committed outputs: 3 published")
    found = {file.read_bytes() for file in (project.store / "data").rglob("*.parquet")}
    assert found == {scores(1), scores(2)}
    assert cli("repair").out.strip() == "3 committed outputs: 3 up to date"
