"""Seals documents as a forger would: the hash is over whatever now stands there."""

from __future__ import annotations

from typing import Any

from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.sealed import HASH


def resealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the present version with the hash of its other fields."""
    return {**content, HASH: content_hash({name: value for name, value in content.items() if name != HASH})}
