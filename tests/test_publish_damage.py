"""A table that somebody has damaged: repair looks at its files, and writes anew what is behind."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nightmill.publish.publish import publish_current, repair
from nightmill.publish.target import State
from nightmill.store.pointer import commit
from tests.published import PLACE, TABLE, commit_scores, scores, spec_with
from tests.stored_versions import DAY, STEP, make_pointer, prefix_of, store_outputs

ODD = "a b/é=%"
MEMBERS = ("x", "y")


@pytest.fixture
def spec(load_spec):
    """Declare the scores as a table."""
    return spec_with(load_spec, "{path: s.parquet, format: delta}", members="[x, y]")


def open_table(store) -> DeltaTable:
    """Open the table as its readers do."""
    return DeltaTable(store.address(TABLE), storage_options=dict(store.library_options()))


def rows(store) -> list[tuple[str, str, int]]:
    """Read which run's rows are there."""
    found = pa.table(open_table(store).to_pyarrow_table())
    names = ("partition", "member", "run")
    return sorted(set(zip(*(found[name].to_pylist() for name in names), strict=True)))


WHOLE = [(DAY, "x", 1), (DAY, "y", 2), (ODD, "x", 3), (ODD, "y", 4)]


@pytest.fixture
def published(store, spec):
    """Publish two partitions of two members, one of them with an odd name."""
    for partition, member, order in WHOLE:
        place = prefix_of(order, member=member)
        outputs = store_outputs(store, place, {"scores": {"s.parquet": scores(order)}})
        pointer = make_pointer(order, outputs=outputs, member=member)
        commit(store, pointer.model_copy(update={"partition": partition}))
        publish_current(store, spec, step=STEP, partition=partition, member=member)
    assert rows(store) == WHOLE
    return store


def files_of(store, partition: str, member: str) -> list[str]:
    """Name the keys of a partition's data files."""
    options = [("partition", "=", partition), ("member", "=", member)]
    uris = open_table(store).file_uris(file_pruning_predicate=options)
    names = {uri.rsplit("/", 1)[1] for uri in uris}
    return [one.key for one in store.list(TABLE) if one.key.rsplit("/", 1)[1] in names]


def delete_file(store, partition: str, member: str) -> None:
    """Delete the data file."""
    (key,) = files_of(store, partition, member)
    store.delete(key)


def cut_file(store, partition: str, member: str) -> None:
    """Cut the data file."""
    (key,) = files_of(store, partition, member)
    store.write(key, store.read(key).data[:-1])


def delete_rows(store, partition: str, member: str) -> None:
    """Delete the rows with deltalake itself."""
    open_table(store).delete(f"partition = '{partition}' AND member = '{member}'")


def states(found) -> list[State]:
    """Say how each output fared."""
    return [one.state for one in found]


@pytest.mark.parametrize("damage", [delete_file, cut_file, delete_rows])
@pytest.mark.parametrize("partition", [DAY, ODD])
def test_a_damaged_partition_is_written_anew(published, spec, damage, partition):
    """A dry run says which is behind; a repair writes that one alone, and then all is whole."""
    damage(published, partition, "y")
    version = open_table(published).version()
    told = list(repair(published, spec, dry_run=True))
    behind = [(one.partition, one.member) for one in told if one.state is State.BEHIND]
    assert (len(told), behind) == (4, [(partition, "y")])
    assert open_table(published).version() == version
    assert sorted(states(repair(published, spec))) == [State.PUBLISHED, *[State.CURRENT] * 3]
    assert rows(published) == WHOLE
    assert open_table(published).version() == version + 1
    assert states(repair(published, spec)) == [State.CURRENT] * 4


def test_a_repair_of_one_partition_leaves_the_others(published, spec):
    """Only the one that is named is looked at and written."""
    delete_file(published, DAY, "x")
    delete_file(published, ODD, "x")
    assert states(repair(published, spec, partition=DAY)) == [State.PUBLISHED, State.CURRENT]
    assert states(repair(published, spec)).count(State.PUBLISHED) == 1
    assert rows(published) == WHOLE


def test_a_publish_does_not_look_at_files(published, spec):
    """What every night pays is the question for the transaction's number, not a listing."""
    delete_file(published, DAY, "x")
    (found,) = publish_current(published, spec, **PLACE, member="x")
    assert found.state is State.CURRENT


def test_no_rows_are_no_damage_where_none_were_committed(store, load_spec):
    """An empty output leaves no file in the table; repair knows it from what was committed."""
    spec = spec_with(load_spec, "{path: s.parquet, format: delta}")
    for order, count in ((1, 2), (2, 0)):
        commit_scores(store, order, scores(order, rows=count))
        publish_current(store, spec, **PLACE)
    assert rows_of(store) == 0
    assert states(repair(store, spec)) == [State.CURRENT]


def rows_of(store) -> int:
    """Count the table's rows."""
    return pa.table(open_table(store).to_pyarrow_table()).num_rows


def test_a_member_that_comes_back_is_in_the_table_again(published, spec, load_spec):
    """Without a run: its version is current still, and a repair finds that it has no rows."""
    fewer = spec_with(load_spec, "{path: s.parquet, format: delta}", members="[y]")
    assert states(repair(published, fewer)) == [State.PUBLISHED] * 2
    assert [one[1] for one in rows(published)] == ["y", "y"]
    assert sorted(states(repair(published, spec))) == sorted([State.CURRENT, State.PUBLISHED] * 2)
    assert rows(published) == WHOLE
    assert states(repair(published, spec)) == [State.CURRENT] * 4
