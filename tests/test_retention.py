"""What a gc keeps, marks and deletes, on both backends; ages are told to it, not waited for."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from nightmill.errors import FencedError, StoreError, UsageError
from nightmill.spec.amended import first_record
from nightmill.spec.record import AttemptState, Code, FileRecord, InputRecord
from nightmill.spec.retention import Keep
from nightmill.spec.steprun import StepRun
from nightmill.spec.units import parse_duration
from nightmill.store.active import mark
from nightmill.store.bundle import fetch, pack
from nightmill.store.bundle import keep as keep_bundle
from nightmill.store.collect import Collected, Fate, Order, collect
from nightmill.store.decision import decide, prepare
from nightmill.store.doomed import doom, doomed
from nightmill.store.interface import Entry
from nightmill.store.keys import attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import Move, commit
from nightmill.store.retention import in_days
from nightmill.store.unnamed_code import batches
from nightmill.store.versions import find_versions
from tests.faulty_store import CALLS, Fault, FaultyStore
from tests.stored_versions import (
    DAY,
    PIPELINE,
    add_version,
    current,
    make_pointer,
    prefix_of,
    read_current_bytes,
    store_outputs,
    usual_files,
)

KEEP = Keep(runs="90d", versions=1, failed="30d")
ENDED = {"ended_at": datetime.now(UTC)}


def order(day: float, keep: Keep = KEEP, **facts: object) -> Order:
    """Order a gc that acts, so many days from now, with rules for the one pipeline."""
    known = {"rules": {PIPELINE: keep}, "by": "test", "acts": True} | facts
    return Order(**known, now=datetime.now(UTC) + timedelta(days=day))


def run_gc(store, day: float, keep: Keep = KEEP, **facts: object) -> dict[str, Fate]:
    """Run a gc so many days from now; return what became of what, by its key."""
    return {one.key: one.fate for one in collect(store, order(day, keep, **facts))}


def run_twice(store, day: float, keep: Keep = KEEP) -> dict[str, Fate]:
    """Run a gc that marks, then the one that deletes, both so many days from now."""
    run_gc(store, day, keep)
    return run_gc(store, day, keep)


def prefixes(store) -> set[str]:
    """Name the attempts that have a record."""
    keys = (entry.key for entry in store.list("runs"))
    return {key.removesuffix("/record.json") for key in keys if key.endswith("/record.json")}


def keys_below(store, prefix: str) -> list[str]:
    """Name what is left below a prefix."""
    return [entry.key for entry in store.list(prefix)]


def reading(store, *found: str) -> dict[str, InputRecord]:
    """Make the inputs of an attempt that has read the scores of others."""
    file = FileRecord(path="scores.parquet", size=1, sha256="0" * 64, etag="e")
    known = {"pipeline": PIPELINE, "output": "scores", "partition": DAY, "run": "r", "attempt": 1}
    return {
        f"i{number}": InputRecord(
            **known, address=store.address(f"{prefix}/outputs/scores"), files=(file,)
        )
        for number, prefix in enumerate(found)
    }


def code_of(bundle: str) -> Code:
    """Say what ran, as far as it is kept under this hash."""
    facts = {"modules": {}, "git_commit": None, "git_dirty": None, "image": None}
    return Code(notebook="n.ipynb", notebook_sha256="0" * 64, **facts, bundle=bundle)


# -- the rules ------------------------------------------------------------------------------------


def test_an_empty_store_has_nothing_to_collect(store):
    """Where nothing has run a gc finds nothing, and no error."""
    assert run_gc(store, 1000) == {}


def test_it_marks_first_and_deletes_after_the_grace(store):
    """A replaced version is marked, waits, and goes whole a day later; the current one stays."""
    add_version(store, 1, **ENDED)
    add_version(store, 2, **ENDED)
    old = prefix_of(1)
    assert run_gc(store, 89) == {}
    assert run_gc(store, 91, acts=False) == {old: Fate.TO_MARK}
    assert doomed(store) == {}
    assert run_gc(store, 91) == {old: Fate.MARKED}
    assert list(doomed(store)) == [old]
    assert run_gc(store, 91, grace=timedelta(days=92)) == {old: Fate.WAITING}
    assert run_gc(store, 92, acts=False) == {old: Fate.TO_DELETE}
    assert len(keys_below(store, old)) == 4
    assert run_gc(store, 92) == {old: Fate.DELETED}
    assert (keys_below(store, old), doomed(store)) == ([], {})
    assert run_gc(store, 1000) == {}
    assert read_current_bytes(store) == usual_files(2)


@pytest.mark.parametrize(
    ("versions", "kept"), [(1, {5}), (2, {4, 5}), (4, {2, 3, 4, 5}), (9, {1, 2, 3, 4, 5})]
)
def test_the_newest_versions_stay_at_any_age(tmp_path, versions, kept):
    """As many committed versions as the rule says stay, the current one counted."""
    store = open_store("store", base=tmp_path)
    for number in range(1, 6):
        add_version(store, number, **ENDED)
    run_twice(store, 1000, KEEP.model_copy(update={"versions": versions}))
    assert prefixes(store) == {prefix_of(number) for number in kept}


def test_versions_are_counted_by_partition_and_member(tmp_path):
    """What one member has made does not push out another's."""
    store = open_store("store", base=tmp_path)
    for member in ("eu", "us"):
        for number in (1, 2):
            add_version(store, number, member=member, **ENDED)
    run_twice(store, 1000)
    assert prefixes(store) == {prefix_of(2, member="eu"), prefix_of(2, member="us")}


