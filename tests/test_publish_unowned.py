"""Published data of outputs that were renamed or taken out: gc finds them with few requests."""

from __future__ import annotations

import pytest

from nightmill.store.keys import pointer_key
from nightmill.store.pointer import commit
from nightmill.store.unowned import unowned_data
from tests.stored_versions import PIPELINE, make_pointer, prefix_of, store_outputs

DAYS = ["2013-03-01", "2013-03-02", "2013-03-03"]


def run(store, day: str, *outputs: str, order: int = 1, step: str = "score", member: str = ""):
    """Commit outputs for a day, and publish them."""
    prefix = f"{prefix_of(order)}/{step}/{day}/{member}"
    files = {one: {"a.txt": b"a"} for one in outputs}
    names = {"step": step, "partition": day, "attempt_prefix": prefix_of(order)}
    stored = store_outputs(store, prefix.rstrip("/"), files)
    commit(store, make_pointer(order, outputs=stored, member=member, **names))
    for one in outputs:
        store.write(f"{folder(one, day)}/a.txt", b"a")


def folder(output: str, day: str) -> str:
    """Name the prefix of a published partition."""
    return f"data/{PIPELINE}/{output}/partition={day}"


def found(store) -> list[str]:
    """Name what gc would take for nobody's."""
    return list(unowned_data(store, [PIPELINE]))


def test_a_renamed_output_goes_where_its_step_has_run_again(store):
    """The old name's data stay for partitions whose current version still has it."""
    for day in DAYS:
        run(store, day, "old", "same")
    for day in DAYS[1:]:
        run(store, day, "new", "same", order=2)
    assert found(store) == [folder("old", day) for day in DAYS[1:]]


def test_data_of_a_partition_without_any_pointer_are_found(store):
    """Somebody deleted the pointer, or the step is gone."""
    for day in DAYS:
        run(store, day, "old")
    store.delete(pointer_key(PIPELINE, "score", DAYS[1]))
    assert found(store) == [folder("old", DAYS[1])]


def test_an_output_that_has_moved_to_another_step_stays(store):
    """Whichever step's current version has it."""
    run(store, DAYS[0], "scores", step="old")
    run(store, DAYS[0], "model", order=2)
    assert found(store) == []


def test_members_have_their_partition_together(store):
    """What any member has is not taken away, unless the step has run without members since."""
    run(store, DAYS[0], "old", member="x")
    run(store, DAYS[0], "new", member="y", order=2)
    assert found(store) == []
    run(store, DAYS[0], "new", order=3)
    assert found(store) == [folder("old", DAYS[0])]


def test_a_pointer_that_cannot_be_read_stands_for_everything(store):
    """Nothing is taken for nobody's as long as nobody can tell."""
    run(store, DAYS[0], "old")
    store.write(pointer_key(PIPELINE, "score", DAYS[0]), b"of a later Nightmill")
    assert found(store) == []


@pytest.mark.parametrize(("has_old", "reads"), [(False, 1), (True, 3)])
def test_only_pointers_of_what_the_newest_lacks_are_read(store, monkeypatch, has_old, reads):
    """One pointer tells for all partitions; each is read only for an output that this one lacks."""
    for day in DAYS[:2]:
        run(store, day, "same", *(["old"] if has_old else []))
    run(store, DAYS[2], "same")
    read, keys = store.read, []
    monkeypatch.setattr(store, "read", lambda key: (keys.append(key), read(key))[1])
    assert found(store) == []
    whole = [key for key in keys if store.stat(key)]
    assert len(whole) == reads
