"""`zmlx init`: make a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty or new folder.")]) -> None:
    """Make a workspace in DIR from the kernels and variants that came with zmlx."""
    from zmlx_bench import workspace

    made = workspace.create(folder)
    typer.echo(f"made a workspace in {made.root}; next: cd {folder} && zmlx run qwen3 --tokens 200 --runs 3")
