"""What a step was before: members that it has no more, outputs that a version lacks."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nightmill.errors import StoreConflict
from nightmill.publish.delta import Table
from nightmill.publish.place import Place
from nightmill.publish.publish import publish_current, repair
from nightmill.publish.table_partition import TablePartition
from nightmill.publish.target import State, bring_up_to_date
from nightmill.store.pointer import Pointer, Token, commit
from tests.published import PLACE, TABLE, commit_scores, scores, spec_with
from tests.stored_versions import (
    DAY,
    PIPELINE,
    STEP,
    add_version,
    current,
    prefix_of,
    store_outputs,
)

FORMS = {"files": "scores.parquet", "delta": "{path: scores.parquet, format: delta}"}
OTHERS = {"plots": {"a.png": b"a"}}


@pytest.fixture(params=FORMS)
def form(request) -> str:
    """Publish plain files, and rows of a table."""
    return request.param


@pytest.fixture
def declare(load_spec, form):
    """Declare the scores with some members."""

    def declared(members: str = ""):
        return spec_with(load_spec, FORMS[form], members=f"[{members}]" if members else "")

    return declared


def rows(store) -> list[tuple[str, int]]:
    """Tell which run's scores a reader finds, by members."""
    keys = [one.key for one in store.list("data")]
    if any("_delta_log" in key for key in keys):
        options = dict(store.library_options())
        found = pa.table(
            DeltaTable(store.address(TABLE), storage_options=options).to_pyarrow_table()
        )
        members = found["member"] if "member" in found.column_names else [""] * found.num_rows
        return sorted({(str(m), r.as_py()) for m, r in zip(members, found["run"], strict=True)})
    return sorted((member_of(key), run_in(store.read(key).data)) for key in keys)


def member_of(key: str) -> str:
    """Take the member from a key of a plain file."""
    return key.split("member=")[1].split("/", maxsplit=1)[0] if "member=" in key else ""


def run_in(data: bytes) -> int:
    """Tell whose scores a file has."""
    return next(order for order in range(1, 100) if scores(order) == data)


def publish(store, spec, *members: str):
    """Publish what is current of these members."""
    found = [publish_current(store, spec, **PLACE, member=one) for one in members]
    assert [one.problem for several in found for one in several if one.problem] == []
    return [one.state for several in found for one in several]


def run(store, spec, order: int, *members: str):
    """Let a run commit and publish."""
    for member in members:
        commit_scores(store, order, member=member)
    return publish(store, spec, *members)


def states(found) -> list[State]:
    """Say how each output fared."""
    return [one.state for one in found]


def test_a_member_that_is_gone_goes_from_what_is_published(store, declare):
    """When the step has run without it; and repair has nothing left to do."""
    run(store, declare("x, y"), 1, "x", "y")
    run(store, declare("x"), 2, "x")
    assert rows(store) == [("x", 2)]
    assert states(repair(store, declare("x"))) == [State.CURRENT]
    assert rows(store) == [("x", 2)]


def test_a_repair_withdraws_what_a_killed_publish_has_left(store, declare):
    """The newer pointer alone tells: nobody has published since it was committed."""
    run(store, declare("x, y"), 1, "x", "y")
    commit_scores(store, 2, member="x")
    assert states(repair(store, declare("x"), dry_run=True)) == [State.BEHIND]
    assert rows(store) == [("x", 1), ("y", 1)]
    assert states(repair(store, declare("x"))) == [State.PUBLISHED]
    assert rows(store) == [("x", 2)]
    assert states(repair(store, declare("x"))) == [State.CURRENT]


def test_a_member_without_a_pointer_goes(store, declare):
    """Somebody has deleted the pointer, or the data are from elsewhere."""
    run(store, declare("x, y"), 1, "x", "y")
    store.delete(current(store, member="y").key)
    assert publish(store, declare("x"), "x") == [State.PUBLISHED]
    assert rows(store) == [("x", 1)]


@pytest.mark.parametrize("old", ["x", "y"])
def test_an_older_pipeline_takes_nothing_newer_away(store, declare, old):
    """An attempt that wakes up with fewer members leaves those of the run that had more."""
    run(store, declare("x, y"), 5, "x", "y")
    files = {"scores": {"scores.parquet": scores(5)}}
    add_version(store, 5, 2, member=old, files=files)
    publish(store, declare(old), old)
    assert rows(store) == [("x", 5), ("y", 5)]


def test_a_member_that_is_not_declared_is_not_published(store, declare):
    """Only what pipeline.yaml has, whoever asks."""
    commit_scores(store, 1, member="y")
    assert publish(store, declare("x"), "y") == []
    assert list(repair(store, declare("x"))) == []
    assert rows(store) == []


def test_a_single_file_comes_in_place_of_members(store, load_spec):
    """A step that has no members any more has one file, and the repair does not swap it back."""
    run(store, spec_with(load_spec, "scores.parquet", members="[x, y]"), 1, "x", "y")
    single = spec_with(load_spec, "scores.parquet")
    assert run(store, single, 2, "") == [State.PUBLISHED]
    for _ in range(2):
        assert rows(store) == [("", 2)]
        assert states(repair(store, single)) == [State.CURRENT]


