"""The verbs of `nightmill`; each module beside this one adds its own."""

from __future__ import annotations

from nightmill import __version__
from nightmill.cli import (
    amend,
    approve,
    check,
    doctor,
    gc,
    history,
    kernels,
    pod,
    reindex,
    repair,
    replay,
    review,
    run,
    step,
    versions,
    where,
)
from nightmill.cli.program import new_program
from nightmill.cli.terminal import say

app = new_program()
app.command("run")(run.run)
app.command("step")(step.step)
app.command("check")(check.check)
app.command("runs")(history.runs)
app.command("show")(history.show)
app.command("replay")(replay.replay)
app.command("review")(review.review)
app.command("amend")(amend.amend)
app.command("sweep")(amend.sweep)
app.command("where")(where.where)
app.command("versions")(versions.versions)
app.command("rollback")(versions.rollback)
app.command("promote")(versions.promote)
app.command("approve")(approve.approve)
app.command("reject")(approve.reject)
app.command("note")(approve.note)
app.command("gc")(gc.gc)
app.command("reindex")(reindex.reindex)
app.command("repair")(repair.repair)
app.command("pod")(pod.pod)
app.command("doctor")(doctor.doctor)
app.command("probe")(doctor.probe)
app.add_typer(kernels.app, name="kernels")


@app.command()
def version() -> None:
    """Print the version."""
    say(f"nightmill {__version__}")
