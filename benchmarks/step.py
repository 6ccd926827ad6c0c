"""What a step costs beside plain papermill, in ratios: time, requests, bytes, memory.

    .venv/bin/python benchmarks/step.py [--rounds 7]

Both run the same notebook in the same kernel on this machine, in turns, each as a process of its
own from the command line to its exit. A ratio of times is the median of the rounds' own ratios, so
that a machine that is busy for a while does not decide it. papermill is run twice: as it is in this
environment, and lean. Lean is without what this environment alone adds to its start (pyarrow, the
entry point of our own engine, and a grammar of web addresses that JupyterLab brings and that takes
long to compile). The targets hold against the lean one. S3 is a real server on loopback; requests
and bytes are counted by a proxy before it that passes everything on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from nightmill import kernels  # noqa: E402 - found above
from nightmill.spec.kernel import load_kernel  # noqa: E402 - as above
from tests.s3_server import S3Server, run_s3_server  # noqa: E402 - as above
from tests.tcp_line import Line, line_to  # noqa: E402 - as above

KERNEL = "tabular"
LEAN = """
import sys
sys.modules["rfc3987_syntax"] = sys.modules["pyarrow"] = None
import entrypoints
found = entrypoints.get_group_all
entrypoints.get_group_all = lambda *group: [
    one for one in found(*group) if not one.module_name.startswith("nightmill")
]
from papermill.__main__ import papermill
papermill()
"""
PAPERMILL = [sys.executable, "-m", "papermill"]
PAPERMILL_LEAN = [sys.executable, "-c", LEAN]
NIGHTMILL = [sys.executable, "-P", "-m", "nightmill"]

EARLY = "print('\\n'.join('x' * 99 for _ in range(5_000)))"  # 500 kB
FLOOD = "for _ in range(100): print(('x' * 99 + '\\n') * 10_000)"  # 100 MB
NOTEBOOKS = {
    "five": [f"x = {n}\nprint(x)" for n in range(5)],
    "twenty": [f"x = {n}\nprint(x)" for n in range(20)],
    "early": [EARLY, *(f"x = {n}" for n in range(40))],
    "quiet": ["print('hello')"],
    "flood": [FLOOD],
}
numbers = count(time.time_ns())


class Bench:
    """A project on disk, and the same notebook run by either side."""

    def __init__(self, root: Path) -> None:
        environment = kernels.install(load_kernel(REPOSITORY / "kernels" / KERNEL), REPOSITORY)[0]
        self.root = root
        shutil.copytree(environment.kernel.folder, root / "kernels" / KERNEL)
        steps = "".join(f"  {name}: {{notebook: {name}.ipynb}}\n" for name in NOTEBOOKS)
        folder = root / "notebooks" / "p"
        folder.mkdir(parents=True)
        (folder / "pipeline.yaml").write_text(f"pipeline: p\nsteps:\n{steps}")
        for name, cells in NOTEBOOKS.items():
            (folder / f"{name}.ipynb").write_text(_notebook(cells))
        self.env = {
            **os.environ,
            "NIGHTMILL_KERNELS": str(environment.path.parent),
            "JUPYTER_PATH": str(environment.jupyter_path),
            "AWS_ACCESS_KEY_ID": "admin",
            "AWS_SECRET_ACCESS_KEY": "admin-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        }

    def papermill(self, program: Sequence[str], name: str, out: str, endpoint: str = "") -> float:
        """Run papermill's command line; return the seconds it took."""
        options = ["--kernel", KERNEL, "--no-progress-bar"]
        command = [*program, str(self.root / f"notebooks/p/{name}.ipynb"), out, *options]
        return self._time(command, BOTO3_ENDPOINT_URL=endpoint)

    def nightmill(self, name: str, store: str) -> float:
        """Run a step; return the seconds it took."""
        return self._time(self.step(name, store))

    def step(self, name: str, store: str) -> list[str]:
        """Return the command of an attempt that was never made before."""
        number = next(numbers)
        day = ["--partition=2013-01-01", "--as-of=2013-01-01"]
        run = [f"--run=r{number}", f"--order={number}", f"--store={store}"]
        return [*NIGHTMILL, "step", "--pipeline=p", f"--step={name}", *day, *run]

    def _time(self, command: Sequence[str], **more: str) -> float:
        env = self.env | {name: value for name, value in more.items() if value}
        begun = time.perf_counter()
        subprocess.run(command, cwd=self.root, env=env, check=True, capture_output=True)
        return time.perf_counter() - begun

    def peak_kib(self, name: str) -> int:
        """Run a step in a local store; return the supervisor's own peak of memory."""
        command = self.step(name, str(self.root / "store"))
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        peak = 0
        with subprocess.Popen(command, cwd=self.root, env=self.env, **silent) as process:
            while process.poll() is None:
                peak = max(peak, _high_water_kib(process.pid))
                time.sleep(0.02)
        assert process.returncode == 0
        return peak