@pytest.mark.parametrize(("days", "stays"), [(29, True), (31, False)])
def test_what_never_committed_goes_by_its_own_age(tmp_path, days, stays):
    """A failed attempt outlives `failed`, and no more, however many there are."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1, **ENDED)
    add_version(store, 2, commits=False, **ENDED)
    run_twice(store, days)
    assert (prefix_of(2) in prefixes(store)) is stays
    assert prefix_of(1) in prefixes(store)


def test_the_version_that_was_chosen_stays_and_so_does_where_it_came_from(store):
    """After a rollback the current version is an old one: it stays, and so does the newest."""
    for number in (1, 2, 3):
        add_version(store, number, **ENDED)
    (found,) = find_versions(store, PIPELINE, "scores", DAY)
    move = Move(kind="rollback", by="me")
    decide(store, prepare(store, found.choose("run-1"), found.current, move), seen=found.current)
    run_twice(store, 1000)
    assert prefixes(store) == {prefix_of(1), prefix_of(3)}
    assert read_current_bytes(store) == usual_files(1)


def test_a_lost_last_word_does_not_delete_what_is_current(store):
    """The pointer decides: an attempt whose record never learned of its commit stays."""
    add_version(store, 1, **(ENDED | {"committed": False, "state": AttemptState.RUNNING}))
    assert run_twice(store, 1000) == {}
    assert read_current_bytes(store) == usual_files(1)


def test_an_attempt_that_runs_or_was_touched_today_stays(store):
    """A mark keeps an attempt at any age, and so does a day that is not over."""
    add_version(store, 1, commits=False)  # ended in 2013 by its record, written now
    assert run_gc(store, 0.9) == {}
    mark(store, prefix_of(1))
    assert run_twice(store, 1000) == {f"{prefix_of(1)}": Fate.LEFT}  # told: nobody runs so long
    assert prefixes(store) == {prefix_of(1)}


def test_a_pipeline_without_rules_keeps_everything(tmp_path):
    """Nothing is deleted by a default that nobody chose."""
    store = open_store("store", base=tmp_path)
    for number in (1, 2):
        add_version(store, number, **ENDED)
    doom(store, prefix_of(1), "by another gc", by="x")
    assert run_gc(store, 1000, rules={"other": KEEP}) == {}
    assert list(doomed(store)) == [prefix_of(1)]


# -- what stands against it -----------------------------------------------------------------------


def test_what_a_kept_attempt_has_read_stays_and_what_that_has_read(store):
    """Replays work: the inputs of what is kept are kept, and theirs, wherever the store lay."""
    for number, read in ((1, ()), (2, (prefix_of(1),)), (3, ()), (4, (prefix_of(2),))):
        add_version(store, number, inputs=reading(store, *read), **ENDED)
    run_twice(store, 1000)
    assert prefixes(store) == {prefix_of(number) for number in (1, 2, 4)}


def test_another_pipelines_attempt_keeps_its_inputs_too(tmp_path):
    """A pipeline that is not collected itself still needs what it has read."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1, **ENDED)
    record = add_version(store, 2, inputs=reading(store, prefix_of(1)), **ENDED)
    foreign = attempt_prefix("other", DAY, "r", "s", 1)
    store.write(f"{foreign}/record.json", record.to_json())
    add_version(store, 2, **ENDED)  # ... and in this one nothing names it
    run_twice(store, 1000)
    assert prefix_of(1) in prefixes(store)


