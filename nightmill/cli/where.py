"""`nightmill where`: the address of what is current, for a script to read."""

from __future__ import annotations

from typing import Annotated

import typer

from nightmill.cli.options import StoreOption, open_existing, spec_here
from nightmill.cli.terminal import say
from nightmill.cli.versions import MemberOption, OutputArgument, split_output, suggesting_outputs
from nightmill.errors import UsageError
from nightmill.spec.problems import shown, suggest
from nightmill.store.current import current_pointers


def where(
    output: OutputArgument,
    partition: Annotated[
        str | None, typer.Option(help="By default the newest that has committed it.")
    ] = None,
    member: MemberOption = None,
    store: StoreOption = None,
) -> None:
    """Print where the current version of an output is.

    That is one address, or one for each member. The bytes there never change. Who reads at this
    address sees one version whole, whatever is committed meanwhile, in a folder as in S3. In a
    project only members that its step still has. Exit codes: 0 printed, 2 nothing is current.
    """
    opened = open_existing(store)
    pipeline, name = split_output(opened, output)
    spec = spec_here(pipeline)
    members = {step: one.members for step, one in spec.steps.items()} if spec else None
    with suggesting_outputs(pipeline, name):
        found = current_pointers(opened, pipeline, name, partition, members=members)
    if member is not None:
        known = [one.member for one in found]
        found = [one for one in found if one.member == member]
        if not found:
            advice = suggest(member, filter(None, known), noun="members")
            raise UsageError(f"no member {shown(member)} of {output} is current", advice=advice)
    for one in found:
        say(opened.address(one.outputs[name].key))
