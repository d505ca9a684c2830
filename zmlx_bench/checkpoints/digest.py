"""What identifies weights, wherever they lie: the published ones in the hub's cache, a copy in a folder, a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zmlx_bench.checkpoints import remembered
from zmlx_bench.errors import UnusableInput
from zmlx_bench.printable import printable
from zmlx_bench.schema.base import content_hash


def of_files(config_sha256: str, weights: Mapping[str, str]) -> str:
    """Return the digest of a checkpoint from its config's hash and the SHA-256 of each weight file by its name."""
    return content_hash({"config": config_sha256, "weights": dict(weights)})


def of_recipe(config_sha256: str, recipe: str) -> str:
    """Return the digest of a synthetic checkpoint."""
    return content_hash([config_sha256, recipe])


def weights_sha256(files: Sequence[Path], *, again: bool = False) -> dict[str, str]:
    """Return the SHA-256 of each file's content by its name; with `again` whatever is remembered of it."""
    try:
        return {printable(path.name): remembered.sha256(path, again=again) for path in files}
    except OSError as error:
        raise UnusableInput(f"{error.filename}: cannot be read: {error.strerror or error}") from None
