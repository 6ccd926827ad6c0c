"""Publishing at a plain address: the newest commit's bytes, whoever comes late or dies."""

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightmill.errors import FencedError
from nightmill.publish.files import PlainFile
from nightmill.publish.place import Place
from nightmill.publish.publish import publish_current, repair, warnings
from nightmill.publish.target import State, bring_up_to_date
from nightmill.store.keys import attempt_prefix, data_partition_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, commit
from tests.published import FILES, PLACE, PLAIN, TABLE, commit_scores, scores, spec_with
from tests.stored_versions import (
    DAY,
    PIPELINE,
    STEP,
    add_version,
    current,
    make_pointer,
    prefix_of,
    store_outputs,
)


@pytest.fixture
def spec(load_spec):
    """Declare a file and a folder."""
    return load_spec(FILES)


def states(found) -> list[State]:
    """Say how each output fared."""
    return [one.state for one in found]


def test_what_is_committed_stands_at_its_plain_address(store, spec):
    """A commit's bytes are read at data/<pipeline>/<output>/partition=<partition>/<file>."""
    commit_scores(store, 1)
    (found,) = publish_current(store, spec, **PLACE)
    assert (found.output, found.state) == ("scores", State.PUBLISHED)
    assert found.address == store.address(PLAIN).removesuffix("/scores.parquet")
    assert store.read(PLAIN).data == scores(1)
    assert states(publish_current(store, spec, **PLACE)) == [State.CURRENT]
    commit_scores(store, 2)
    assert states(publish_current(store, spec, **PLACE)) == [State.PUBLISHED]
    assert store.read(PLAIN).data == scores(2)


def test_a_folder_of_files_is_not_published(store, spec):
    """Folders are read through the pointer, or as a table: listing one would show a mixture."""
    add_version(store, 1)
    publish_current(store, spec, **PLACE)
    assert [entry.key for entry in store.list("data")] == [PLAIN]


def test_nothing_is_published_that_is_not_committed_or_not_wanted(store, load_spec, spec):
    """Without a pointer, or with `publish: false`, the data prefix stays empty."""
    assert publish_current(store, spec, **PLACE) == ()
    commit_scores(store, 1)
    quiet = spec_with(load_spec, "{path: scores.parquet, publish: false}")
    assert publish_current(store, quiet, **PLACE) == ()
    assert list(store.list("data")) == []


def test_members_stand_side_by_side(store, load_spec):
    """Each member of a step has a folder of its own below the partition."""
    spec = spec_with(load_spec, "scores.parquet", members="[a, b]")
    for member in ("a", "b"):
        commit_scores(store, 1, member.encode(), member=member)
    assert states(repair(store, spec)) == [State.PUBLISHED] * 2
    found = {entry.key: store.read(entry.key).data for entry in store.list("data")}
    folder = f"{TABLE}/partition={DAY}"
    assert found == {
        f"{folder}/member=a/scores.parquet": b"a",
        f"{folder}/member=b/scores.parquet": b"b",
    }


def test_a_partition_is_escaped_as_in_every_other_key():
    """Any text can be a partition, and no reader decodes the address differently."""
    found = data_partition_prefix("p", "o", "2013-03-01T02:30", member="a b")
    assert found == "data/p/o/partition=2013-03-01T02~3A30/member=a~20b"


def test_a_file_by_its_former_name_goes(store, spec):
    """When the file's name changes, a reader of the folder finds the new one alone."""
    commit_scores(store, 1)
    publish_current(store, spec, **PLACE)
    add_version(store, 2, files={"scores": {"out/all.parquet": b"renamed"}})
    publish_current(store, spec, **PLACE)
    found = [entry.key for entry in store.list("data")]
    assert found == [PLAIN.replace("scores.parquet", "all.parquet")]
    assert store.read(found[0]).data == b"renamed"


