"""The pipeline.yaml behind a run: its schedule, time zone, steps and outputs.

A run is told by the file as it was when it ran, which its code bundle keeps; what ought to run
tonight, by the project on disk where there is one, else by the newest run.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath

from nightmill.errors import DamagedError, NightmillError
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import FILE
from nightmill.spec.project import Project
from nightmill.spec.record import Record
from nightmill.spec.validation import validate
from nightmill.spec.words import MESSAGE_CHARACTERS, one_line, shortened
from nightmill.spec.yaml_source import read_yaml
from nightmill.store.bundle import Bundle, fetch
from nightmill.store.interface import Store

_KEPT = 512  # pipelines as they were; each takes some kilobytes
_FRESH_S = 10.0
_MAX_BYTES = 1 << 20
_MOST = 20  # of a bundle: an attempt keeps its own, and those of what it reads


class Specs:
    """Finds pipeline.yaml by what ran, or by what is on disk; `root` is the project, if any."""

    def __init__(self, store: Store, root: Path | None) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._project = _Found()
        self._looked = float("-inf")
        self._of_bundle = lru_cache(_KEPT)(lambda sha256, name: _read(store, sha256, name))

    def ran(self, pipeline: str, bundle: str | None) -> PipelineSpec | None:
        """Return the pipeline as a run had it; None where its code was not kept, or is damaged.

        Raises StoreError where the store fails.
        """
        return self._of_bundle(bundle, pipeline) if bundle else None

    def of(self, record: Record) -> PipelineSpec | None:
        """Return the pipeline as it was when an attempt ran; None and errors as `ran` has them."""
        return self.ran(record.pipeline, record.code.bundle if record.code else None)

    def zone_of(self, record: Record) -> str:
        """Name the time zone of the pipeline as it was when an attempt ran."""
        return zone_of(self.of(record))

    def now(self) -> Mapping[str, PipelineSpec]:
        """Return the pipelines of the project by name; those that are broken are left out."""
        return self._found().pipelines

    def broken(self) -> Mapping[str, str]:
        """Say by name, in a line, why a pipeline.yaml of the project gives no pipeline."""
        return self._found().broken

    def is_elsewhere(self, pipeline: str) -> bool:
        """Say whether the project is there and has no such pipeline.

        While a pipeline.yaml is broken none is: one that cannot be read is known by its folder
        only, and may be of any pipeline.
        """
        found = self._found()
        return found.is_there and not found.broken and pipeline not in found.pipelines

    def _found(self) -> _Found:
        if self._root is None:
            return _Found()
        with self._lock:
            if time.monotonic() - self._looked > _FRESH_S:
                self._project = _project(self._root)
                self._looked = time.monotonic()
            return self._project


@dataclass(frozen=True)
class _Found:
    """What a project on disk holds, if it is there."""

    pipelines: Mapping[str, PipelineSpec] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    is_there: bool = False


def zone_of(spec: PipelineSpec | None) -> str:
    """Name the time zone of a pipeline; UTC where nobody knows it."""
    return spec.timezone if spec else "UTC"


def _project(root: Path) -> _Found:
    try:
        found = Project.load(root)
    except (NightmillError, OSError):
        return _Found()
    return _Found(
        pipelines={name: pipeline.spec for name, pipeline in found.pipelines.items()},
        broken={name: _first_line(found, file) for name, file in found.broken.items()},
        is_there=(root / "notebooks").is_dir(),
    )


def _first_line(project: Project, file: Path) -> str:
    """Say what is wrong with a file first; where the project lies concerns no reader."""
    said = one_line(str(project.errors[file][0])).replace(f"{project.root}/", "")
    return shortened(said, MESSAGE_CHARACTERS)


def _read(store: Store, sha256: str, pipeline: str) -> PipelineSpec | None:
    try:
        bundle = fetch(store, sha256)
    except DamagedError:  # a page that tells of many runs must not end over one
        return None
    with suppress(tarfile.TarError):  # nor where others wrote what is no archive
        return next((one for one in _specs(bundle) if one.pipeline == pipeline), None)
    return None


def _specs(bundle: Bundle | None) -> Iterator[PipelineSpec]:
    if bundle is None:
        return
    with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
        for entry in islice(filter(_may_be_spec, archive), _MOST):
            content = archive.extractfile(entry)
            spec = _parse(content.read()) if content else None
            if spec is not None:
                yield spec


def _may_be_spec(entry: tarfile.TarInfo) -> bool:
    """Say whether an entry is a pipeline.yaml of a sensible size; a link may lead to any other."""
    return PurePosixPath(entry.name).name == FILE and entry.isreg() and entry.size <= _MAX_BYTES


def _parse(data: bytes) -> PipelineSpec | None:
    """Read a pipeline.yaml; None where this version of Nightmill would not take it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        file.write_bytes(data)
        try:
            return validate(PipelineSpec, read_yaml(file))
        except NightmillError:
            return None
