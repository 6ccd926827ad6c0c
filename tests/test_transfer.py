"""Large uploads and downloads: what is told of them on the way, on both backends and in a run."""

from __future__ import annotations

import threading

import pytest

from nightmill.cli.display import LiveDisplay, PlainDisplay
from nightmill.cli.step_log import log_lines
from nightmill.run.status import StepState
from nightmill.step import staging
from nightmill.step.outputs import DeclaredOutput
from nightmill.step.transfer import LARGE_BYTES, Transfer
from nightmill.store.inputs import ResolvedInput, Version
from nightmill.store.pointer import Pointer, Token
from tests.test_cli_display import cell, screen, status
from tests.test_inputs import source

__all__ = ["screen"]  # a fixture

MIB = 1 << 20
SIZE = 40 * MIB  # five parts of S3
HALF = {"event": "upload", "output": "scores", "done": 5 * MIB, "of": 10 * MIB}


@pytest.mark.parametrize("of", [LARGE_BYTES, 10**12 + 1])
@pytest.mark.parametrize("chunks", [7, 1000])
def test_ten_events_whatever_the_size(of, chunks):
    """Told at most ten times, never backwards, and at last that all is done."""
    told = []
    transfer = Transfer("upload", "scores", of=of, listener=told.append)
    for number in range(chunks):
        transfer(of * (number + 1) // chunks - of * number // chunks)
    done = [event["done"] for event in told]
    assert done == sorted(set(done))
    assert len(done) == min(chunks, 10)
    assert told[-1] == {"event": "upload", "output": "scores", "done": of, "of": of}


def test_small_files_are_not_told():
    """What is over in a moment makes no line, and an empty output divides nothing by zero."""
    told = []
    Transfer("upload", "o", of=LARGE_BYTES - 1, listener=told.append)(LARGE_BYTES - 1)
    Transfer("download", "o", of=0, listener=told.append)(0)
    assert told == []


def test_a_part_that_is_sent_again_is_not_told_again():
    """A part that failed is taken back, and the events go on where they were."""
    told = []
    transfer = Transfer("download", "model", of=100 * MIB, listener=told.append)
    for count in (30, -30, 20, 20, 60):
        transfer(count * MIB)
    assert [event["done"] // MIB for event in told] == [30, 40, 100]
    assert told[0]["input"] == "model"


def test_parts_may_come_from_many_threads():
    """However many threads send parts, every byte is counted once."""
    told = []
    transfer = Transfer("upload", "o", of=80 * MIB, listener=told.append)
    threads = [
        threading.Thread(target=lambda: [transfer(MIB) for _ in range(10)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event["done"] for event in told] == [8 * MIB * n for n in range(1, 11)]


def test_an_output_and_an_input_on_their_way(store, tmp_path):
    """A large output is told while it is stored, and while it is fetched where it must be."""
    output = DeclaredOutput("scores", "parts/", tmp_path / "scratch")
    output.prepare()
    for name in ("a", "b"):
        (output.address / name).write_bytes(bytes(SIZE // 2))
    told = []
    made = output.upload(store, "runs/m/d/r/train/1", listener=told.append)
    assert {(event["event"], event["output"], event["of"]) for event in told} == {
        ("upload", "scores", SIZE)
    }
    assert told[-1]["done"] == SIZE
    assert 4 <= len(told) <= 10  # at least each part but the first of those that came together
    pointer = Pointer(
        pipeline="m",
        step="train",
        partition="d",
        run="r",
        token=Token(order=1, attempt=1),
        attempt_prefix="runs/m/d/r/train/1",
        outputs={"scores": made},
    )
    fetched = []
    resolved = ResolvedInput(source(output="scores"), {"": Version(pointer, made)})
    staging.stage(store, resolved, tmp_path / "inputs", listener=fetched.append)
    if store.local_path("any"):
        assert fetched == []  # it is read where it lies
    else:
        assert fetched[-1] == {"event": "download", "input": "model", "done": SIZE, "of": SIZE}


def test_a_bar_while_it_lasts(screen):
    """A live row shows a bar and the bytes until all is done, then the cell again."""
    one = status(cell=cell("Join"))
    one.take(HALF)
    shown = screen(is_terminal=True)
    with LiveDisplay([one]):
        pass
    assert "█████░░░░░ storing scores: 5.0 of 10.0 MiB" in shown.getvalue()
    one.take({**HALF, "done": 10 * MIB})
    after = screen(is_terminal=True)
    with LiveDisplay([one]):
        pass
    assert "storing" not in after.getvalue()
    assert "Join" in after.getvalue()


def test_a_line_in_logs(screen):
    """Where nothing can be redrawn, and in a step's own log, each event is a line."""
    one, event = status(state=StepState.RUNNING), {**HALF, "event": "download", "input": "model"}
    del event["output"]
    shown = screen()
    for told in (HALF, event):
        PlainDisplay()(one, told)
    lines = ["storing scores: 5.0 of 10.0 MiB", "fetching model: 5.0 of 10.0 MiB"]
    assert shown.getvalue().splitlines() == [f"2013-03-01 features: {line}" for line in lines]
    assert log_lines(HALF) + log_lines(event) == lines
