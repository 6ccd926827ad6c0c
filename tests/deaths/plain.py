"""Does to papermill's own command line what `here` does to a step, and tells what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.conftest import KERNEL, ProjectFiles
from tests.deaths.acts import TOKEN, Running, wait_until
from tests.deaths.surroundings import Ground, Surrounding
from tests.deaths.way import Way, authors_cells

_END_S = 60
_OUT = "out.ipynb"
# What a script starts with "&" ignores SIGINT, and so do its children: papermill below tests that
# run in the background would never hear of Ctrl-C.
_HEARS_INTERRUPTS = ("env", "--default-signal=INT")


@dataclass(frozen=True)
class Left:
    """What papermill leaves: exit code, the notebook it saved, and what the cells say themselves.

    `saved` says what became of the notebook: "whole", "half" where it cannot be read, "none".
    `states` are those of its cells; `exception` is what its metadata say of the whole.
    """

    exit: int
    saved: str
    states: tuple[str, ...]
    exception: bool | None
    proven: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))


def run_plain(way: Way, project: ProjectFiles, kernels: Path, ground: Ground) -> Left:
    """Run the notebook with the papermill command and do the same to it."""
    for file, text in {"in.ipynb": way.file, **way.files}.items():
        (ground.folder / file).write_text(text)
    act = way.plain.act or way.act
    with way.within(ground) as surrounding:
        run = _start(way, project, surrounding, kernels)
        try:
            if act:
                act(run)
            code = run.process.wait(_END_S)
        finally:
            for process in run.processes():
                process.kill()
            run.process.wait()
            wait_until(lambda: not run.processes(), "the end of all processes")
        return _look(run, code)


def _start(way: Way, project: ProjectFiles, surrounding: Surrounding, kernels: Path) -> Running:
    folder, token = surrounding.ground.folder, uuid4().hex
    out = f"s3://{surrounding.ground.s3.bucket}/{surrounding.prefix}/{_OUT}"
    target = out if surrounding.store else _local_out(surrounding)
    papermill = Path(sys.executable).with_name("papermill")
    command = [*surrounding.wrap, *_HEARS_INTERRUPTS, str(papermill), "in.ipynb", str(target)]
    env = {"NM_DEATH": str(folder), TOKEN: token, "JUPYTER_PATH": str(kernels)}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [*command, "-k", KERNEL, "--no-progress-bar", *way.plain.arguments],
            cwd=folder,
            env={**project.env, **env, **surrounding.env},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    return Running(process, folder, token, surrounding, lambda: _saved(surrounding))


def _local_out(surrounding: Surrounding) -> Path:
    return Path(surrounding.env.get("NM_DEATH_OUT") or surrounding.ground.folder) / _OUT


def _saved(surrounding: Surrounding) -> bytes | None:
    if surrounding.store:
        return surrounding.read_s3(_OUT)
    local = _local_out(surrounding)
    return local.read_bytes() if local.exists() else None


def _look(run: Running, code: int) -> Left:
    data, proof = run.saved(), run.folder / "done"
    found = _parsed(data)
    return Left(
        exit=code,
        saved="none" if data is None else "whole" if found else "half",
        states=tuple(cell["metadata"]["papermill"]["status"] for cell in authors_cells(found)),
        exception=found["metadata"]["papermill"]["exception"] if found else None,
        proven=tuple(int(line) for line in proof.read_text().split()) if proof.exists() else (),
    )


def _parsed(data: bytes | None) -> dict[str, Any]:
    try:
        return json.loads(data or b"{}")
    except ValueError:
        return {}
