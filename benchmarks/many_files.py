"""What a folder of small files costs an output and an input where every request has to wait.

    .venv/bin/python benchmarks/many_files.py [--files 200] [--latency-ms 50]

A local S3 server stands behind a proxy that holds each request. Files are stored and fetched one
after another, and as a step does it; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nightmill.spec.graph import InputSource  # noqa: E402 - above
from nightmill.step import staging  # noqa: E402 - above
from nightmill.step.outputs import DeclaredOutput  # noqa: E402 - above
from nightmill.store.inputs import ResolvedInput, Version  # noqa: E402 - above
from nightmill.store.interface import Store  # noqa: E402 - above
from nightmill.store.open import open_store  # noqa: E402 - above
from nightmill.store.pointer import CommittedOutput, Pointer, Token  # noqa: E402 - above
from tests.s3_proxy import run_proxy  # noqa: E402 - above
from tests.s3_server import run_s3_server  # noqa: E402 - above

PREFIX = "runs/p/2013-01-01/r/s/1"


def stored(store: Store, output: DeclaredOutput) -> tuple[CommittedOutput, float, float]:
    """Store the files one by one, then as a step does; return both times in seconds."""
    begun = time.perf_counter()
    for file in output.files():
        store.put_file(f"{PREFIX}/outputs/one-by-one/{file.name}", file)
    middle = time.perf_counter()
    made = output.upload(store, PREFIX)
    return made, middle - begun, time.perf_counter() - middle


def fetched(store: Store, made: CommittedOutput, folder: Path) -> tuple[float, float]:
    """Fetch the files one by one, then as a step does; return both times in seconds."""
    pointer = Pointer(
        pipeline="p", step="s", partition="2013-01-01", run="r", token=Token(order=1, attempt=1),
        attempt_prefix=PREFIX, outputs={made.name: made},
    )  # fmt: skip
    source = InputSource("out", "p", "s", "out", "same_partition", inclusive=False)
    begun = time.perf_counter()
    for file in made.files:
        store.get_file(f"{made.prefix}/{file.path}", folder / "one" / file.path, sha256=file.sha256)
    middle = time.perf_counter()
    staging.stage(store, ResolvedInput(source, {"": Version(pointer, made)}), folder / "all")
    return middle - begun, time.perf_counter() - middle


def main() -> None:
    """Make the folder, move it both ways, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--latency-ms", type=float, default=50)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(run_s3_server("127.0.0.1"))
        os.environ.update(server.credentials)
        proxy = stack.enter_context(run_proxy(server.endpoint))
        proxy.fault = lambda _request: time.sleep(given.latency_ms / 1000)
        url = server.url("many-files").replace(server.endpoint, proxy.endpoint)
        store = open_store(url, base=folder)
        output = DeclaredOutput("out", "out/", folder / "scratch")
        output.prepare()
        for number in range(given.files):
            (output.address / f"{number:06d}").write_text(str(number))
        made, *up = stored(store, output)
        down = fetched(store, made, folder / "fetched")
    for what, (one_by_one, together) in (("store", up), ("fetch", down)):
        ratio = one_by_one / together
        print(
            f"{what} {given.files} files at {given.latency_ms:g} ms: "
            f"{one_by_one:.1f} s one by one, {together:.1f} s together ({ratio:.0f} times)"
        )


if __name__ == "__main__":
    main()
