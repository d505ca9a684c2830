"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zmlx_bench.cli import complete

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", metavar="DIR", help="Workspace to use; default: the nearest one upwards."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
FamilyArgument = Annotated[
    str,
    typer.Argument(metavar="FAMILY", help="Model family, such as qwen3 or glm47.", autocompletion=complete.family),
]
OptionalFamily = Annotated[
    str | None,
    typer.Argument(metavar="[FAMILY]", help="Model family; default: all.", autocompletion=complete.family),
]
