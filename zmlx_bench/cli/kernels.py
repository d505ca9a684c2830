"""`zmlx kernels`: what is declared, and what of it runs here."""

from __future__ import annotations

from zmlx_bench.cli.options import JsonOption, WorkspaceOption


def kernels(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the kernels of this workspace, their modes and backends, and why one does not run here."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.report import listings

    rows = listings.kernels(workspaces.find(workspace))
    if as_json:
        print_json({"kernels": rows})
    else:
        console().print(listings.kernel_table(rows))
