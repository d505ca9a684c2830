"""`zmlx init`: make a workspace."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zmlx_bench.cli.options import JsonOption
from zmlx_bench.printable import printable

if TYPE_CHECKING:
    from zmlx_bench.copies import Unit


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty or new folder; with --update a workspace.")],
    update: Annotated[bool, typer.Option("--update", help="Bring the copies in DIR up to date; edits stay.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a workspace in DIR from the kernels and variants that came with zmlx, or bring one up to date."""
    from zmlx_bench import copies, workspace
    from zmlx_bench.cli.output import print_json

    if update:
        _say(copies.update(workspace.find(folder)), as_json)
        return
    made = workspace.create(folder)
    copies.remember(made)
    if as_json:
        print_json({"workspace": str(made.root)})
    else:
        typer.echo(f"made a workspace in {printable(str(made.root))}")
        typer.echo(f"next: cd {printable(shlex.quote(str(folder)))} && zmlx models")


def _say(units: Sequence[Unit], as_json: bool) -> None:
    from zmlx_bench.cli.output import print_json

    if as_json:
        print_json({unit.name: unit.state for unit in units})
        return
    for unit in units:
        if unit.state == "kept":
            typer.echo(f"{unit.name}: edited here and newer in zmlx: kept; compare it with the packaged one")
        elif unit.state != "current":
            typer.echo(f"{unit.name}: {unit.state}")
    changed = sum(unit.state in ("replaced", "added", "removed") for unit in units)
    typer.echo(f"{changed} of {len(units)} copies were brought up to date", err=True)
