"""What FAMILY names on the command line: a family, or in its place the checkpoint that is to be measured."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints import folder, hub
from zmlx_bench.checkpoints.resolve import existing
from zmlx_bench.errors import UnusableInput
from zmlx_bench.printable import clean
from zmlx_bench.workspace import Workspace


def named(argument: str, checkpoint: str, workspace: Workspace) -> tuple[str, str]:
    """Return the family and what `--checkpoint` says of it.

    A checkpoint's folder or hub id is of the family whose architecture its config.json names, and downloaded where it
    is not here. UnusableInput for what is neither, and where `--checkpoint` names another one.
    """
    if argument in families.names(workspace) or families.is_structural(argument, workspace):
        return argument, checkpoint
    place = _place(argument)
    if place is None:
        return families.check_name(argument, workspace), checkpoint
    if checkpoint != "auto":
        raise UnusableInput(
            f"--checkpoint {clean(checkpoint)}: the checkpoint stands in FAMILY's place already; name it once"
        )
    return families.named_by(folder.model_type(place), workspace), argument


def _place(argument: str) -> Path | None:
    """Return the folder of the checkpoint that is named, None where the argument can name none; UnusableInput for a
    path at which there is none."""
    path = existing(argument)
    if path is not None and path.is_dir():
        return path
    if path is not None:
        raise UnusableInput(f"checkpoint {clean(argument)}: is a file; give the folder of an mlx-lm checkpoint")
    if argument.startswith(("/", "./", "../", "~")):
        raise UnusableInput(f"checkpoint {clean(argument)}: there is no such folder")
    repo, revision = hub.split(argument)
    owner, slash, name = repo.partition("/")
    if not slash or not name or "/" in name or not owner:
        return None
    return hub.fetch(repo, revision, "hub id")
