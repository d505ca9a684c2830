"""`zmlx generate`: mlx-lm's generate with the promoted variant."""

from __future__ import annotations

import typer

from zmlx_bench.cli.options import (
    CheckpointOption,
    FamilyArgument,
    StrictOption,
    TrustOption,
    VariantOption,
    WorkspaceOption,
)
from zmlx_bench.cli.output import say


def generate(
    context: typer.Context,
    family: FamilyArgument,
    checkpoint: CheckpointOption = "auto",
    variant: VariantOption = "promoted",
    trust_remote_code: TrustOption = False,
    strict: StrictOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Generate text with the variant that is promoted for FAMILY on this machine, or without where there is none.

    All other options are mlx-lm's: --prompt, --max-tokens, --temp, ...; `mlx_lm.generate --help` lists them.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.use import command

    request = command.UseRequest(family, checkpoint, variant, trust_remote_code, strict, context.args)
    place = workspaces.find_or_packaged(workspace)
    command.run("generate", place, request, say)
