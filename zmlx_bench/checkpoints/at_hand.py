"""The weights that evidence names, hashed again where they lie here."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints import digest, folder, hub
from zmlx_bench.schema.plan import Checkpoint
from zmlx_bench.workspace import Workspace


def digest_again(name: str, checkpoint: Checkpoint, option: str, workspace: Workspace) -> str | None:
    """Return the digest that the weights of a session of the family `name` have now, whatever is remembered of them.

    `option` is what `--checkpoint` said. None where they are not here, or are made by a recipe; UnusableInput where
    they cannot be used any more.
    """
    family = families.architecture(name, workspace)
    place = family.tiny if checkpoint.kind == "tiny" else _place(checkpoint, option)
    if place is None:
        return None
    config = folder.read_config(place, family, trust_remote_code=True)
    weights = digest.weights_sha256(folder.weight_files(place), again=True)
    return digest.of_files(folder.config_hash(config), weights)


def _place(checkpoint: Checkpoint, option: str) -> Path | None:
    if checkpoint.kind in ("full", "hub"):
        repo, commit = hub.split(checkpoint.source)
        return hub.cached(repo, commit)
    if checkpoint.kind == "path":
        place = Path(option)
        return place if place.is_dir() else None
    return None
