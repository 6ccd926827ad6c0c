"""The inputs of a replay are those that the record names, byte for byte, and no others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nightmill.errors import InputError, NightmillError, StoreError
from nightmill.replay.pinned import pin_inputs
from nightmill.spec.graph import InputSource
from nightmill.spec.record import AttemptState, Record
from nightmill.step.outputs import DeclaredOutput
from nightmill.step.staging import describe_inputs
from nightmill.store.inputs import resolve_inputs
from nightmill.store.keys import RECORD, attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit, describe_outputs
from tests.faulty_store import Fault, FaultyStore

DAYS = ("2013-03-01", "2013-03-02", "2013-03-03")


@pytest.fixture
def target(tmp_path):
    """Open the empty store of a replay."""
    return open_store("target", base=tmp_path)


@pytest.fixture
def make(store, tmp_path):
    """Return a function that commits outputs of a step as an attempt does."""
    orders = iter(range(1, 100))

    def commit_outputs(day, contents, step="make", member=""):
        order = next(orders)
        run = f"run:{order}"
        prefix = attempt_prefix("p", day, run, step, 1, member=member)
        outputs = {}
        for name, files in contents.items():
            folder = tmp_path / "scratch" / run / name
            declared = DeclaredOutput(
                name, "part/" if len(files) > 1 else next(iter(files)), folder
            )
            declared.prepare()
            base = declared.address if declared.is_folder else folder
            for path, content in files.items():
                (base / path).write_text(content)
            outputs[name] = declared.upload(store, prefix)
        record = _record(step, day, run, order, member).model_copy(
            update={"outputs": describe_outputs(store, outputs)}
        )
        store.write(f"{prefix}/{RECORD}", record.to_json())
        token = Token(order=order, attempt=1)
        commit(
            store,
            Pointer(
                pipeline="p", step=step, partition=day, member=member, run=run, token=token,
                attempt_prefix=prefix, outputs=outputs,
            ),
        )  # fmt: skip
        return run

    return commit_outputs


def _record(step, day, run, order, member=""):
    return Record(
        pipeline="p", step=step, partition=day, as_of=day, run=run, order=order, attempt=1,
        member=member, state=AttemptState.SUCCEEDED, started_at=datetime.now(UTC), nightmill="0",
        host="h", store="s", parameters={},
    )  # fmt: skip


def source(parameter, version="same_partition", *, output="data", step="make", **options):
    """Describe an input as pipeline.yaml would."""
    return InputSource(parameter, "p", step, output, version, inclusive=False, **options)


def read(store, sources, day=DAYS[1]):
    """Return the record of a step that resolved these inputs on a day."""
    found = resolve_inputs(store, sources, day)
    return _record("read", day, "r", 99).model_copy(
        update={"inputs": describe_inputs(store, found)}
    )


def contents(store, resolved):
    """Read all files of resolved inputs, by name, member and path."""
    return {
        (name, member, file.path): store.read(f"{version.output.prefix}/{file.path}").data.decode()
        for name, one in resolved.items()
        for member, version in (one.versions.items() if one else ())
        for file in version.output.files
    }


def test_the_versions_of_then_are_read_whatever_came_since(store, target, make):
    """Newer runs of the same day and newer days change nothing of what a replay reads."""
    for day in DAYS[:2]:
        make(day, {"data": {"a.txt": f"old {day}"}, "model": {"m.bin": f"model {day}"}})
    wanted = [
        source("data"),
        source("before", "previous_partition"),
        source("model", "latest_before_partition", output="model"),
        source("newest", "latest", output="model"),
    ]
    record = read(store, wanted)
    for day in DAYS:
        make(day, {"data": {"a.txt": "new"}, "model": {"m.bin": "new"}})
    pin_inputs(record, store, target)
    found = resolve_inputs(target, wanted, DAYS[1])
    assert contents(target, found) == {
        ("data", "", "a.txt"): "old 2013-03-02",
        ("before", "", "a.txt"): "old 2013-03-01",
        ("model", "", "m.bin"): "model 2013-03-01",
        ("newest", "", "m.bin"): "model 2013-03-02",
    }
    assert {
        name: (one.run, one.attempt, one.files)
        for name, one in describe_inputs(target, found).items()
    } == {name: (one.run, one.attempt, one.files) for name, one in record.inputs.items()}


def test_members_folders_and_what_was_not_there(store, target, make):
    """Each member's version is pinned, folders keep their files, and none stays none."""
    for member in ("a", "b"):
        make(DAYS[0], {"parts": {"x.txt": f"x{member}", "y.txt": "y"}}, "many", member)
    wanted = [
        source("parts", "latest", output="parts", step="many", members=("a", "b")),
        source("never", "previous_partition", step="later", optional=True),
    ]
    record = read(store, wanted)
    make(DAYS[0], {"data": {"a.txt": "1"}}, "later")
    pin_inputs(record, store, target)
    found = resolve_inputs(target, wanted, DAYS[1])
    assert found["never"] is None
    assert contents(target, found) == {
        ("parts", "a", "x.txt"): "xa",
        ("parts", "a", "y.txt"): "y",
        ("parts", "b", "x.txt"): "xb",
        ("parts", "b", "y.txt"): "y",
    }
    assert found["parts"].versions["a"].output.kind == "directory"