def test_members_that_come_later_take_the_single_file_away(store, load_spec, spec):
    """A step that is given members leaves no file of the time before beside their folders."""
    commit_scores(store, 1)
    publish_current(store, spec, **PLACE)
    commit_scores(store, 2, b"a", member="a")
    with_members = spec_with(load_spec, "scores.parquet", members="[a]")
    publish_current(store, with_members, **PLACE, member="a")
    key = f"{TABLE}/partition={DAY}/member=a/scores.parquet"
    assert [entry.key for entry in store.list("data")] == [key]


def test_what_somebody_overwrote_is_found_and_repaired(store, spec):
    """Repair compares the bytes that are there, not a note of what once was."""
    commit_scores(store, 1)
    publish_current(store, spec, **PLACE)
    store.write(PLAIN, b"from somewhere else")
    assert states(repair(store, spec, dry_run=True)) == [State.BEHIND]
    assert store.read(PLAIN).data == b"from somewhere else"
    assert states(repair(store, spec)) == [State.PUBLISHED]
    assert store.read(PLAIN).data == scores(1)


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_damaged_bytes_are_not_published(store, spec, damage):
    """A committed file that is gone or altered fails the publish, and the former one stays."""
    commit_scores(store, 1)
    publish_current(store, spec, **PLACE)
    commit_scores(store, 2)
    key = current(store).outputs["scores"].key
    store.delete(key)
    if damage == "changed":
        store.write(key, b"other")
    (found,) = publish_current(store, spec, **PLACE)
    assert found.state is State.FAILED
    assert key in found.problem
    assert "roll back to another version" in found.problem
    assert store.read(PLAIN).data == scores(1)
    (line,) = warnings((found,), PIPELINE)
    assert line.startswith("scores is committed, but not published: ")
    assert f"`nightmill repair flights --partition {DAY}`" in line


def test_plain_files_do_not_go_into_a_table(store, spec):
    """Where a Delta table lies, files that it does not know are not deleted for strays."""
    commit_scores(store, 1)
    part, log = PLAIN.replace("scores.p", "part-0.p"), f"{TABLE}/_delta_log/0.json"
    store.write(part, b"a part of the table")
    store.write(log, b"{}")
    (found,) = publish_current(store, spec, **PLACE)
    assert found.state is State.FAILED
    assert "a Delta table is where a plain file should be" in found.problem
    assert {entry.key for entry in store.list("data")} == {part, log}


def test_a_folder_that_was_committed_before_the_file_was_declared(store, spec):
    """A version that is no file cannot stand at a file's address, and says what to do."""
    add_version(store, 1, files={"scores": {"a.parquet": b"a", "b.parquet": b"b"}})
    (found,) = publish_current(store, spec, **PLACE)
    assert found.state is State.FAILED
    assert "is a folder in the version that is current" in found.problem


# -- who comes late -------------------------------------------------------------------------------


def target_of(store) -> PlainFile:
    """Name the plain address of the scores."""
    return PlainFile(Place(store, PIPELINE, STEP, DAY), "scores")


class Overtaken:
    """Reads the pointer; at its nth reading a newer run commits and publishes in between."""

    def __init__(self, store, at: int, newer: bytes, *, publishes: bool) -> None:
        self.store, self.at, self.newer, self.publishes = store, at, newer, publishes
        self.readings = 0

    def __call__(self) -> Pointer | None:
        """Return what was current before the newer run, at that reading the last time."""
        self.readings += 1
        found = current(self.store)
        if self.readings == self.at:
            commit_scores(self.store, 9, self.newer)
            if self.publishes:
                bring_up_to_date(target_of(self.store), lambda: current(self.store))
        return found


