"""`zmlx serve`: mlx-lm's HTTP server with the promoted variant."""

from __future__ import annotations

import signal
from types import FrameType

import typer

from zmlx_bench import exit_codes
from zmlx_bench.cli.options import (
    CheckpointOption,
    FamilyArgument,
    StrictOption,
    TrustOption,
    VariantOption,
    WorkspaceOption,
)
from zmlx_bench.cli.output import say


def serve(
    context: typer.Context,
    family: FamilyArgument,
    checkpoint: CheckpointOption = "auto",
    variant: VariantOption = "promoted",
    trust_remote_code: TrustOption = False,
    strict: StrictOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Serve FAMILY over HTTP (OpenAI's API) with the variant that is promoted on this machine, or without.

    All other options are mlx-lm's: --host, --port, --max-tokens, ...; `mlx_lm.server --help` lists them.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.use import command

    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        # The server ends its generating thread in order on this exception alone.
        stopped.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    request = command.UseRequest(family, checkpoint, variant, trust_remote_code, strict, context.args)
    place = workspaces.find_or_packaged(workspace)
    command.run("server", place, request, say)
    if stopped:
        raise typer.Exit(exit_codes.TERMINATED if stopped[0] == signal.SIGTERM else exit_codes.INTERRUPTED)
