"""Inputs in pipeline.yaml: which output, which version of it, and what if there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from nightmill.spec.model import Model
from nightmill.spec.names import DataName
from nightmill.spec.problems import Fault, Faults, fail_if, shown
from nightmill.spec.units import Duration

Version = Literal["same_partition", "previous_partition", "latest_before_partition", "latest"]


def check_reference(text: str) -> str:
    """Check the name of an output, with or without its pipeline; raises Faults."""
    if not re.fullmatch(r"[A-Za-z][\w-]{0,62}(\.[A-Za-z]\w{0,62})?", text, re.ASCII):
        advice = "write `output` or `pipeline.output`"
        raise Faults([Fault(f"{shown(text)} names no output", advice)])
    return text


def _inputs_as_mapping(raw: Any) -> Any:
    """Turn the short forms `[features, other.model]` and `name: features` into the long one."""
    if isinstance(raw, dict):
        return {
            name: {"from": value} if isinstance(value, str) else value
            for name, value in raw.items()
        }
    if not isinstance(raw, list):
        advice = "write `inputs: [output]`, or `inputs: {name: {from: pipeline.output}}`"
        raise Faults([Fault("expected a list of outputs, or names with `from:`", advice)])
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for index, item in enumerate(raw):
        faults += _item_faults(item, index, found)
        found[input_name(str(item))] = {"from": item}
    fail_if(faults)
    return found


def _item_faults(item: Any, index: int, found: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        check_reference(str(item))
    except Faults as error:
        yield from (fault._replace(at=(index,)) for fault in error.faults)
        return
    if input_name(item) in found:
        yield Fault(
            f"two inputs would both be named {shown(input_name(item))}",
            f"write a mapping: `another_name: {{from: {item}}}`",
            (index,),
        )


def input_name(reference: str) -> str:
    """Give the parameter name of an input listed as `output` or `pipeline.output`."""
    return reference.rpartition(".")[2]


class InputSpec(Model):
    """Where an input comes from. `max_age` is the run's day minus the day of the version.

    `wait` is how long to wait, from when the step could begin, for one that is not there or too
    old. Without it that is an error at once. Of an optional input it is none: the parameter is
    None, and where there is a version that is too old, a warning of the record says so.
    """

    source: Annotated[str, AfterValidator(check_reference)] = Field(alias="from")
    version: Version | None = None
    max_age: Duration | None = None
    wait: Duration | None = None
    optional: bool = False


Inputs = Annotated[Mapping[DataName, InputSpec], BeforeValidator(_inputs_as_mapping)]
