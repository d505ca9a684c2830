"""`zmlx check`: recompute the evidence from the raw numbers; exit code 1 when something does not hold."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zmlx_bench import exit_codes


def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Workspaces, folders or files; default: the nearest workspace.")
    ] = None,
    workspace: Annotated[Path | None, typer.Option(help="Workspace; else the nearest one upwards.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Recompute every capsule, session, matrix row, promotion and notebook figure from the raw numbers."""
    from zmlx_bench.ledger.check.targets import check as run_check

    checked = run_check(paths or [], workspace)
    counts = f"{checked.capsules} capsules, {checked.sessions} sessions, {checked.rows} matrix rows"
    faults = f"{len(checked.findings)} faults" if len(checked.findings) != 1 else "1 fault"
    if as_json:
        typer.echo(json.dumps(asdict(checked), ensure_ascii=False))
    else:
        for finding in checked.findings:
            typer.echo(str(finding))
    typer.echo(f"checked {counts}: {faults if checked.findings else 'everything holds'}", err=True)
    raise typer.Exit(exit_codes.NO if checked.findings else exit_codes.DONE)
