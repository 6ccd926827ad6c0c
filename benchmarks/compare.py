"""What comparing two executed notebooks costs: seconds, memory and the size of what is told.

    .venv/bin/python benchmarks/compare.py

Each kind of notebook is compared in a process of its own, whose peak of memory counts beside that
of a process that has only read the earlier notebook's JSON. All bytes differ between the two.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nightmill.review.compare.compare import Side, compare  # noqa: E402 - above
from nightmill.review.compare.contents import read_cells  # noqa: E402 - above
from tests.compared import code, data, notebook, printed, record, shown  # noqa: E402 - above

Cells = list[dict[str, Any]]


def pictures(night: int) -> Cells:
    """Forty cells of a 300 KB PNG and a 100 KB SVG (case 41)."""
    chance = random.Random(night)  # noqa: S311 - any bytes do
    path = '<path d="M0 0L9 9"/>' * 5200
    return [
        code(
            f"plot({at})",
            data("image/png", b64encode(chance.randbytes(300_000)).decode()),
            data("image/svg+xml", f"<svg>{night}{path}</svg>"),
        )
        for at in range(40)
    ]


def many_cells(night: int) -> Cells:
    """Five thousand cells, each with another line of output."""
    return [code(f"x = {at}", printed(f"night {night}: {at}\n")) for at in range(5000)]


def long_texts(night: int) -> Cells:
    """Twenty cells that print a megabyte, with a difference in every tenth line."""
    lines = [f"row {at}: {'x' * 80} {night if at % 10 == 0 else ''}\n" for at in range(11_000)]
    return [code(f"show({at})", printed("".join(lines))) for at in range(20)]


def tables(night: int) -> Cells:
    """Make a hundred tables of sixty rows and twelve columns, half of the cells changed."""
    row = "".join(f"<td>{night if at % 2 else at}</td>" for at in range(12))
    body = "".join(f"<tr><th>{at}</th>{row}</tr>" for at in range(60))
    return [code(f"frame({at})", shown(text_html=f"<table>{body}</table>")) for at in range(100)]


def rewritten(night: int) -> Cells:
    """Two hundred cells of forty lines, in each of which every other line is another."""
    return [
        code("\n".join(f"y{at}_{line} = f({night if line % 2 else at})" for line in range(40)))
        for at in range(200)
    ]


KINDS: Mapping[str, Callable[[int], Cells]] = {
    kind.__name__: kind for kind in (pictures, many_cells, long_texts, tables, rewritten)
}


def measure(folder: Path, name: str) -> None:
    """Compare two notebooks of a folder, or only read one, and print what it took."""
    earlier, later = (folder / f"{night}.ipynb" for night in (1, 2))
    if name == "read":
        json.loads(earlier.read_bytes())
        print(_peak_mib())
        return
    began = time.perf_counter()
    sides = [Side(record(), read_cells(path.read_bytes())) for path in (earlier, later)]
    read_s = time.perf_counter() - began
    found = compare(sides[0], sides[1])
    took_s = time.perf_counter() - began
    told = len(found.model_dump_json()) >> 10
    print(f"{took_s:6.2f} s ({read_s:.2f} s of it reading), tells {told:,} KiB", _peak_mib())


def _peak_mib() -> int:
    # Unlike ru_maxrss, it does not begin with what the parent had when it forked.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def main() -> None:
    """Write each pair of notebooks and measure it in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "NAME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(Path(given.measure[0]), given.measure[1])
        return
    for name, make in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            for night in (1, 2):
                Path(folder, f"{night}.ipynb").write_bytes(notebook(*make(night)))
            size = Path(folder, "1.ipynb").stat().st_size / 2**20
            told, peak = _run(folder, "compare").rsplit(" ", 1)
            ratio = int(peak) / int(_run(folder, "read"))
            print(f"{name:11} 2 x {size:5.1f} MiB: {told}, peak {peak} MiB ({ratio:.1f} x reading)")


def _run(folder: str, name: str) -> str:
    command = [sys.executable, __file__, "--measure", folder, name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
