"""What the cells print and show, within the budget of a notebook."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbformat import v4

from nightmill.step import cell_outputs
from nightmill.step.cell_outputs import NotebookOutputs
from nightmill.step.cell_states import CellLedger
from nightmill.step.redaction import Redactor
from nightmill.step.spill import SpillTo

SECRET = "hunter2-hunter2-hunter2"


class Desk:
    """A notebook of three cells, its outputs, and all that was heard of them."""

    def __init__(self, folder):
        self.nb = v4.new_notebook(cells=[v4.new_code_cell(text) for text in "abc"])
        self.events, self.changed = [], set()
        CellLedger(self.nb, None).start()
        self.outputs = NotebookOutputs(
            self.nb,
            Redactor({"TOKEN": SECRET}),
            spill_to=SpillTo(folder, "s3://b") if folder else None,
            listener=self.events.append,
            changed=self.changed.add,
        )

    def print(self, text, name="stdout", cell=0):
        """Print in a cell."""
        self.outputs.print(cell, name, text)

    def show(self, text="", *, cell=0, display_id=None, **kinds):
        """Display in a cell; kinds are named with an underscore for the slash."""
        data = {kind.replace("_", "/"): value for kind, value in kinds.items()}
        if text or not data:
            data["text/plain"] = text
        made = v4.new_output("display_data", data=nbformat.from_dict(data))
        self.outputs.show(cell, made, display_id)

    def fail(self, cell=0):
        """Raise in a cell."""
        made = v4.new_output("error", ename="E", evalue="e", traceback=["t"])
        self.outputs.show(cell, made)

    def update(self, display_id, text):
        """Update a display."""
        made = v4.new_output("display_data", data=nbformat.from_dict({"text/plain": text}))
        self.outputs.update(display_id, made)

    def seen(self, cell=0):
        """Tell what a reader sees in the cell: streams by name, others as plain text."""
        self.outputs.settle()
        return [
            (each.name, each.text)
            if each.output_type == "stream"
            else each.get("ename") or each.data["text/plain"]
            for each in self.nb.cells[cell].outputs
        ]

    @property
    def size(self):
        """Tell the bytes of the notebook."""
        return len(json.dumps(self.nb, ensure_ascii=False).encode())


@pytest.fixture
def desk(tmp_path):
    """Make a notebook whose large outputs are spilled."""
    desk = Desk(tmp_path)
    yield desk
    desk.outputs.close()


def test_neighbours_merge_and_the_order_against_pictures_stays(desk):
    """What was printed before a picture stays before it, and streams stay apart by name."""
    for text in ("a", "b\n"):
        desk.print(text)
    desk.show("picture")
    desk.print("c\n")
    desk.print("d\n", "stderr")
    desk.print("e\n")
    assert desk.seen() == [
        ("stdout", "ab\n"),
        "picture",
        ("stdout", "c\n"),
        ("stderr", "d\n"),
        ("stdout", "e\n"),
    ]


def test_a_progress_bar_is_one_output_while_others_print(desk):
    """A bar on stderr among prints on stdout is redrawn where it stands: two outputs, no more."""
    for number in range(100):
        desk.print(f"\r{number + 1}% of it ", "stderr")
        desk.print(f"step {number}\n")
    desk.print("\n", "stderr")
    desk.outputs.close()
    steps = "".join(f"step {number}\n" for number in range(100))
    assert desk.seen() == [("stderr", "100% of it \n"), ("stdout", steps)]


def test_a_reader_sees_an_unfinished_cell(desk):
    """What was printed so far is in the notebook at each save, and only what changed is told."""
    desk.print("half a line ")
    assert desk.seen() == [("stdout", "half a line ")]
    assert desk.changed == {0}
    desk.changed.clear()
    desk.outputs.settle()
    assert desk.changed == set()


def test_a_large_picture_is_spilled_once_the_cell_has_ended(desk, tmp_path):
    """The note, the cell's metadata and the event name the same file."""
    desk.show("<Figure>", image_png="iVBORw0KGgo=" + "A" * 8_000_000)
    desk.outputs.close()
    size = (tmp_path / "cell-1-1.png").stat().st_size
    assert desk.events == [{"event": "spilled", "number": 1, "file": "cell-1-1.png", "size": size}]
    assert desk.nb.cells[0].metadata["nightmill"]["spilled"] == [
        {"address": "s3://b/cell-1-1.png", "size": size}
    ]
    assert desk.seen()[0].endswith("s3://b/cell-1-1.png]\n<Figure>")
    desk.outputs.close()
    assert len(desk.events) == 1


def test_the_notebook_stays_openable(desk):
    """However many large outputs come, the notebook stays within its budget."""
    for number in range(3):
        for cell in range(3):
            desk.print("x" * 999_999 + "\n", cell=cell)
            desk.show(text_html=f"{number}" + "y" * 4_000_000, cell=cell)
    desk.outputs.close()
    assert desk.size < cell_outputs.NOTEBOOK_BYTES + 500_000


