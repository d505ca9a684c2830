"""`zmlx check`: recompute the evidence from the raw numbers; exit code 1 when something does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zmlx_bench import exit_codes
from zmlx_bench.cli.options import JsonOption, RehashOption, WorkspaceOption

if TYPE_CHECKING:
    from zmlx_bench.ledger.check.workspace import Checked

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATHS", help="Workspaces, folders or files of one; default: the nearest workspace."),
]


def check(
    paths: Paths = None,
    rehash: RehashOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute every capsule, session, matrix row, promotion and notebook figure from the raw numbers."""
    from zmlx_bench.ledger.check.targets import check as run_check

    say(run_check(paths or [], workspace, rehash=rehash), as_json)


def say(checked: Checked, as_json: bool) -> None:
    """Print the findings, one line each, and leave with the code that they ask for."""
    from dataclasses import asdict

    from zmlx_bench.cli.output import print_json
    from zmlx_bench.report import words

    if as_json:
        print_json(asdict(checked))
    for finding in () if as_json else checked.findings:
        typer.echo(str(finding))
    for note in () if as_json else checked.notes:
        typer.echo(f"note: {note}", err=True)
    faults = len(checked.findings)
    counted = ((checked.capsules, "capsule"), (checked.sessions, "session"), (checked.rows, "matrix row"))
    counts = ", ".join(words.count(*each) for each in counted)
    found = "everything holds" if faults == 0 else words.count(faults, "fault")
    typer.echo(f"checked {counts}: {found}", err=True)
    raise typer.Exit(exit_codes.NO if faults else exit_codes.DONE)