@pytest.mark.parametrize("publishes", [True, False], ids=["publishes", "dies before publishing"])
@pytest.mark.parametrize("newer", [b"newer", b"oldest"], ids=["other bytes", "bytes of before"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_older_publisher_never_has_the_last_word(store, at, newer, publishes):
    """Wherever an older publisher is overtaken, what is newest stands there when it ends.

    Also where the newer bytes are those that the older one has seen: their etags may be equal.
    """
    commit_scores(store, 1, b"oldest")
    bring_up_to_date(target_of(store), lambda: current(store))
    commit_scores(store, 5, b"older")
    overtaken = Overtaken(store, at, newer, publishes=publishes)
    bring_up_to_date(target_of(store), overtaken)
    assert overtaken.readings >= at
    if at < overtaken.readings or publishes:
        assert store.read(PLAIN).data == newer
    else:  # the newer one committed after all was done, and its own publish is still to come
        assert store.read(PLAIN).data == b"older"


def test_an_older_publisher_that_dies_has_replaced_nothing_newer(store):
    """Overtaken between its look and its copy, it fails to copy: no later look has to heal it."""
    commit_scores(store, 1, b"oldest")
    bring_up_to_date(target_of(store), lambda: current(store))
    commit_scores(store, 5, b"older")
    overtaken = Overtaken(store, 2, b"newer", publishes=True)

    def read() -> Pointer | None:
        if overtaken.readings == overtaken.at:
            raise KeyboardInterrupt
        return overtaken()

    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(target_of(store), read)
    assert store.read(PLAIN).data == b"newer"


def test_many_publishers_at_once_leave_the_newest(store, spec):
    """Runs that commit and publish at the same time end with the newest one's bytes."""
    orders = list(range(1, 9))
    pointers = {
        order: make_pointer(
            order,
            outputs=store_outputs(
                store, prefix_of(order), {"scores": {"s.parquet": b"%d" % order}}
            ),
        )
        for order in orders
    }
    start = threading.Barrier(len(orders))

    def work(order: int) -> None:
        start.wait()
        try:
            commit(store, pointers[order])
        except FencedError:
            return
        found = publish_current(store, spec, **PLACE)
        assert State.FAILED not in states(found), found

    with ThreadPoolExecutor(len(orders)) as pool:
        list(pool.map(work, orders))
    assert store.read(PLAIN.replace("scores.p", "s.p")).data == b"8"


# -- readers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["scores.parquet", "{path: s.parquet, format: delta}"])
def test_a_reader_sees_one_version_whole(store, load_spec, output):
    """While versions are published one after the other, each read is one of them, whole."""
    spec, last = spec_with(load_spec, output), 15
    commit_scores(store, 1, scores(1, rows=500))
    publish_current(store, spec, **PLACE)
    over, seen = threading.Event(), []

    def read() -> list[int]:
        if "delta" not in output:
            return pq.read_table(io.BytesIO(store.read(PLAIN).data))["run"].to_pylist()
        table = DeltaTable(store.address(TABLE), storage_options=dict(store.library_options()))
        return table.to_pyarrow_table()["run"].to_pylist()

    def read_on() -> None:
        while not over.is_set():
            seen.append(read())

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_on)
        for order in range(2, last + 1):
            commit_scores(store, order, scores(order, rows=500))
            publish_current(store, spec, **PLACE)
        over.set()
        reading.result()
    assert all(runs == runs[:1] * 500 for runs in seen)
    assert [runs[0] for runs in seen] == sorted(runs[0] for runs in seen)
    assert read() == [last] * 500


# -- repair ---------------------------------------------------------------------------------------


@pytest.fixture
def behind(project):
    """Make a project whose store has three committed partitions, none of them published."""
    project.pipeline("flights", "score: {notebook: s.ipynb, outputs: {scores: s.parquet}}", s=[""])
    store = open_store(str(project.store), base=project.root)
    for day in ("2013-03-01", "2013-03-02", LONG):
        place = attempt_prefix("flights", day, "run-1", "score", 1)
        outputs = store_outputs(store, place, {"scores": {"s.parquet": day.encode()}})
        named = {"partition": day, "attempt_prefix": place}
        commit(store, make_pointer(1, outputs=outputs).model_copy(update=named))
    return project


LONG = "ab " * 80  # its key is shortened, so only the pointer tells it


def test_repair_publishes_what_is_behind_and_only_that(cli, behind):
    """`nightmill repair` says what it did; a second one finds nothing to do."""
    data = behind.store / "data"
    said = cli("repair", "--dry-run", cwd=behind.root)
    assert (said.code, data.exists(), said.out.count("behind")) == (0, False, 4)
    said = cli("repair", "flights", "--partition", "2013-01-01")
    assert (said.code, said.out.strip()) == (0, "0 committed outputs: nothing to publish")
    said = cli("repair", "flights", "--partition", "2013-03-02")
    assert (said.code, said.out.splitlines()[-1]) == (0, "1 committed output: 1 published")
    assert (data / "flights/scores/partition=2013-03-02/s.parquet").read_text() == "2013-03-02"
    said = cli("repair")
    assert said.out.splitlines()[-1] == "3 committed outputs: 2 published, 1 up to date"
    assert {file.read_text() for file in data.rglob("*.parquet")} == {
        "2013-03-01",
        "2013-03-02",
        LONG,
    }
    assert cli("repair").out.strip() == "3 committed outputs: 3 up to date"


def test_repair_tells_what_it_could_not_do(cli, behind):
    """One output that cannot be published stops no other, and the exit code is 1."""
    behind.write(".nightmill/store/data/flights/scores/partition=2013-03-01", "a file in the way")
    said = cli("repair", cwd=behind.root)
    assert said.code == 1
    assert said.out.splitlines()[-1] == "3 committed outputs: 1 failed, 2 published"
    assert "a file stands where a directory is needed" in said.out


def test_repair_knows_only_pipelines_of_the_project(cli, behind):
    """A name that is no pipeline is wrong usage, with what is close."""
    said = cli("repair", "flihgts", cwd=behind.root)
    assert said.code == 2
    assert "did you mean `flights`?" in said.err


# -- the step -------------------------------------------------------------------------------------


NOTEBOOK = """
import pandas as pd
for path in (scores, history):
    pd.DataFrame({"id": [1, 2], "p": [0.5, 0.25]}).to_parquet(path)
open(f"{plots}/a.txt", "w").write("a")
"""


@pytest.fixture(scope="module")
def night(make_project):
    """Run a real step that makes a plain file, a table and a folder; then once more."""
    project = make_project("published")
    project.pipeline(
        "flights",
        """
        score:
          notebook: score.ipynb
          outputs:
            scores: scores.parquet
            history: {path: history.parquet, format: delta}
            plots: plots/
        """,
        score=[
            ('scores = history = plots = partition = ""', "parameters"),
            NOTEBOOK,
        ],
    )
    ended = [project.run("run", "flights", "--partition", DAY)]
    assert ended[0].code == 0, ended[0].err
    return project


def test_a_step_publishes_after_its_commit(night):
    """A night leaves its file at the plain address and its rows in the table, without a warning."""
    record = night.record("flights", "score")
    (file,) = record["outputs"]["scores"]["files"]
    published = night.store / f"data/flights/scores/partition={DAY}/scores.parquet"
    assert hashlib.sha256(published.read_bytes()).hexdigest() == file["sha256"]
    table = DeltaTable(str(night.store / "data/flights/history"))
    rows = table.to_pyarrow_table(filters=[("partition", "=", DAY)])
    assert rows.sort_by("id").to_pydict() == {
        "id": [1, 2],
        "p": [0.5, 0.25],
        "partition": [DAY, DAY],
    }
    assert not (night.store / "data/flights/plots").exists()
    assert (record["committed"], record["warnings"]) == (True, [])


def test_a_failed_publish_fails_no_step_and_is_told(night):
    """What has committed succeeded: the record warns, names the command, and that completes it."""
    in_the_way = night.store / "data/flights/scores/partition=2013-03-02"
    in_the_way.write_text("a file")
    ended = night.run("run", "flights", "--partition", "2013-03-02")
    record = night.record("flights", "score")
    assert (ended.code, record["state"], record["committed"]) == (0, "succeeded", True)
    (warning,) = record["warnings"]
    assert warning.startswith("scores is committed, but not published: ")
    assert "`nightmill repair flights --partition 2013-03-02` completes it" in warning
    assert "not published" in ended.out
    in_the_way.unlink()
    assert night.run("repair", "flights", "--partition", "2013-03-02").code == 0
    assert (in_the_way / "scores.parquet").is_file()
