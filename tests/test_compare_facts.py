"""What two records tell, held against each other, and what their cells took."""

from __future__ import annotations

import hashlib
import json

import pytest

from nightmill.causes import Cause
from nightmill.review.compare import facts
from nightmill.review.compare.compare import Side, bundle_files, compare
from nightmill.review.compare.model import Change, Comparison
from nightmill.spec.record import (
    AttemptState,
    CellRecord,
    CheckResult,
    Code,
    Failure,
    FileRecord,
    InputRecord,
    KernelRecord,
    Memory,
    OutputRecord,
)
from nightmill.store.bundle import pack
from tests.compared import code, record, side


def told(found):
    """Tell each fact that differs by its name, both sides and note."""
    return {one.name: (one.before, one.after, one.note) for one in found.shown}


def between(old, new, **options):
    """Compare two records alone."""
    return compare(Side(record(**old), ()), Side(record(**new), ()), **options)


def file(name, text="a", size=10):
    """Describe a file that holds some text."""
    return FileRecord(
        path=name, size=size, sha256=hashlib.sha256(text.encode()).hexdigest(), etag=""
    )


# -- metrics and parameters -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (0.8, 0.85, ("0.8000", "0.8500", "+0.05000 (+6.25%)")),
        (200, 150, ("200", "150", "-50 (-25.00%)")),
        (0, 3, ("0", "3", "+3")),
        (1, 1000, ("1", "1,000", "+999")),
        (-2.0, -1.0, ("-2.000", "-1.000", "+1.000 (+50.00%)")),
        ("a", "b", ("a", "b", "")),
        (1, True, ("1", "true", "")),
        (1.0, "NaN", ("1.000", "NaN", "")),
        ([1, 2], [1, 3], ("[1, 2]", "[1, 3]", "")),
        (10**400, 1, ("1000", "1", "")),
    ],
)
def test_a_metric_that_changed(old, new, expected):
    """Of numbers the difference and its size beside the earlier are told, of others both values."""
    (found,) = between({"metrics": {"m": old}}, {"metrics": {"m": new}}).metrics.shown
    before, after, note = expected
    assert (found.before[:4], found.after, found.note) == (before[:4], after, note)
    assert (found.difference is None) == (not note)


def test_metrics_that_came_or_went_or_stayed():
    """What only one side has is told as such, and what is equal is counted."""
    found = between(
        {"metrics": {"a": 1, "b": 2, "n": None}}, {"metrics": {"b": 2, "c": 3, "n": None}}
    )
    assert [(one.name, one.change) for one in found.metrics.shown] == [
        ("c", Change.ADDED),
        ("a", Change.REMOVED),
    ]
    assert found.metrics.same == 2
    everything = between({"metrics": {"b": 2}}, {"metrics": {"b": 2}}, whole=True)
    assert told(everything.metrics) == {"b": ("2", "2", "")}


def test_a_difference_in_the_digits_that_are_not_shown():
    """Values that look alike in short are shown whole where they differ."""
    found = between({"metrics": {"m": 0.81234567}}, {"metrics": {"m": 0.81234568}})
    (before, after, note) = told(found.metrics)["m"]
    assert (before, after) == ("0.81234567", "0.81234568")
    assert note.startswith("+1.")
    old, new = ("x" * 500 + tail for tail in ("a", "b"))
    (before, after, _) = told(between({"metrics": {"m": old}}, {"metrics": {"m": new}}).metrics)[
        "m"
    ]
    assert (before[-1], after[-1]) == ("a", "b")


def test_addresses_of_data_are_no_parameters():
    """Every run has its own addresses for inputs and outputs: those are told elsewhere."""
    old = {
        "day": "2013-01-01",
        "top": 5,
        "rows": "/store/1/rows.parquet",
        "model": "/tmp/1/outputs/model",
    }
    new = {
        "day": "2013-01-02",
        "top": 5,
        "rows": "/store/2/rows.parquet",
        "model": "/tmp/2/outputs/model",
    }
    found = between(
        {"parameters": old, "inputs": {"rows": None}}, {"parameters": new, "inputs": {"rows": None}}
    )
    assert told(found.parameters) == {"day": ("2013-01-01", "2013-01-02", "")}
    assert found.parameters.same == 1


