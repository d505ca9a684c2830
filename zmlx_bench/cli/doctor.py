"""`zmlx doctor`: is this machine fit to measure, and what to do where it is not."""

from __future__ import annotations

import typer

from zmlx_bench.cli.options import JsonOption, WorkspaceOption


def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Look at this machine: backend, versions, memory, load, power, compiler, hub cache, sessions; a fix for each.

    Exit code 1 when something must be mended before anything can be measured.
    """
    from zmlx_bench import exit_codes
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.catalog import available as probe
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.doctor import checkup
    from zmlx_bench.machine import backend as backends
    from zmlx_bench.machine import device
    from zmlx_bench.report import listings

    findings = checkup.findings()
    backend = next((b for b in backends.ORDER if backends.why_not(b) is None), None)
    if backend is not None:
        findings.append(checkup.measuring(device.holder(backend)))
        findings += probe.findings(workspaces.find_or_packaged(workspace), backend)
    if as_json:
        print_json({"findings": [finding.model_dump(mode="json") for finding in findings]})
    else:
        console().print(listings.findings_list(findings))
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(exit_codes.NO)