@pytest.mark.parametrize("old", ["", "x"])
def test_an_older_form_is_not_published_over_a_newer_one(store, load_spec, old):
    """Neither a zombie nor a repair with the pipeline.yaml of before brings back old files."""
    specs = {
        "": spec_with(load_spec, "scores.parquet"),
        "x": spec_with(load_spec, "scores.parquet", members="[x]"),
    }
    new = {"": "x", "x": ""}[old]
    run(store, specs[old], 1, old)
    run(store, specs[new], 2, new)
    assert publish(store, specs[old], old) == []
    assert list(repair(store, specs[old])) == []
    assert rows(store) == [(new, 2)]


def test_what_is_committed_while_an_old_file_is_deleted_stands_there_in_the_end(
    store, load_spec, monkeypatch
):
    """A file that a newer run publishes right then, under the same name, is put back."""
    both = spec_with(load_spec, "scores.parquet", members="[x, y]")
    run(store, both, 1, "x", "y")
    commit_scores(store, 2, member="x")
    read, reads = Place.others, []

    def overtaken(place):
        found = read(place)
        if place.members == ("x",) and not reads:
            reads.append(place)
            run(store, both, 9, "y")
        return found

    monkeypatch.setattr(Place, "others", overtaken)
    publish(store, spec_with(load_spec, "scores.parquet", members="[x]"), "x")
    assert rows(store) == [("x", 2), ("y", 9)]


def test_rows_that_a_newer_run_adds_meanwhile_are_not_removed(store, load_spec):
    """The table refuses to remove a member's rows that are not those that were seen."""
    both = spec_with(load_spec, FORMS["delta"], members="[x, y]")
    run(store, both, 1, "x", "y")
    commit_scores(store, 2, member="x")
    table = Table(store, PIPELINE, "scores", both.steps[STEP].outputs["scores"], has_members=True)
    removes = TablePartition(table, Place(store, PIPELINE, STEP, DAY, "x", ("x",)))
    replace = removes.look(current(store, member="x"))
    run(store, both, 9, "y")
    with pytest.raises(StoreConflict):
        replace()
    assert rows(store) == [("x", 1), ("y", 9)]
    assert bring_up_to_date(removes, removes.place.read) is State.PUBLISHED
    assert rows(store) == [("x", 2), ("y", 9)]


# -- outputs that are not in the current version --------------------------------------------------


def decide(store, order: int, files) -> None:
    """Make a version current that has these outputs only, as a rollback does."""
    add_version(store, order, files=files)


def test_an_output_that_the_current_version_lacks_is_withdrawn(store, declare):
    """What is current has no such output, so a reader finds none: of this partition."""
    spec = declare()
    commit_other_day(store)
    publish_current(store, spec, step="score", partition=OTHER_DAY)
    run(store, spec, 1, "")
    decide(store, 2, OTHERS)
    assert states(repair(store, spec, partition=DAY, dry_run=True)) == [State.BEHIND]
    assert states(repair(store, spec, partition=DAY)) == [State.WITHDRAWN]
    assert rows(store) == [("", 7)]
    assert list(repair(store, spec, partition=DAY)) == []
    assert run(store, spec, 3, "") == [State.PUBLISHED]
    assert rows(store) == [("", 3), ("", 7)]


def test_a_publish_withdraws_too(store, declare):
    """A rollback, or a run that made no such output, publishes at once."""
    run(store, declare("x, y"), 1, "x", "y")
    add_version(store, 2, member="x", files=OTHERS)
    assert publish(store, declare("x, y"), "x") == [State.WITHDRAWN]
    assert rows(store) == [("y", 1)]


def test_nothing_is_withdrawn_that_was_never_published(store, declare):
    """A version without the output is no reason to make a table."""
    decide(store, 1, OTHERS)
    assert publish(store, declare(), "") == []
    assert list(store.list("data")) == []


OTHER_DAY = "2013-03-02"


def commit_other_day(store) -> None:
    """Let another partition have scores, of run 7."""
    place = prefix_of(7).replace(DAY, OTHER_DAY)
    pointer = Pointer(
        pipeline=PIPELINE,
        step="score",
        partition=OTHER_DAY,
        run="run-7",
        token=Token(order=7, attempt=1),
        attempt_prefix=place,
        outputs=store_outputs(store, place, {"scores": {"scores.parquet": scores(7)}}),
    )
    commit(store, pointer)


def test_a_withdrawal_leaves_what_a_newer_run_has_published(store, declare):
    """Overtaken while it deletes, it publishes what is current in the end."""
    spec, overtaken = declare(), []
    run(store, spec, 1, "")
    decide(store, 2, OTHERS)
    read = Place.read

    def reads(place):
        found = read(place)
        overtaken.append(found)
        if len(overtaken) == 2:  # the last look before it deletes
            run(store, spec, 9, "")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Place, "read", reads)
        publish(store, spec, "")
    assert rows(store) == [("", 9)]
