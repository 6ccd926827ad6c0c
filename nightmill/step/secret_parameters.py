"""A step's parameters held against the secrets of its environment, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nightmill.errors import ContractError
from nightmill.spec.contract import Contract
from nightmill.spec.parameters import holds_secret, parameter_error, typed_secret
from nightmill.spec.problems import gather, shown
from nightmill.spec.secret_reference import references
from nightmill.step.secret_values import is_weak, secrets_of

_SHORT = 8  # a secret below this may be part of another text by chance


def check_secrets(
    contract: Contract, values: Mapping[str, object], environ: Mapping[str, str]
) -> None:
    """Check that what the values refer to is there, and that none is itself a secret.

    `values` are those that people gave, `environ` what the kernel will have. Raises ContractError.
    """
    errors = [*_missing(contract, values, environ), *_typed(contract, values, environ)]
    if errors:
        raise gather(errors)


def _missing(
    contract: Contract, values: Mapping[str, object], environ: Mapping[str, str]
) -> Iterator[ContractError]:
    for name, variable in references(values):
        if not environ.get(variable):
            yield parameter_error(
                contract.notebook,
                contract.parameters[name],
                f"refers to a secret, but there is no environment variable {shown(variable)}",
                f"add `{variable}: {{secret: name, key: key}}` to `environment` in platform.yaml; "
                "without a cluster, set it where the step is started",
            )


def _typed(
    contract: Contract, values: Mapping[str, object], environ: Mapping[str, str]
) -> Iterator[ContractError]:
    known = [secret for secret in secrets_of(environ).values() if not is_weak(secret)]

    def is_secret(text: str) -> bool:
        return any(one == text or (len(one) >= _SHORT and one in text) for one in known)

    for name, value in values.items():
        if holds_secret(value, is_secret):
            yield typed_secret(contract.notebook, contract.parameters[name])