def test_what_is_told_is_inert_and_short():
    """A name or value of a notebook can move, colour or reorder nothing."""
    nasty = {"\u202eevil\n": "\x1b[31m" + "y" * 900}
    ((name, (_before, after, _note)),) = told(between({}, {"metrics": nasty}).metrics).items()
    assert name.isprintable()
    assert after.isprintable()
    assert len(after) < 300


# -- the rest of the records ----------------------------------------------------------------------


def test_the_outcome_of_a_failure():
    """How it ended, why, and where are told beside how it went before."""
    failure = Failure(cause=Cause.OUT_OF_MEMORY, message="7.9 of 8.0 GiB", cell=4)
    new = {"state": AttemptState.FAILED, "committed": False, "failure": failure, "pool": "highmem"}
    found = told(between({"pool": "highcpu"}, new).outcome)
    assert found == {
        "state": ("succeeded", "failed", ""),
        "cause": (None, "out_of_memory in cell 4", ""),
        "message": (None, "7.9 of 8.0 GiB", ""),
        "committed": ("yes", "no", ""),
        "node pool": ("highcpu", "highmem", ""),
    }


def source(notebook="n1", commit="c" * 40, *, dirty=False, **modules):
    """Describe what ran."""
    return Code(
        notebook="notebooks/p/s.ipynb", notebook_sha256=notebook, modules=modules,
        git_commit=commit, git_dirty=dirty, image=None,
    )  # fmt: skip


def test_source_files_are_told_by_name_and_hash(tmp_path):
    """Which files changed is told with those only the bundle knows, but never what they say."""
    bundles = []
    for tag in ("old", "new"):
        (tmp_path / tag).write_text(f"password: {tag}")
        bundles.append(bundle_files(pack({"notebooks/p/pipeline.yaml": tmp_path / tag})))
    assert bundles[0] == {"notebooks/p/pipeline.yaml": hashlib.sha256(b"password: old").hexdigest()}
    old = source(**{"notebooks/a.py": "h1", "notebooks/b.py": "h2"})
    new = source("n2", **{"notebooks/a.py": "h1", "notebooks/c.py": "h3"})
    found = list(facts.code(old, new, bundles=(bundles[0], bundles[1])))
    assert {one.name: one.change.value for one in found} == {
        "git commit": "same",
        "notebooks/p/s.ipynb": "changed",
        "notebooks/p/pipeline.yaml": "changed",
        "notebooks/a.py": "same",
        "notebooks/b.py": "removed",
        "notebooks/c.py": "added",
    }
    assert "password" not in "".join(one.model_dump_json() for one in found)


def test_a_commit_with_changes_is_another():
    """The same commit with edits that nobody committed is not the same code."""
    found = told(between({"code": source()}, {"code": source(dirty=True)}).code)
    assert found["git commit"][1] == "cccccccccccc and changes that were not committed"


def kernel(python="3.11.7", lock="l1", **libraries):
    """Describe an environment."""
    return KernelRecord(
        name="tabular", lock_sha256=lock, python=python, libraries=libraries, threads=2,
        threads_from="cgroup",
    )  # fmt: skip


def test_the_environment_by_library():
    """Libraries are told by name and version, one by one; equal ones are counted."""
    old, new = kernel(a="1", b="1", c="1"), kernel("3.11.8", "l2", a="1", b="2", d="1")
    found = between({"kernel": old, "nightmill": "1"}, {"kernel": new, "nightmill": "2"})
    assert told(found.environment) == {
        "Nightmill": ("1", "2", ""),
        "Python": ("3.11.7", "3.11.8", ""),
        "kernel's lock": ("l1", "l2", ""),
        "b": ("1", "2", ""),
        "c": ("1", None, ""),
        "d": (None, "1", ""),
    }
    assert found.environment.same == 4  # image, kernel's name, threads, library a


def read_input(run, text):
    """Describe the version that an input was resolved to."""
    return InputRecord(
        pipeline="p", output="o", partition="2013-01-01", run=run, attempt=1, address="x",
        files=(file("f", text),),
    )  # fmt: skip


def test_other_versions_of_inputs():
    """Another version is told, and whether it even has other bytes."""
    old = {"a": read_input("r1", "x"), "b": read_input("r1", "x"), "c": None}
    new = {"a": read_input("r2", "x"), "b": read_input("r2", "y"), "c": None}
    found = told(between({"inputs": old}, {"inputs": new}).inputs)
    versions = tuple(f"2013-01-01, run r{at}, attempt 1" for at in (1, 2))
    assert found == {"a": (*versions, "equal bytes"), "b": (*versions, "")}


