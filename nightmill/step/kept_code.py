"""Keeps what a step runs in the store: what git may have forgotten, a replay can still find.

The bundle's name is known before the first cell runs and stands in the record from then on; the
bundle itself is written on a thread of its own while the notebook runs. A store that does not take
it costs the run a warning and nothing else.
"""

from __future__ import annotations

from threading import Thread

from nightmill.errors import StoreError
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.project import Project
from nightmill.spec.record import Code
from nightmill.step.provenance import describe_code
from nightmill.store.bundle import MAX_BYTES, MAX_FILE_BYTES, Bundle, keep, pack
from nightmill.store.interface import Store

_PATIENCE_S = 5.0  # it had the whole run before


def bundle_code(project: Project, pipeline: Pipeline, step: str) -> tuple[Code, Bundle]:
    """Describe and bundle all that decides what a step does: code, pipeline.yaml, kernel's lock.

    With it go the other pipelines that this one names: what an input means is told by their files.
    Raises OSError for a file that cannot be read.
    """
    code = describe_code(pipeline.notebook(step), project.root)
    kernel = project.kernel(pipeline.spec.steps[step])
    paths = [project.root / name for name in (code.notebook, *code.modules)]
    paths += [pipeline.file, *(project.pipelines[name].file for name in _named(project, pipeline))]
    paths += [kernel.lock, *kernel.folder.glob("kernel.yaml")]
    bundle = pack({path.relative_to(project.root).as_posix(): path for path in paths})
    return code.model_copy(update={"bundle": bundle.sha256}), bundle


def _named(project: Project, pipeline: Pipeline) -> set[str]:
    steps = pipeline.spec.steps
    sources = {source.pipeline for step in steps for source in project.inputs(pipeline, step)}
    after = {reference.partition(".")[0] for reference in pipeline.spec.after}
    return sources | after


class KeptCode:
    """A bundle on its way into the store."""

    def __init__(self, store: Store, bundle: Bundle) -> None:
        self._warnings = [_too_large(name) for name in bundle.left_out]
        self._thread = Thread(target=self._keep, args=(store, bundle), daemon=True)
        self._thread.start()

    def finish(self) -> tuple[str, ...]:
        """Wait for the bundle to be written, but not for long; return what is to be warned of."""
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            self._warnings.append(_not_kept("the store does not answer"))
        return tuple(self._warnings)

    def _keep(self, store: Store, bundle: Bundle) -> None:
        try:
            keep(store, bundle)
        except StoreError as error:
            self._warnings.append(_not_kept(error.problem))


def _not_kept(reason: str) -> str:
    return f"the code was not kept in the store, so a replay needs git: {reason}"


def _too_large(name: str) -> str:
    most = f"{MAX_FILE_BYTES >> 20} MiB a file and {MAX_BYTES >> 20} MiB in all"
    return f"{name} was not kept in the store, so a replay needs git: at most {most} are"