@pytest.mark.parametrize("told_by", ["record", "pointer"])
def test_what_was_read_of_a_pipeline_called_runs_stays(store, told_by):
    """A pipeline may have the name of a folder of the store: what was read of it is kept too."""
    made = [_of_runs(store, number) for number in (1, 2, 3)]
    if told_by == "record":
        add_version(store, 9, inputs=reading(store, made[0]), **ENDED)
    else:
        outputs = store_outputs(store, prefix_of(9), usual_files(9))
        note = {"scores": f"{made[0]}#scores"}
        commit(store, make_pointer(9, outputs=outputs, inputs=note))
    for _ in range(2):
        run_gc(store, 1000, rules={"runs": KEEP})
    assert prefixes(store) - {prefix_of(9)} == {made[0], made[2]}


def _of_runs(store, number: int) -> str:
    """Leave a version of a member in a pipeline that is called `runs`; return its prefix."""
    prefix = attempt_prefix("runs", DAY, f"run-{number}", "score", 1, member="m")
    outputs = store_outputs(store, prefix, usual_files(number))
    pointer = make_pointer(number, outputs=outputs, member="m")
    commit(store, pointer.model_copy(update={"pipeline": "runs", "attempt_prefix": prefix}))
    record = first_record(
        StepRun(
            pipeline="runs", step="score", partition=DAY, as_of=DAY, run=f"run-{number}",
            order=number, member="m", store=store.url,
        ),
        store.url,
        host="h",
    )  # fmt: skip
    facts = {"state": AttemptState.SUCCEEDED, "committed": True, **ENDED}
    store.write(f"{prefix}/record.json", record.model_copy(update=facts).to_json())
    return prefix