def _notebook(cells: Sequence[str]) -> str:
    made = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None}
        | {"outputs": [], "source": source}
        for n, source in enumerate(cells)
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def _high_water_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def wall(bench: Bench, rounds: int, server: S3Server | None) -> list[dict[str, float]]:
    """Return the seconds that each side took, a round at a time; the order turns every round."""
    taken = []
    endpoint = server.endpoint if server else ""
    store = server.url("store") if server else str(bench.root / "store")
    for number in range(rounds + 1):
        out = f"s3://{server.bucket}/out/{number}.ipynb" if server else str(bench.root / "o.ipynb")
        sides = {
            "as_installed": partial(bench.papermill, PAPERMILL, "five", out, endpoint),
            "ours": partial(bench.nightmill, "five", store),
            "lean": partial(bench.papermill, PAPERMILL_LEAN, "five", out, endpoint),
        }
        names = list(sides) if number % 2 else list(reversed(sides))
        taken.append({name: sides[name]() for name in names})
    return taken[1:]  # the first round warms caches


def traffic(bench: Bench, server: S3Server, name: str) -> tuple[Line, Line]:
    """Count what papermill and a step send to S3 for one notebook."""
    with line_to(server.endpoint) as theirs:
        out = f"s3://{server.bucket}/out/{name}.ipynb"
        bench.papermill(PAPERMILL_LEAN, name, out, theirs.endpoint)
    with line_to(server.endpoint) as ours:
        bench.nightmill(name, server.url("store").replace(server.endpoint, ours.endpoint))
    return theirs, ours


def main() -> None:
    """Measure everything, tell the figures, and end with the lines of ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    lines: list[str] = []

    def tell(name: str, ours: Sequence[float], theirs: Sequence[float], target: float) -> None:
        figures = f"{statistics.median(ours):14,.2f}   papermill {statistics.median(theirs):14,.2f}"
        print(f"{name:28} nightmill {figures}")
        ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
        lines.append(f"{name} ratio={ratio:.3f} target={target:g}")

    print(f"papermill, as installed: {' '.join(PAPERMILL)}; lean: see {Path(__file__).name}")
    with tempfile.TemporaryDirectory() as root, run_s3_server("127.0.0.1") as server:
        bench = Bench(Path(root))
        for place, s3, target in (("local", None, 0.8), ("s3", server, 0.6)):
            taken = wall(bench, rounds, s3)
            ours = [one["ours"] for one in taken]
            for side, suffix in (("as_installed", "_as_installed"), ("lean", "")):
                tell(f"{place}_wall_s{suffix}", ours, [one[side] for one in taken], target)
        theirs, our = traffic(bench, server, "twenty")
        tell("s3_requests_20_cells", [our.requests], [theirs.requests], 0.25)
        theirs, our = traffic(bench, server, "early")
        tell("s3_bytes_40_cells", [our.bytes], [theirs.bytes], 1 / 15)
        quiet, flood = bench.peak_kib("quiet"), bench.peak_kib("flood")
        print(f"{'supervisor_peak':28} without output {quiet:,} KiB   with 100 MB {flood:,} KiB")
        lines.append(f"supervisor_memory_100_mb ratio={flood / quiet:.3f} target=1.1")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
