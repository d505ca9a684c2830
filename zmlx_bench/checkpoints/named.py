"""What FAMILY names on the command line: a family, or in its place the checkpoint that is to be measured."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints import folder, hub
from zmlx_bench.checkpoints.resolve import existing, refuse_lost
from zmlx_bench.errors import UnusableInput
from zmlx_bench.printable import clean
from zmlx_bench.workspace import Workspace

_OR_ELSE = "or give a checkpoint's folder, or a hub id OWNER/NAME"


def named(argument: str, checkpoint: str, workspace: Workspace, *, anew: bool = True) -> tuple[str, str]:
    """Return the family and what `--checkpoint` says of it.

    A checkpoint's folder or hub id is of the family whose architecture its config.json names, and downloaded where it
    is not here. UnusableInput for what is neither, and where `--checkpoint` names another one. `any-<model_type>` of an
    architecture that has a family by now names only what is not begun `anew`: sessions from before it had one.
    """
    if argument in families.names(workspace):
        return argument, checkpoint
    if families.is_structural(argument, workspace):
        if anew:
            families.refuse_superseded(argument, workspace)
        return argument, checkpoint
    place = _place(argument)
    if place is None:
        return families.check_name(argument, workspace, or_else=_OR_ELSE), checkpoint
    if checkpoint != "auto":
        raise UnusableInput(
            f"--checkpoint {clean(checkpoint)}: the checkpoint stands in FAMILY's place already; name it once"
        )
    model_type = folder.model_type(place)
    try:
        return families.named_by(model_type, workspace), argument
    except UnusableInput as error:
        raise UnusableInput(f"{place / 'config.json'}: {error}") from None


def _place(argument: str) -> Path | None:
    """Return the path of the checkpoint that is named, None where the argument can name none."""
    path = existing(argument)
    if path is not None:
        return path
    refuse_lost(argument)
    repo, revision = hub.split(argument)
    return hub.fetch(repo, revision) if "/" in repo else None