@pytest.mark.parametrize(("days", "stays"), [(199, True), (201, False)])
def test_replays_may_be_given_up_by_age(tmp_path, days, stays):
    """With `replays: 200d` an attempt keeps its inputs for 200 days, and itself longer."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1, **ENDED)
    add_version(store, 2, inputs=reading(store, prefix_of(1)), **ENDED)
    run_twice(store, days, KEEP.model_copy(update={"replays": timedelta(days=200)}))
    assert (prefix_of(1) in prefixes(store)) is stays
    assert prefix_of(2) in prefixes(store)


@pytest.mark.parametrize("data", [b"", b"{", b'{"schema_version": 2}'])
def test_an_unreadable_record_holds_every_version(tmp_path, data):
    """Nobody knows what it has read: versions and code stay, what never committed goes."""
    store = open_store("store", base=tmp_path)
    for number in (1, 2):
        add_version(store, number, **ENDED)
    add_version(store, 3, commits=False, **ENDED)
    store.write("code/" + "0" * 64 + ".tar.gz", b"code")
    odd = attempt_prefix(PIPELINE, "2013-03-09", "r", "s", 1)
    store.write(f"{odd}/record.json", data)
    run_twice(store, 1000)
    assert prefixes(store) == {prefix_of(1), prefix_of(2), odd}
    assert run_gc(store, 1000) == {prefix_of(1): Fate.LEFT, odd: Fate.LEFT}
    assert keys_below(store, "code")


def test_a_pointer_that_cannot_be_read_holds_its_attempts_and_is_told(tmp_path):
    """Where nobody knows what is current nothing goes, and the other partitions go on."""
    store = open_store("store", base=tmp_path)
    for member in ("eu", "us"):
        for number in (1, 2):
            add_version(store, number, member=member, **ENDED)
    broken = make_pointer(1, outputs={}, member="eu").key
    store.write(broken, b"{")
    run_gc(store, 1000)
    found = run_gc(store, 1000)
    assert found == {broken: Fate.PROBLEM, prefix_of(1, member="us"): Fate.DELETED}
    assert len(prefixes(store)) == 3


# -- races ----------------------------------------------------------------------------------------


def test_a_marked_version_cannot_be_chosen(store):
    """A rollback to what is about to be deleted is refused, and nothing has changed."""
    for number in (1, 2):
        add_version(store, number, **ENDED)
    (found,) = find_versions(store, PIPELINE, "scores", DAY)
    chosen = prepare(store, found.choose("run-1"), found.current, Move(kind="rollback", by="me"))
    run_gc(store, 91)
    with pytest.raises(FencedError, match="marked for deletion"):
        decide(store, chosen, seen=found.current)
    assert read_current_bytes(store) == usual_files(2)


def test_a_zombie_whose_attempt_is_marked_cannot_commit(store):
    """An attempt that slept through its own end and the mark is fenced; its bytes go."""
    outputs = store_outputs(store, prefix_of(1), usual_files(1))
    assert run_gc(store, 2) == {prefix_of(1): Fate.MARKED}
    with pytest.raises(FencedError, match="marked for deletion"):
        commit(store, make_pointer(1, outputs=outputs))
    assert current(store) is None
    run_gc(store, 2)
    assert keys_below(store, prefix_of(1)) == []


def test_a_commit_right_before_the_mark_keeps_its_bytes(store):
    """Who asked for a mark before there was one, and wrote the pointer after it, wins."""
    outputs = store_outputs(store, prefix_of(1), usual_files(1))
    pointer = make_pointer(1, outputs=outputs)
    store.write_if(pointer.key, pointer.to_json(), etag=None)
    doom(store, prefix_of(1), "no record", by="a gc that looked before")
    assert run_gc(store, 1000) == {prefix_of(1): Fate.ABSOLVED}
    assert doomed(store) == {}
    assert read_current_bytes(store) == usual_files(1)


def test_a_commit_while_a_gc_is_at_work_keeps_its_bytes(store):
    """The pointer is asked again right before the deletion, not only when all was looked at."""
    outputs = store_outputs(store, prefix_of(1), usual_files(1))
    run_gc(store, 2)
    pointer = make_pointer(1, outputs=outputs)

    commits = partial(store.write_if, pointer.key, pointer.to_json(), etag=None)
    overtaken = Overtaken(store, commits, at=f"read {pointer.key}", is_after=True)
    assert run_gc(overtaken, 2) == {prefix_of(1): Fate.LEFT}
    assert read_current_bytes(store) == usual_files(1)


def test_what_is_needed_again_loses_its_mark(store):
    """A kinder rule, or a new reader, takes the mark back."""
    for number in (1, 2):
        add_version(store, number, **ENDED)
    run_gc(store, 91)
    kinder = KEEP.model_copy(update={"versions": 2})
    assert run_gc(store, 92, kinder, acts=False) == {prefix_of(1): Fate.TO_ABSOLVE}
    assert run_gc(store, 92, kinder) == {prefix_of(1): Fate.ABSOLVED}
    assert doomed(store) == {}


def test_a_gc_that_stops_anywhere_is_continued(tmp_path):
    """Whatever call is the last, nothing needed is gone, and the next gc leaves no orphan."""

    def filled(name):
        store = open_store(name, base=tmp_path)
        for number in (1, 2):
            add_version(store, number, **ENDED)
        run_gc(store, 91)
        return store

    counted = FaultyStore(filled("dry"))
    run_gc(counted, 92)
    assert len(counted.calls) > 15
    for number, call in enumerate(dict.fromkeys(counted.calls)):
        for when in ("before", "after"):
            store = filled(f"{number}{when}")
            with suppress(StoreError):  # where even a listing failed
                run_gc(FaultyStore(store, Fault(call, when, "down")), 92)
            assert read_current_bytes(store) == usual_files(2)
            run_gc(store, 93)
            assert prefixes(store) == {prefix_of(2)}, call
            assert keys_below(store, prefix_of(1)) == [], call
            assert doomed(store) == {}, call


def test_one_that_cannot_be_deleted_stops_no_other(tmp_path):
    """A refusal is told with its reason, and the rest is done."""
    store = open_store("store", base=tmp_path)
    for number in (1, 2, 3):
        add_version(store, number, **ENDED)
    run_gc(store, 91)
    refused = f"delete runs/{PIPELINE}/{DAY}/RUN/score/N/record.json #1"
    found = list(collect(FaultyStore(store, Fault(refused, "before", "raise")), order(92)))
    assert sorted(one.fate for one in found) == [Fate.DELETED, Fate.PROBLEM]
    assert "planted" in next(one.why for one in found if one.fate is Fate.PROBLEM)
    assert len(prefixes(store)) == 2
    assert run_gc(store, 93).keys() == {one.key for one in found if one.fate is Fate.PROBLEM}
    assert prefixes(store) == {prefix_of(3)}


def test_what_a_current_version_has_read_stays_without_its_record(store):
    """Where a current version lost its record, its pointer tells what it read: that is kept."""
    for number in (1, 2, 3):
        add_version(store, number, **ENDED)
    outputs = store_outputs(store, prefix_of(9, member="b"), usual_files(9))
    note = {"scores": f"{prefix_of(1)}#scores", "none": "none", "odd": "no note"}
    commit(store, make_pointer(9, outputs=outputs, member="b", inputs=note))
    run_twice(store, 1000)
    assert prefixes(store) == {prefix_of(1), prefix_of(3)}
    assert len(keys_below(store, prefix_of(9, member="b"))) == 3


def test_pointers_are_read_only_where_something_may_go(tmp_path):
    """An attempt without a record costs no read of its pointer while nothing else may go."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1, **ENDED)
    outputs = store_outputs(store, prefix_of(9, member="b"), usual_files(9))
    commit(store, make_pointer(9, outputs=outputs, member="b"))
    counted = FaultyStore(store)
    run_gc(counted, 0.5)
    assert not [call for call in counted.calls if call.startswith("read current/")]


