"""`zmlx generate`: mlx-lm's generate with the promoted variant."""

from __future__ import annotations

from typing import Annotated

import typer

from zmlx_bench.cli import complete
from zmlx_bench.cli.options import FamilyArgument, WorkspaceOption

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of a command that hands mlx-lm's own options on."""
CheckpointOption = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="WHICH",
        help="auto, tiny, full[@REVISION], a folder, a hub id.",
        autocompletion=complete.checkpoint,
    ),
]
VariantOption = Annotated[
    str,
    typer.Option(
        "--variant", metavar="NAME", help="promoted, none, or a variant's name.", autocompletion=complete.variant
    ),
]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Allow a checkpoint whose config names code to run.")
]


def generate(
    context: typer.Context,
    family: FamilyArgument,
    checkpoint: CheckpointOption = "auto",
    variant: VariantOption = "promoted",
    trust_remote_code: TrustOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Generate text with the variant that is promoted for FAMILY on this machine, or without where there is none.

    All other options are mlx-lm's: --prompt, --max-tokens, --temp, ...; `mlx_lm.generate --help` lists them.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.use import command

    wishes = command.Wishes(family, checkpoint, variant, trust_remote_code, context.args)
    place = workspaces.find_or_packaged(workspace)
    command.run("generate", place, wishes, say)


def say(line: str) -> None:
    """Print a line for people, broken between words on a terminal and whole elsewhere."""
    from zmlx_bench.cli.output import console

    people = console(stderr=True)
    people.print(line, soft_wrap=not people.is_terminal)
