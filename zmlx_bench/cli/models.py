"""`zmlx models`: the families and the checkpoints that can be measured here."""

from __future__ import annotations

from zmlx_bench.cli.options import JsonOption, WorkspaceOption


def models(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the model families and, for each checkpoint, whether it can be measured here and why not."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.report import listings

    rows = listings.models(workspaces.find_or_packaged(workspace))
    if as_json:
        print_json({"models": rows})
    else:
        console().print(listings.model_list(rows))