def test_a_broken_pointer_keeps_every_version(store):
    """Where neither record nor pointer tells what was read, no version goes, and this is told."""
    for number in (1, 2):
        add_version(store, number, **ENDED)
    key = make_pointer(9, outputs={}, member="b").key
    store.write(f"{prefix_of(9, member='b')}/outputs/scores/a", b"x")
    store.write(key, b"{")
    found = {one.key: one.fate for one in collect(store, order(1000))}
    assert found == {prefix_of(1): Fate.LEFT, key: Fate.PROBLEM}
    assert prefixes(store) == {prefix_of(1), prefix_of(2)}


# -- everything else ------------------------------------------------------------------------------


def test_an_attempt_without_a_record_goes_as_an_orphan(store):
    """What a node left that died before its record goes after a day and the grace."""
    prefix = prefix_of(7)
    store.write(f"{prefix}/outputs/scores/part.parquet", b"x")
    assert run_gc(store, 0.9) == {}
    (one,) = collect(store, order(1.1))
    assert (one.key, one.why, one.fate) == (prefix, "no record", Fate.MARKED)
    run_gc(store, 1.1)
    assert keys_below(store, "runs") == []


def test_only_files_of_attempts_are_ever_deleted(tmp_path):
    """A stray file below runs/ is told and left, also inside an attempt that goes."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1, commits=False, **ENDED)
    strays = {f"{prefix_of(1)}/notes.txt", "runs/README", f"runs/{PIPELINE}/{DAY}/x/y/z/1/a"}
    for key in strays:
        store.write(key, b"x")
    found = {one.key: one for one in collect(store, order(1000))}
    assert (found["runs"].fate, found["runs"].size.objects) == (Fate.LEFT, 3)
    run_gc(store, 1000)
    assert set(keys_below(store, "runs")) == strays


def test_attempts_of_members_below_an_attempt_are_their_own(tmp_path):
    """A step that got members later: `score/1/2` is attempt 2 of a member, no file of `score/1`."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1, commits=False, **ENDED)
    add_version(store, 1, 2, member="1", **ENDED)
    assert prefix_of(1, 2, member="1").startswith(f"{prefix_of(1)}/")
    run_twice(store, 1000)
    assert prefixes(store) == {prefix_of(1, 2, member="1")}
    assert read_current_bytes(store, member="1") == usual_files(1, 2)


