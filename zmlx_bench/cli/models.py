"""`zmlx models`: the families and the checkpoints that can be measured here, and the sites of a model."""

from __future__ import annotations

from typing import Annotated

import typer

from zmlx_bench.cli.options import BackendOption, JsonOption, TrustOption, WorkspaceOption


def models(
    sites: Annotated[
        str | None,
        typer.Option(
            "--sites",
            metavar="PATH|HUB_ID",
            help="Load this checkpoint and list its sites, and which variants serve it; or FAMILY for its `auto` one.",
        ),
    ] = None,
    backend: BackendOption = "auto",
    trust_remote_code: TrustOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the model families and, for each checkpoint, whether it can be measured here and why not."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.report import listings, sites_list

    place = workspaces.find_or_packaged(workspace)
    if sites is None:
        rows = listings.models(place)
        if as_json:
            print_json({"models": rows})
        else:
            console().print(listings.model_list(rows))
        return
    found = sites_list.of(place, sites, backend, trust_remote_code=trust_remote_code)
    if as_json:
        print_json(sites_list.summary(found))
    else:
        console().print(sites_list.view(found))