def made(text, size):
    """Describe an output of one file."""
    return OutputRecord(kind="file", address="x", size=size, files=(file("f", text, size),))


def checked(state, rows=None, message="", observed=""):
    """Tell how the check of the rows ended."""
    return CheckResult(
        output="o", check="rows", state=state, message=message, observed=observed, duration_s=0.1,
        profile=None if rows is None else {"rows": rows},
    )  # fmt: skip


def test_outputs_by_bytes_sizes_and_rows():
    """Equal hashes are the same output whatever its address; others are told with their growth."""
    old = {
        "outputs": {"o": made("x", 1000), "same": made("y", 5)},
        "checks": (checked("passed", 90),),
    }
    new = {
        "outputs": {"o": made("z", 1500), "same": made("y", 5)},
        "checks": (checked("passed", 120),),
    }
    found = between(old, new)
    sizes = ("90 rows, 1000 B", "120 rows, 1.5 KiB", "other bytes, +50.0%")
    assert told(found.outputs) == {"o": sizes}
    assert found.outputs.same == 1
    assert told(between(old, {"outputs": {}}).outputs)["o"][1] is None


def test_checks_whose_end_changed():
    """A check is told when it ends in another way, with what it found."""
    old, new = checked("passed", observed="90"), checked("failed", message="no rows")
    found = between({"checks": (old,)}, {"checks": (new,)}).checks
    assert told(found) == {"o: rows": ("passed: 90", "failed: no rows", "")}
    assert (
        between({"checks": (old,)}, {"checks": (checked("passed", observed="7"),)}).checks.same == 1
    )


# -- time and memory ------------------------------------------------------------------------------


def cost(number, duration, peak=None):
    """Tell what a cell took."""
    return CellRecord(
        number=number, title=f"cell {number}", state="completed", duration_s=duration,
        peak_memory_bytes=peak,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "notable"),
    [
        (10.0, 13.0, True),
        (10.0, 12.0, False),
        (0.1, 0.9, False),
        (10.0, 7.0, True),
        (0.0, 2.0, True),
        (None, 5.0, False),
    ],
)
def test_a_cell_that_took_longer_is_notable_by_a_quarter_and_a_second(old, new, notable):
    """Small spans vary, and large ones by a little: neither is worth a look."""
    before = side([code("x", number=3)], cells=(cost(3, old),))
    after = side([code("x", number=3)], cells=(cost(3, new),))
    assert len(compare(before, after).costs) == notable
    (found,) = compare(before, after, whole=True).costs
    assert (found.number, found.duration.before, found.duration.after) == (3, old, new)
    assert found.duration.ratio == (new / old if old else None)


def test_the_cell_that_holds_the_parameters_costs_nothing():
    """What papermill injects has the number of the parameters cell, and is none of the author's."""
    both = [(cost(1, took), cost(1, 50.0).model_copy(update={"injected": True})) for took in (1, 9)]
    sides = [side([code("x", number=1)], cells=one) for one in both]
    (found,) = compare(sides[0], sides[1]).costs
    assert (found.duration.before, found.duration.after) == (1, 9)


def test_cells_take_their_costs_along():
    """A cell that got another number is held against itself."""
    before = side([code("x", number=1)], cells=(cost(1, 1.0, 100 << 20),), duration_s=10.0,
                  memory=Memory(peak_bytes=100 << 20, limit_bytes=None))  # fmt: skip
    after = side(
        [code("import os", number=1), code("x", number=2)],
        cells=(cost(1, 9.0), cost(2, 1.0, 300 << 20)), duration_s=11.0,
        memory=Memory(peak_bytes=300 << 20, limit_bytes=None),
    )  # fmt: skip
    found = compare(before, after)
    assert [(one.number, one.memory.ratio) for one in found.costs] == [(2, 3.0)]
    assert (found.total.duration.notable, found.total.memory.notable) == (False, True)


def test_a_comparison_is_plain_json():
    """What a page shows can be read by a program, and read back as the same model."""
    found = compare(
        side([code("a")], metrics={"m": 1}),
        side([code("b")], metrics={"m": "NaN", "x": float("1")}),
    )
    plain = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert Comparison.model_validate_json(plain) == found
