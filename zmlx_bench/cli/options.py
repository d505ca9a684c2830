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
RehashOption = Annotated[
    bool, typer.Option("--rehash", help="Hash the weights that are here again and hold them against the evidence.")
]
FamilyArgument = Annotated[
    str,
    typer.Argument(metavar="FAMILY", help="Model family; `zmlx models` lists them.", autocompletion=complete.family),
]
OptionalFamily = Annotated[
    str | None,
    typer.Argument(metavar="[FAMILY]", help="Model family; default: all.", autocompletion=complete.family),
]

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of a command that hands mlx-lm's own options on."""
CheckpointOption = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="WHICH",
        help="auto, tiny, full[@REVISION], a folder, a hub id.",
        autocompletion=complete.checkpoint,
    ),
]
VariantOption = Annotated[
    str,
    typer.Option(
        "--variant", metavar="NAME", help="promoted, none, or a variant's name.", autocompletion=complete.variant
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse where no variant, or only one measured on an earlier path, applies.")
]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Allow a checkpoint whose config names code to run.")
]