def test_notebooks_and_spilled_outputs_may_have_their_own_age(store):
    """They go from an attempt that stays; its record and outputs do not."""
    add_version(store, 1, **ENDED)
    for name in ("notebook.ipynb", "spilled/one.txt"):
        store.write(f"{prefix_of(1)}/{name}", b"large")
    keep = KEEP.model_copy(update={"notebooks": timedelta(days=200), "spilled": timedelta(days=10)})
    spilled, notebook = [(one.what, one.fate, one.size.bytes) for one in _all(store, 300, keep)]
    assert (spilled, notebook) == (
        ("executed notebook", Fate.TO_DELETE, 5),
        ("spilled outputs", Fate.TO_DELETE, 5),
    )
    run_gc(store, 100, keep)
    assert not keys_below(store, f"{prefix_of(1)}/spilled")
    assert store.read(f"{prefix_of(1)}/notebook.ipynb")
    run_gc(store, 300, keep)
    assert not store.read(f"{prefix_of(1)}/notebook.ipynb")
    assert store.read(f"{prefix_of(1)}/record.json")
    assert read_current_bytes(store) == usual_files(1)


def _all(store, day: float, keep: Keep) -> list[Collected]:
    return list(collect(store, order(day, keep, acts=False)))


def test_code_goes_when_no_attempt_names_it(store, tmp_path):
    """A bundle stays while any record names it; else it is marked, and deleted a day later."""
    bundles = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        bundles.append(pack({"n.py": tmp_path / name}))
        keep_bundle(store, bundles[-1])
    used, unused = bundles
    add_version(store, 1, code=code_of(used.sha256), **ENDED)
    assert run_gc(store, 0.9) == {}
    assert run_gc(store, 2) == {unused.key: Fate.MARKED}
    add_version(store, 2, code=code_of(unused.sha256), **ENDED)
    assert run_gc(store, 3) == {unused.key: Fate.ABSOLVED}
    assert len(keys_below(store, "code")) == 2
    run_twice(store, 1000)  # ... by now the first attempt is gone, and its code with the next
    run_twice(store, 1000)
    assert keys_below(store, "code") == [unused.key]


def test_files_of_writers_that_died_go_after_a_day(tmp_path):
    """A directory store's unfinished files and lost probes go; locks and files at work stay."""
    store = open_store("store", base=tmp_path)
    add_version(store, 1, **ENDED)
    root = tmp_path / "store"
    unfinished = root / prefix_of(1) / ".nightmill-0123"
    unfinished.write_bytes(b"half")
    (root / ".nightmill" / "preflight-1").write_bytes(b"first")
    assert run_gc(store, 0.9) == {}
    assert run_gc(store, 2) == {
        f"{prefix_of(1)}/.nightmill-0123": Fate.DELETED,
        ".nightmill/preflight-1": Fate.DELETED,
    }
    assert not unfinished.exists()
    assert list((root / ".nightmill" / "locks").iterdir())


def test_uploads_that_were_never_completed_are_aborted_after_a_day(s3_server, s3_url, tmp_path):
    """The parts of an upload whose process died cost money and are seen by nobody."""
    store = open_store(s3_url, base=tmp_path)
    prefix = s3_url.partition("?")[0].removeprefix(f"s3://{s3_server.bucket}/")
    client, key = s3_server.client(), f"{prefix}/{prefix_of(1)}/outputs/scores/a.parquet"
    begun = client.create_multipart_upload(Bucket=s3_server.bucket, Key=key)
    place = {"Bucket": s3_server.bucket, "Key": key, "UploadId": begun["UploadId"]}
    client.upload_part(**place, PartNumber=1, Body=b"x" * 100)
    (found,) = store.remnants()
    assert found.key == f"{prefix_of(1)}/outputs/scores/a.parquet"
    assert run_gc(store, 0.9) == {}
    assert run_gc(store, 2, acts=False) == {found.key: Fate.TO_DELETE}
    assert run_gc(store, 2) == {found.key: Fate.DELETED}
    assert list(store.remnants()) == []
    store.discard(found)  # ... by two at once


