"""Sets the stage for a replay: code, kernel, inputs and values as the record has them.

The replay is a step like any other, told by a StepRun; what is its own is the folder it lives in
and the variables that make its surroundings those of the original.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightmill import kernels
from nightmill.errors import UsageError
from nightmill.kernels import KernelEnvironment
from nightmill.replay.code import FoundCode, find_code
from nightmill.replay.pinned import pin_inputs
from nightmill.spec.check import read_step_contract
from nightmill.spec.contract import Contract
from nightmill.spec.names import RESERVED
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.record import Record
from nightmill.spec.steprun import StepRun
from nightmill.step.holding import UNREVIEWED
from nightmill.store.history import prefix_of
from nightmill.store.interface import Store
from nightmill.store.open import open_store

_REDACTED = "[redacted: "  # as `step.redaction` writes it
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # how a record tells what JSON has not


REPLAYS = ".nightmill/replays"
"""Where replays live below a project's root, one folder for each."""


@dataclass(frozen=True)
class Replay:
    """A replay that is ready to run, in a folder of its own.

    `env` is what its process needs beside the variables of whoever starts it.
    """

    original: Record
    source: Store
    folder: Path
    code: FoundCode
    kernel: KernelEnvironment
    store: Store
    run: StepRun
    env: Mapping[str, str]

    @property
    def root(self) -> Path:
        """The project in which its command is run."""
        return self.code.project.root

    @property
    def spec(self) -> StepSpec:
        """The step as pipeline.yaml had it."""
        return self.code.pipeline.spec.steps[self.original.step]

    @property
    def contract(self) -> Contract:
        """The parameters that the notebook declares."""
        return read_step_contract(self.code.pipeline, self.original.step)

    @property
    def original_prefix(self) -> str:
        """Where the original is, in its own store."""
        return prefix_of(self.original)

    @property
    def prefix(self) -> str:
        """Where the replay leaves its record, in the store of the replay."""
        return prefix_of(self.run)


def replay_folder(root: Path, name: str, record: Record) -> Path:
    """Name the folder of a replay; its name is that of the run that it is."""
    return root / REPLAYS / name / record.step / record.member


def set_up(
    record: Record, root: Path, source: Store, *, identity: tuple[str, int], copy: bool = False
) -> Replay:
    """Find the code, the kernel and the inputs of an attempt, and put them into a folder.

    `identity` are name and order of the new run. With `copy` the code is in the folder even where
    the working tree has it. Raises UsageError, KernelError, InputError or StoreError for what is
    not there any more.
    """
    name, order = identity
    folder = replay_folder(root, name, record)
    code = find_code(record, root, source, folder / "code", copy=copy)
    spec = code.pipeline.spec.steps[record.step]
    kernel = kernels.environment(code.project.kernel(spec), root)
    if not kernel.installed:
        kernel, _built = kernels.install(kernel.kernel, root, announce=False)
    store = open_store("store", base=folder)
    pin_inputs(record, source, store)
    run = StepRun(
        **record.model_dump(include={"pipeline", "step", "partition", "as_of", "member"}),
        run=name,
        order=order,
        store=store.url,
        parameters=_given(record, code),
    )
    env = _surroundings(record, root, folder)
    return Replay(record, source, folder, code, kernel, store=store, run=run, env=env)


def _given(record: Record, code: FoundCode) -> dict[str, Any]:
    """Return the values that the step is to be given; the runner's own it makes anew."""
    spec = code.pipeline.spec.steps[record.step]
    runners_own = {*RESERVED, *spec.inputs, *spec.outputs}
    contract = read_step_contract(code.pipeline, record.step)
    given: dict[str, Any] = {}
    for name, value in record.parameters.items():
        if name in runners_own:
            continue
        if _REDACTED in json.dumps(value):
            raise UsageError(
                f"the value of {name} was a secret, and no record keeps those",
                where=f"run {record.run}, {record.label}",
                advice="from now on pass it as secret://NAME: that can be replayed",
            )
        is_number = contract.parameters[name].type.kind == "float"
        given[name] = float(value) if is_number and value in _NOT_FINITE else value
    return given


def _surroundings(record: Record, root: Path, folder: Path) -> dict[str, str]:
    env = {
        "NIGHTMILL_KERNELS": str(kernels.kernels_home(root)),
        # Code in the folder is not that of the repository which the folder happens to lie in.
        "GIT_CEILING_DIRECTORIES": str(folder),
        UNREVIEWED: "1",
    }
    if record.code is not None and record.code.git_commit is not None:
        dirty = "-dirty" if record.code.git_dirty else ""
        env["NIGHTMILL_GIT_COMMIT"] = record.code.git_commit + dirty
    if record.kernel is not None:
        env["OMP_NUM_THREADS"] = str(record.kernel.threads)
    return env
