"""The draft model of speculative decoding: looked for before mlx-lm loads anything; a fault names the option."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench.checkpoints import folder, hub
from zmlx_bench.errors import UnusableInput
from zmlx_bench.printable import clean

_OPTION = "--draft-model"


def check(name: str) -> None:
    """Raise UnusableInput where mlx-lm could not load the draft model `name`, CannotHere where it cannot be had here.

    It is a folder or a hub id; what the cache lacks of a hub id is downloaded, as mlx-lm would.
    """
    try:
        place = Path(name)
        lacking = folder.lacks(place) if place.is_dir() else None
        is_file = place.is_file()
    except (OSError, ValueError) as error:
        raise UnusableInput(f"{_OPTION} {clean(name)}: {error}; give the folder of a checkpoint or a hub id") from None
    if lacking is not None or is_file:
        fault = f"lacks {lacking}" if lacking is not None else "is a file"
        raise UnusableInput(f"{_OPTION} {clean(name)}: {fault}; give the folder of an mlx-lm checkpoint or a hub id")
    if not place.is_dir():
        hub.fetch(name, named_by=_OPTION)
