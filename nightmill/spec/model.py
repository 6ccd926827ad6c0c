"""The base of the models that read what people write in YAML: frozen, strict, no unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """What all parts of pipeline.yaml share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
