"""`zmlx init`: make a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zmlx_bench.cli.options import JsonOption


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty or new folder.")],
    as_json: JsonOption = False,
) -> None:
    """Make a workspace in DIR from the kernels and variants that came with zmlx."""
    from zmlx_bench import workspace
    from zmlx_bench.cli.output import print_json

    made = workspace.create(folder)
    if as_json:
        print_json({"workspace": str(made.root)})
    else:
        typer.echo(f"made a workspace in {made.root}\nnext: cd {folder} && zmlx run qwen3 --tokens 200 --runs 3")