def test_a_late_cell_can_still_say_something(desk, monkeypatch):
    """When the budget is spent, a later cell has room for some lines, and always for its error."""
    monkeypatch.setattr(cell_outputs, "NOTEBOOK_BYTES", 100_000)
    for number in range(50):
        desk.show(text_html=f"{number}" + "y" * 5_000)
    desk.print("short\n", cell=2)
    desk.print("z" * 500_000, cell=2)
    desk.fail(cell=2)
    assert desk.seen(2)[0][1].startswith("short\n")
    assert desk.seen(2)[-1] == "E"
    assert desk.size < 200_000


def test_too_many_outputs_are_left_out_and_kept_in_one_file(desk, tmp_path):
    """Ten thousand displays are no ten thousand elements of a page; none is lost, nor the error."""
    for number in range(1500):
        desk.show(f"{number} {SECRET}")
    desk.fail()
    desk.outputs.close()
    seen = desk.seen()
    assert len(seen) == 1002
    assert seen[-2] == (
        "[Nightmill left out 500 more outputs here; the whole: s3://b/cell-1-1.jsonl]"
    )
    kept = [json.loads(line) for line in (tmp_path / "cell-1-1.jsonl").read_text().splitlines()]
    assert [one["data"]["text/plain"] for one in kept] == [
        f"{number} [redacted: TOKEN]" for number in range(1000, 1500)
    ]


def test_streams_that_alternate_endlessly_are_two_outputs_in_the_end(desk):
    """Lines on stdout and stderr in turn are kept apart as long as that can be looked at."""
    for number in range(2000):
        desk.print(f"{number}\n")
        desk.print(f"{number}\n", "stderr")
    seen = desk.seen()
    assert len(seen) == 1000
    assert sum(text.count("\n") for _name, text in seen) == 4000


def test_a_display_is_updated_wherever_it_is(desk):
    """An update reaches the displays of its name in earlier cells, and no other output."""
    desk.print("before")
    desk.show("old", display_id="bar")
    desk.show("old", cell=1, display_id="bar")
    desk.show("other", cell=1)
    desk.changed.clear()
    desk.update("bar", "new")
    desk.update("nobody", "x")
    assert desk.changed == {0, 1}
    assert (desk.seen(0)[1], desk.seen(1)) == ("new", ["new", "other"])


def test_updates_of_a_large_display_leave_one_file(desk, tmp_path):
    """A display that is updated again and again leaves only its last state on the disk."""
    desk.show("a" * 6_000_000, display_id="table")
    for letter in "bcd":
        desk.update("table", letter * 6_000_000)
    desk.outputs.close()
    (file,) = tmp_path.iterdir()
    assert file.read_text()[0] == "d"
    assert [event["file"] for event in desk.events] == [file.name]
    desk.update("table", "small")
    desk.outputs.close()
    assert (list(tmp_path.iterdir()), desk.seen()) == ([], ["small"])
    assert desk.nb.cells[0].metadata["nightmill"]["spilled"] == []


def test_clearing_takes_everything_away(desk, tmp_path):
    """Cleared outputs leave neither text nor files, and later updates do not find them."""
    desk.print("x" * 2_000_000)
    desk.show("shown", display_id="d")
    desk.outputs.clear(0, wait=False)
    desk.update("d", "new")
    assert desk.seen() == []
    assert list(tmp_path.iterdir()) == []
    desk.print("after\n")
    assert desk.seen() == [("stdout", "after\n")]


def test_clearing_can_wait_for_the_next_output(desk):
    """With wait, the old output stays until there is a new one: no flicker, and no empty cell."""
    desk.print("old\n")
    desk.outputs.clear(0, wait=True)
    assert desk.seen() == [("stdout", "old\n")]
    desk.show("new")
    assert desk.seen() == ["new"]


def test_a_loop_that_clears_gives_its_room_back(desk):
    """Hundreds of megabytes shown and cleared one after the other cut nothing."""
    for number in range(30):
        desk.outputs.clear(0, wait=True)
        desk.show(text_html=f"{number}" + "y" * 4_000_000, text_plain="table")
    assert "text/html" in desk.nb.cells[0].outputs[0].data


def test_a_disk_that_is_full_is_a_warning(desk, monkeypatch):
    """A file that could not be kept is told to the reviewer, once."""

    def full(_self, _name):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nightmill.step.spill.Spills.open", full)
    desk.print("x" * 2_000_000)
    for _ in range(2):
        desk.outputs.close()
    assert [event["event"] for event in desk.events] == ["warning"]
    assert "No space left on device" in desk.events[0]["text"]
    assert "could not be kept" in desk.seen()[0][1]


def test_the_last_line_of_all(desk):
    """Whoever watches hears the last line that any cell printed."""
    assert desk.outputs.last_line() == ""
    desk.print("one\n")
    desk.print("two\n", "stderr", cell=1)
    assert desk.outputs.last_line() == "two"


def test_without_a_place_for_files_the_notebook_stays_openable():
    """Plain papermill cuts as well, and says so without an address."""
    desk = Desk(None)
    desk.print("x" * 3_000_000)
    for number in range(1100):
        desk.show(str(number))
    desk.outputs.close()
    assert desk.seen()[-1] == "[Nightmill left out 101 more outputs here]"
    assert desk.size < 1_300_000
    assert desk.events == []
