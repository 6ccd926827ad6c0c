"""StepRun: everything that crosses from whoever launches a step to the step itself, as argv.

The laptop's `nightmill run`, Airflow on one machine and Airflow in a pod all make the same StepRun;
nothing else crosses. Parameters travel as base64url of JSON, because an argument list may pass
through a shell, a YAML file or Airflow's Jinja on its way, and `{{ ds }}` inside a value must
arrive as it was typed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightmill.errors import UsageError
from nightmill.spec.names import label

_LONGEST_ARGUMENT = 120_000  # Linux takes 131,072 bytes an argument; the flag's name needs some


class StepRun(BaseModel):
    """One attempt at one step of one pipeline for one partition.

    `order` is the microseconds since the epoch at which the run was created: with `attempt` it is
    the fencing token. `member` is empty but for a step with members. `as_of` is the ISO date that
    the notebook takes for today. `parameters` holds values by name, already checked against the
    notebook's contract.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: str = Field(min_length=1)
    step: str = Field(min_length=1)
    partition: str = Field(min_length=1)
    as_of: str = Field(min_length=1)
    run: str = Field(min_length=1)
    order: int = Field(ge=0)
    attempt: int = Field(default=1, ge=1)
    member: str = ""
    store: str = Field(min_length=1)
    parameters: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """The step together with its member, for people."""
        return label(self.step, self.member)

    def to_argv(self) -> list[str]:
        """Return the arguments of `nightmill` that run this attempt.

        Raises UsageError for parameters that no argument can hold.
        """
        fields = self.model_dump(
            exclude={"parameters"} if self.member else {"parameters", "member"}
        )
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]
        encoded = encode_parameters(self.parameters)
        if len(encoded) > _LONGEST_ARGUMENT:
            raise UsageError(
                f"the parameters take {len(encoded):,} bytes; an argument holds "
                f"{_LONGEST_ARGUMENT:,}",
                where=f"step {self.step}",
                advice="put the long values into a file, and pass its address",
            )
        return ["step", *flags, f"--parameters={encoded}"]

    @classmethod
    def from_argv(cls, argv: Sequence[str]) -> StepRun:
        """Read what `to_argv` wrote; raises UsageError naming the argument that is wrong."""
        if not argv or argv[0] != "step":
            raise UsageError("these are not the arguments of a step", where=" ".join(argv[:1]))
        values: dict[str, Any] = {}
        for argument in argv[1:]:
            name, equals, value = argument.partition("=")
            field = name.removeprefix("--").replace("-", "_")
            if not equals or not name.startswith("--") or field not in cls.model_fields:
                raise UsageError("unknown argument of a step", where=argument)
            values[field] = value
        values["parameters"] = decode_parameters(values.get("parameters", ""))
        return cls.checked(values)

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> StepRun:
        """Build a StepRun from untrusted values; raises UsageError naming the first bad one."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            flag = "--" + ".".join(str(part) for part in first["loc"]).replace("_", "-")
            raise UsageError(first["msg"], where=flag) from error


def encode_parameters(parameters: Mapping[str, Any]) -> str:
    """Return JSON-able parameters as base64url text, empty for none."""
    if not parameters:
        return ""
    text = json.dumps(dict(parameters), sort_keys=True)
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii")


def decode_parameters(text: str) -> dict[str, Any]:
    """Read `encode_parameters`' text; raises UsageError where it is none."""
    if not text:
        return {}
    try:
        value = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
    except ValueError as error:
        raise UsageError(
            "not base64url of JSON",
            where="--parameters",
            advice="pass -p name=value to `nightmill run` and let it write this argument",
        ) from error
    if not isinstance(value, dict):
        raise UsageError("not a JSON object", where="--parameters")
    return value
