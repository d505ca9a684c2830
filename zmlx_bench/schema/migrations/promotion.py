"""Versions of `promoted.toml`."""

from __future__ import annotations

from typing import Any

from zmlx_bench.schema.migrations import checkpoints
from zmlx_bench.schema.migrations.plain import Plain, renamed


def update_to_2(document: Plain) -> Plain:
    """Conditions were always the default ones; mlx-lm's version stands in the sessions, the cores nowhere."""
    found = document.get("promotion")
    changed = {"promotion": [_promotion_to_2(one) for one in found]} if isinstance(found, list) else {}
    return {**document, **changed, "schema_version": 2}


def _promotion_to_2(promotion: Any) -> Any:
    if not isinstance(promotion, dict):
        return promotion
    changed = renamed(promotion, "checkpoint_id", "checkpoint_digest")
    if "checkpoint_digest" in changed:
        changed = {**changed, "checkpoint_digest": checkpoints.digest_of(changed["checkpoint_digest"])}
    return {"conditions": {}, **changed}
