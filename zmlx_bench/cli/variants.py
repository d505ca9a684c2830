"""`zmlx variants`: what is declared, and what of it runs here."""

from __future__ import annotations

from zmlx_bench.cli.options import JsonOption, OptionalFamily, WorkspaceOption


def variants(family: OptionalFamily = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the variants of this workspace, their kernels, and whether they run on this machine."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.report import listings

    rows = listings.variants(workspaces.find(workspace), family)
    if as_json:
        print_json({"variants": rows})
    else:
        console().print(listings.variant_list(rows))