def test_a_mark_whose_attempt_is_silent_is_told(tmp_path):
    """A gc says where a sweep is due, and leaves the mark to it."""
    store = open_store("store", base=tmp_path)
    mark(store, prefix_of(9))
    (one,) = collect(store, order(0))
    assert (one.key, one.fate) == (prefix_of(9), Fate.LEFT)
    assert "sweep" in one.why


def test_a_name_that_was_cut_finds_its_pointer(tmp_path):
    """The key of a very long partition cannot be decoded, and what is current there stays."""
    store = open_store("store", base=tmp_path)
    partition = "é" * 150
    prefix = attempt_prefix(PIPELINE, partition, "run-1", "score", 1)
    outputs = store_outputs(store, prefix, usual_files(1))
    facts = {"partition": partition, "attempt_prefix": prefix}
    commit(store, make_pointer(1, outputs=outputs).model_copy(update=facts))
    assert run_twice(store, 1000) == {}
    assert len(keys_below(store, prefix)) == 3


def test_no_version_means_no_rollback(tmp_path):
    """After a gc `previous` says that there is none, instead of naming what is gone."""
    store = open_store("store", base=tmp_path)
    for number in (1, 2):
        add_version(store, number, **ENDED)
    run_twice(store, 91)
    (found,) = find_versions(store, PIPELINE, "scores", DAY)
    with pytest.raises(UsageError, match="no older version"):
        found.choose("previous")


def test_published_data_without_a_pointer_goes_and_tables_are_left(store):
    """A partition that was never committed is marked, then deleted; one with a pointer stays."""
    add_version(store, 1, **ENDED)
    add_version(store, 2, member="eu", **ENDED)
    data = f"data/{PIPELINE}"
    kept = {
        f"{data}/scores/partition={DAY}/scores.parquet",
        f"{data}/table/_delta_log/0.json",
        f"{data}/table/partition=2013-03-09/a.parquet",
        "data/other/scores/partition=2013-03-09/a.parquet",
    }
    gone = f"{data}/scores/partition=2013-03-09"
    for key in {*kept, f"{gone}/scores.parquet", f"{gone}/_published"}:
        store.write(key, b"x")
    assert run_gc(store, 0.9) == {}
    assert run_gc(store, 2) == {gone: Fate.MARKED}
    assert run_gc(store, 2) == {gone: Fate.DELETED}
    assert (set(keys_below(store, "data")), doomed(store)) == (kept, {})


def test_published_data_that_is_needed_again_loses_its_mark(store):
    """A mark goes where a pointer stands for the data again, and where the data is gone."""
    data = f"data/{PIPELINE}/scores"
    needed, gone = f"{data}/partition={DAY}", f"{data}/partition=2013-03-09"
    other = "data/other/scores/partition=2013-03-09"
    for prefix in (needed, gone, other):
        store.write(f"{prefix}/scores.parquet", b"x")
        doom(store, prefix, "no pointer", by="an earlier gc")
    add_version(store, 1, **ENDED)
    store.delete(f"{gone}/scores.parquet")
    assert run_gc(store, 2, acts=False) == {needed: Fate.TO_ABSOLVE, gone: Fate.TO_ABSOLVE}
    run_gc(store, 2)
    assert list(doomed(store)) == [other], "a pipeline without rules is left alone"
    assert store.read(f"{needed}/scores.parquet")


def test_a_mark_on_code_that_is_gone_is_taken_away(store):
    """A gc that was stopped between the bundle and its mark leaves no mark for ever."""
    key = f"code/{'0' * 64}.tar.gz"
    doom(store, key, "no attempt names it", by="a gc that was stopped")
    assert run_gc(store, 2) == {key: Fate.ABSOLVED}
    assert doomed(store) == {}


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=1), "1s"),
        (timedelta(seconds=0.5), "0.5s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=36), "36h"),
        (timedelta(days=90), "90d"),
    ],
)
def test_ages_are_told_as_they_are_written(span, told):
    """Whatever the rule, its age is told in the largest unit of which it is a whole number."""
    assert in_days(span) == told
    assert parse_duration(told) == span if span else True


def begin_attempt(store, bundle) -> None:
    """Let an attempt begin: its record names the bundle, and then it looks for that."""
    add_version(store, 1, code=code_of(bundle.sha256), **ENDED)
    keep_bundle(store, bundle)