def test_what_a_replay_does_to_its_inputs_harms_nobody(store, target, make):
    """The bytes are copies: the originals stay, even where a notebook writes over its input."""
    make(DAYS[1], {"data": {"a.txt": "kept"}})
    record = read(store, [source("data")])
    pin_inputs(record, store, target)
    found = resolve_inputs(target, [source("data")], DAYS[1])
    copy = target.local_path(found["data"].versions[""].output.key)
    assert copy.stat().st_mode & 0o222 == 0
    copy.chmod(0o600)
    copy.write_text("spoilt")
    original = resolve_inputs(store, [source("data")], DAYS[1])
    assert list(contents(store, original).values()) == ["kept"]


def spoil(store, record):
    """Change the bytes of an input behind the store's back."""
    key = f"{_attempt(record)}/outputs/data/a.txt"
    store.delete(key)
    store.write(key, b"kepT")


def lose(store, record):
    """Remove the bytes of an input."""
    store.delete(f"{_attempt(record)}/outputs/data/a.txt")


def forget(store, record):
    """Remove the record of the attempt that made an input."""
    store.delete(f"{_attempt(record)}/{RECORD}")


def _attempt(record):
    return attempt_prefix("p", DAYS[1], record.inputs["data"].run, "make", 1)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (spoil, "other bytes than those that were committed"),
        (lose, "not there any more"),
        (forget, "no record any more"),
    ],
)
def test_bytes_that_are_not_there_any_more_are_an_error(store, target, make, harm, words):
    """Inputs are compared with the hashes of the record: damaged, lost or unknown ones stop it."""
    make(DAYS[1], {"data": {"a.txt": "kept"}})
    record = read(store, [source("data")])
    harm(store, record)
    with pytest.raises(InputError, match=words) as caught:
        pin_inputs(record, store, target)
    assert "input data" in caught.value.where


def test_a_store_that_fails_is_no_input_that_is_gone(store, target, make):
    """An input that is there and cannot be read now is the store's fault, and told as that."""
    make(DAYS[1], {"data": {"a.txt": "kept"}})
    record = read(store, [source("data")])
    dry = FaultyStore(store)
    pin_inputs(record, dry, target)
    (call,) = (call for call in dry.calls if call.startswith("get_file"))
    failing = FaultyStore(store, Fault(call, "before", "raise"))
    with pytest.raises(StoreError, match="planted with a fault"):
        pin_inputs(record, failing, target)


def test_two_versions_of_one_day_cannot_be_pinned(store, target, make):
    """A record that saw a commit between two of its inputs is refused, not read wrongly."""
    make(DAYS[1], {"data": {"a.txt": "1"}})
    first = read(store, [source("data")])
    make(DAYS[1], {"data": {"a.txt": "2"}})
    second = read(store, [source("again")])
    both = first.model_copy(update={"inputs": {**first.inputs, **second.inputs}})
    with pytest.raises(NightmillError, match="reads two versions"):
        pin_inputs(both, store, target)


def test_an_address_that_no_attempt_has_is_an_error(store, target, make):
    """A record that was written by hand is not guessed at."""
    make(DAYS[1], {"data": {"a.txt": "1"}})
    record = read(store, [source("data")])
    odd = record.inputs["data"].model_copy(update={"address": "s3://elsewhere/a.txt"})
    with pytest.raises(InputError, match="no attempt keeps outputs there"):
        pin_inputs(record.model_copy(update={"inputs": {"data": odd}}), store, target)
