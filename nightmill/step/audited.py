"""The audit before the commit: what a step's `checks` are told, and what their results mean here.

Apart from `attempt` because DuckDB, below the audit, is imported only where there are checks.
"""

from __future__ import annotations

from nightmill.errors import NightmillError
from nightmill.spec.record import CheckResult, CheckState
from nightmill.spec.steprun import StepRun
from nightmill.step.ground import Ground
from nightmill.step.limits import memory_limit
from nightmill.step.outputs import OutputError
from nightmill.step.prepare import Prepared
from nightmill.step.stop import StopRequest
from nightmill.store.interface import Store


def audit_outputs(
    run: StepRun, ground: Ground, prepared: Prepared, *, store: Store, stop: StopRequest
) -> tuple[CheckResult, ...]:
    """Make all checks of a step on what its notebook wrote; none where it has no checks.

    Raises OutputError for an output without checks that nobody could read, StoreError where the
    history cannot be read, InterruptedRunError when asked to stop.
    """
    for output in prepared.outputs:
        if output.name not in ground.spec.checks:
            output.require_readable()
    if not ground.spec.checks:
        return ()
    from nightmill.audit.audit import audit  # noqa: PLC0415 - see above
    from nightmill.audit.context import AuditContext, KernelPython  # noqa: PLC0415 - see above

    context = AuditContext(
        store=store,
        pipeline=run.pipeline,
        step=run.step,
        partition=run.partition,
        as_of=run.as_of,
        scratch=ground.scratch,
        kernel=KernelPython(
            ground.kernel.python, ground.order.env, ground.pipeline.notebook(run.step).parent
        ),
        member=run.member,
        timezone=ground.pipeline.spec.timezone,
        threads=ground.threads.count,
        memory_bytes=memory_limit(),
        stopping=lambda: bool(stop.times),
    )
    written = {output.name: output.address for output in prepared.outputs}
    return audit(written, ground.spec.checks, context)


def warnings_of(results: tuple[CheckResult, ...]) -> tuple[str, ...]:
    """Tell the reviewer of what fell through and was only to be recorded."""
    bad = (CheckState.FAILED, CheckState.ERROR)
    return tuple(f"check: {one.message}" for one in results if one.state in bad and not one.blocks)


def blocked(results: tuple[CheckResult, ...]) -> NightmillError | None:
    """Return the error that keeps the outputs from being committed, None where nothing does."""
    if not any(one.blocks for one in results):
        return None
    from nightmill.audit.audit import blocking  # noqa: PLC0415 - see above

    return OutputError(
        blocking(results), advice="nothing was committed; what was current before stays so"
    )