class Overtaken:
    """A store in which something happens right before, or after, one of gc's calls."""

    def __init__(self, store, happen, *, at: str = "", number: int = -1, is_after: bool = False):
        self.store, self.happen, self.at, self.number = store, happen, at, number
        self.is_after, self.calls = is_after, []

    def __getattr__(self, name):
        method = getattr(self.store, name)

        def call(*given, **options):
            told = " ".join([name, *given[:1]])
            is_first = told not in self.calls
            is_here = (told == self.at and is_first) or len(self.calls) == self.number
            self.calls.append(told)
            if is_here and not self.is_after:
                self.happen()
            answer = method(*given, **options)
            answer = list(answer) if name == "list" else answer
            if is_here and self.is_after:
                self.happen()
            return iter(answer) if name == "list" else answer

        return call if name in CALLS else method


def leave_marked_bundle(store, folder):
    """Leave a bundle that nobody names, and that a gc has marked."""
    (folder / "n.py").write_text("x = 1")
    bundle = pack({"n.py": folder / "n.py"})
    keep_bundle(store, bundle)
    assert run_gc(store, 2) == {bundle.key: Fate.MARKED}
    return bundle


def test_code_that_is_named_while_a_gc_looks_stays(tmp_path):
    """Whenever an attempt begins behind the gc's back, the bundle that it names is there."""
    quiet = Overtaken(open_store("quiet", base=tmp_path), list)
    bundle = leave_marked_bundle(quiet.store, tmp_path)
    assert run_gc(quiet, 3) == {bundle.key: Fate.DELETED}
    assert f"delete {bundle.key}" in quiet.calls
    for number, call in enumerate(quiet.calls):
        store = open_store(str(number), base=tmp_path)
        leave_marked_bundle(store, tmp_path)
        run_gc(Overtaken(store, partial(begin_attempt, store, bundle), number=number), 3)
        assert keys_below(store, "code") == [bundle.key], call
        run_twice(store, 4)
        assert keys_below(store, "code") == [bundle.key], call


@pytest.mark.parametrize("is_after", [False, True])
def test_code_that_is_found_in_the_moment_of_its_deletion_is_put_back(store, tmp_path, is_after):
    """An attempt that finds its bundle keeps it, though gc deletes it right then."""
    bundle = leave_marked_bundle(store, tmp_path)
    happen = partial(begin_attempt, store, bundle)
    overtaken = Overtaken(store, happen, at=f"delete {bundle.key}", is_after=is_after)
    assert run_gc(overtaken, 3) == {bundle.key: Fate.ABSOLVED}
    assert fetch(store, bundle.sha256) is not None
    assert doomed(store) == {}


def test_code_is_put_back_where_nobody_can_tell_who_needs_it(store, tmp_path):
    """Where a new record cannot be read, or none can be listed, the bundle stays."""
    bundle = leave_marked_bundle(store, tmp_path)
    damage = partial(store.write, f"{prefix_of(1)}/record.json", b"{half")
    overtaken = Overtaken(store, damage, at=f"delete {bundle.key}")
    assert run_gc(overtaken, 3)[bundle.key] is Fate.ABSOLVED
    assert keys_below(store, "code") == [bundle.key]


def test_code_is_put_back_where_the_records_cannot_be_listed(tmp_path):
    """A store that fails in between gets its bundle back as soon as it answers."""
    store = open_store("store", base=tmp_path)
    bundle = leave_marked_bundle(store, tmp_path)
    fails_then = FaultyStore(store, Fault("list runs #3", "before", "raise"))
    assert run_gc(fails_then, 3) == {bundle.key: Fate.ABSOLVED}
    assert keys_below(store, "code") == [bundle.key]


def test_many_bundles_are_deleted_some_at_a_time():
    """No more than 64 MiB of what may have to be put back is in memory, but for a larger one."""
    sizes = [60, 3, 2, 70, 64, 1]
    entries = [Entry(str(mib), mib << 20, datetime.now(UTC)) for mib in sizes]
    assert [[int(one.key) for one in some] for some in batches(entries)] == [
        [60, 3], [2], [70], [64], [1],
    ]  # fmt: skip
