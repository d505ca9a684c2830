"""What identifies weights, wherever they lie: the published ones in the hub's cache, a copy in a folder, a recipe."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from zmlx_bench.schema.base import content_hash

_SHA256 = re.compile(r"[0-9a-f]{64}")


def of_files(config_sha256: str, weights: Mapping[str, str]) -> str:
    """Return the digest of a checkpoint from its config's hash and the SHA-256 of each weight file by its name."""
    return content_hash({"config": config_sha256, "weights": dict(weights)})


def of_recipe(config_sha256: str, recipe: str) -> str:
    """Return the digest of a synthetic checkpoint."""
    return content_hash([config_sha256, recipe])


def weights_sha256(files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name."""
    return {path.name: _blob(path) or _hashed(path) for path in files}


def _blob(path: Path) -> str | None:
    """Return the SHA-256 that the hub's cache names the blob behind `path` by; None for any other file."""
    if not path.is_symlink():
        return None
    blob = path.resolve()
    return blob.name if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name) else None


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
