"""`zmlx doctor`: is this machine fit to measure, and what to do where it is not."""

from __future__ import annotations

import typer

from zmlx_bench.cli.options import JsonOption, WorkspaceOption


def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Look at this machine: backend, versions, memory, load, power, compiler, hub cache, sessions; a fix for each.

    Exit code 1 when something must be mended before anything can be measured.
    """
    from zmlx_bench import exit_codes
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.doctor.examine import examine
    from zmlx_bench.report import listings

    seen = examine(workspace)
    if as_json:
        print_json({"findings": [observation.model_dump(mode="json") for observation in seen]})
    else:
        console().print(listings.observations_list(seen))
    if any(observation.level == "problem" for observation in seen):
        raise typer.Exit(exit_codes.NO)
