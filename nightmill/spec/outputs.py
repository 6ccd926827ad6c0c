"""`outputs:` of a step: what it makes, and how that is published at a plain address.

    outputs:
      scores: scores.parquet                               # a file
      plots: plots/                                        # a folder: it ends with a slash
      history: {path: history.parquet, format: delta}      # a Delta Lake table of all partitions
      model: {path: model.json, publish: false}            # only by the pointer
      prices: {path: prices.parquet, review: required}     # current once a person approves of it

A file is published below ``data/`` under its own name, the newest commit in place of the former. A
folder of plain files is not: a reader that lists it while its files are replaced one by one would
see a mixture. As `format: delta` its rows are published, and change in one transaction.

The outputs of a step become current together, so one that needs a review holds all of them back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import model_validator

from nightmill.spec.model import Model
from nightmill.spec.names import DataName, RelativePath
from nightmill.spec.problems import Fault, Faults, fail_if, shown

Format = Literal["files", "delta"]
Evolution = Literal["none", "add"]

PARQUET = (".parquet", ".pq")


class OutputSpec(Model):
    """One output: where the notebook writes it, and how it is published once it is committed.

    `evolution` says of a Delta table whether a later commit may bring columns that it lacks. With
    `review` a person's approval is the commit.
    """

    path: RelativePath
    format: Format = "files"
    publish: bool | None = None
    evolution: Evolution | None = None
    review: Literal["required"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_long_form(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"path": raw}
        if not isinstance(raw, dict):
            advice = "write a path like `scores.parquet`, or `{path: scores.parquet}`"
            raise Faults([Fault("expected the path of a file or folder", advice)])
        return raw

    @model_validator(mode="after")
    def _fits_together(self) -> OutputSpec:
        fail_if(self._faults())
        return self

    @property
    def is_folder(self) -> bool:
        """Whether the notebook fills a folder; else it writes a file."""
        return self.path.endswith("/")

    @property
    def is_published(self) -> bool:
        """Whether its newest version is put at a plain address, too."""
        can_be = self.format == "delta" or not self.is_folder
        return can_be if self.publish is None else self.publish

    def _faults(self) -> Iterator[Fault]:
        is_parquet = PurePosixPath(self.path).suffix.lower() in PARQUET
        if self.format == "delta" and not (self.is_folder or is_parquet):
            yield Fault(
                f"a Delta table cannot be made of {shown(self.path)}",
                f"write a folder of Parquet files, or a file that ends with {PARQUET[0]}",
                ("path",),
            )
        if self.format == "files" and self.is_folder and self.publish:
            yield Fault(
                "a folder of files cannot be published: its readers would see a mixture",
                "add `format: delta` if they are Parquet files, or write one file",
                ("publish",),
            )
        if self.format == "files" and self.evolution is not None:
            yield Fault("only Delta tables evolve", "add `format: delta`", ("evolution",))


Outputs = Mapping[DataName, OutputSpec]


def paths(outputs: Mapping[str, OutputSpec]) -> dict[str, str]:
    """Map the outputs of a step to the paths that its notebook writes."""
    return {name: output.path for name, output in outputs.items()}


def reviewed(outputs: Mapping[str, OutputSpec]) -> tuple[str, ...]:
    """Name the outputs that a person has to approve before the step's commit."""
    return tuple(name for name, output in outputs.items() if output.review)
