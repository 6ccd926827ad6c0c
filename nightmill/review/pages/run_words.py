"""What happened in a run, in one sentence; and why a step of it did not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nightmill.review.pages.run_steps import StepRecords

NOT_RUN = "not_run"

_NAMED = 3
_BECAUSE = {
    "failed": "{step} failed",
    "rejected": "{step} was rejected",
    "silent": "waits for {step}",
    "running": "waits for {step}",
    "held": "{step} is held for review",
    NOT_RUN: "{step} did not run",
}
_TOLD = {
    "rejected": ("was rejected", "were rejected"),
    "silent": ("is silent", "are silent"),
    "running": ("is running", "are running"),
    "held": ("is held for review", "are held for review"),
}


def sentence_of(steps: Mapping[str, StepRecords], others: Sequence[str]) -> str:
    """Say how a run stands; `others` are steps of the pipeline that it has not run."""
    return "; ".join(_parts(steps, others)) + "."


def why_not(needs: Sequence[str], states: Mapping[str, str]) -> str:
    """Say why a step did not run, by the states of those that it needs."""
    known = ((one, _BECAUSE.get(states.get(one, ""), "")) for one in needs)
    return next((because.format(step=one) for one, because in known if because), "")


def _parts(steps: Mapping[str, StepRecords], others: Sequence[str]) -> Iterator[str]:
    named: dict[str, list[str]] = {}
    for step, found in steps.items():
        named.setdefault(found.state, []).append(step)
    if failed := named.get("failed"):
        yield _failed(failed, steps[failed[0]])
    for state, (of_one, of_many) in _TOLD.items():
        if names := named.get(state):
            yield f"{_names(names)} {of_one if len(names) == 1 else of_many}"
    if succeeded := named.get("succeeded"):
        yield _succeeded(len(succeeded), len(steps) + len(others))
    if others:
        yield f"{_names(others)} did not run"


def _failed(failed: Sequence[str], first: StepRecords) -> str:
    record = first.gravest
    failure = record.failure
    if len(failed) > 1 or failure is None:
        return f"{_names(failed)} failed"
    if len(first.in_state) > 1:
        return f"{len(first.in_state)} members of {first.step} failed"
    place = "" if failure.cell is None else f" in cell {failure.cell}"
    return f"{record.label} failed{place}: {failure.cause.replace('_', ' ')}"


def _succeeded(count: int, of: int) -> str:
    if count < of:
        return f"{count} of {of} steps succeeded"
    return "The step succeeded" if of == 1 else f"All {of} steps succeeded"


def _names(names: Sequence[str]) -> str:
    shown = list(names[:_NAMED])
    if len(names) > _NAMED:
        shown[-1] = f"{len(names) - _NAMED + 1} others"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
