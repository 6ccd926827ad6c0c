"""An output whose format changes: what one has published is neither lost nor seen twice."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable

from nightmill.publish.publish import publish_current, repair
from nightmill.publish.target import State
from nightmill.publish.upkeep import collect_from_tables
from nightmill.store.keys import encode
from nightmill.store.open import open_store
from nightmill.store.pointer import commit
from tests.published import DELTA, FILES, PLAIN, TABLE, commit_scores, scores
from tests.stored_versions import DAY, STEP, make_pointer, prefix_of, store_outputs
from tests.test_publish_upkeep import order

OTHER = "2013-02-28"


@pytest.fixture
def here(tmp_path):
    """Open a store in a directory, whose files can be made older."""
    return open_store("store", base=tmp_path)


def publish(store, spec, partition=DAY):
    """Publish the one output that is declared so."""
    (found,) = publish_current(store, spec, step=STEP, partition=partition)
    return found


def commit_for(store, partition) -> None:
    """Let a run commit scores for another partition."""
    files = {"scores": {"scores.parquet": scores(1)}}
    prefix = prefix_of(1).replace(DAY, encode(partition))
    outputs = store_outputs(store, prefix, files)
    commit(store, make_pointer(1, outputs=outputs, partition=partition, attempt_prefix=prefix))


def has_table(store, load_spec) -> None:
    """Publish another day while `format: delta` is declared."""
    commit_for(store, OTHER)
    assert publish(store, load_spec(DELTA), OTHER).problem == ""


def files_of(store) -> list[str]:
    """Name what a reader of the plain address would open."""
    return [one.key for one in store.list(TABLE) if "/partition=" in one.key]


def test_no_plain_file_is_put_into_a_table(here, load_spec):
    """Not for a new day either: the publish fails, and says what to do."""
    has_table(here, load_spec)
    commit_scores(here, 2)
    before = files_of(here)
    found = publish(here, load_spec(FILES))
    assert found.state is State.FAILED
    assert "a Delta table is where a plain file should be" in found.problem
    assert "keep `format: delta`, rename the output, or move the table away" in found.problem
    assert files_of(here) == before


def test_gc_leaves_a_current_plain_file_in_a_tables_folder(here, load_spec, monkeypatch):
    """One that an older release put there is published; a former one of that name is not."""
    has_table(here, load_spec)
    commit_scores(here, 2)
    monkeypatch.setattr("nightmill.publish.files.PlainFile._refuse_delta", lambda _self: None)
    publish(here, load_spec(FILES))
    here.write(f"{TABLE}/partition={DAY}/strange.parquet", b"x")
    deleted = [one.key for one in collect_from_tables(here, order(8))]
    assert deleted == [f"{TABLE}/partition={DAY}/strange.parquet"]
    assert here.read(PLAIN).data == scores(2)


@pytest.mark.parametrize("by", ["publish", "repair"])
def test_a_former_plain_file_goes_once_its_rows_are_in_the_table(here, load_spec, by):
    """A reader of the folder sees one version; no file of the table is taken for one."""
    commit_scores(here, 1)
    publish(here, load_spec(FILES))
    spec = load_spec(DELTA)
    if by == "publish":
        commit_scores(here, 2, scores(2))
        assert publish(here, spec).state is State.PUBLISHED
    else:
        publish(here, spec)
        here.write(PLAIN, scores(1))  # as one that was killed in between, or an older release, left
        assert [one.state for one in repair(here, spec, dry_run=True)] == [State.BEHIND]
        assert here.read(PLAIN) is not None
        assert [one.state for one in repair(here, spec)] == [State.PUBLISHED]
    assert [one.state for one in repair(here, spec)] == [State.CURRENT]
    table = DeltaTable(here.address(TABLE))
    assert here.read(PLAIN) is None
    assert [here.address(one) for one in files_of(here)] == list(table.file_uris())
    assert table.to_pyarrow_table().num_rows == 3


@pytest.mark.parametrize(("partition", "is_long"), [("é" * 128, True), ("x" * 128, False)])
def test_a_partition_that_no_folder_can_be_named_is_told(
    here, load_spec, capfd, partition, is_long
):
    """By its length in the table's own spelling, before deltalake panics over it."""
    commit_for(here, partition)
    found = publish(here, load_spec(DELTA), partition)
    assert (found.state is State.FAILED) == is_long
    assert ("makes a folder's name of 778 bytes, and a directory takes 255" in found.problem) == (
        is_long
    )
    assert capfd.readouterr().err == ""
