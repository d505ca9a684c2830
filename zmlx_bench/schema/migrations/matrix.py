"""Versions of a matrix row."""

from __future__ import annotations

from zmlx_bench.schema.migrations import checkpoints
from zmlx_bench.schema.migrations.plain import Plain, renamed


def update_to_2(row: Plain) -> Plain:
    """Conditions were always the default ones, the cores were not recorded; `runs` is called `blocks`."""
    changed = renamed(renamed(row, "runs", "blocks"), "checkpoint_id", "checkpoint_digest")
    if "checkpoint_digest" in changed:
        changed = {**changed, "checkpoint_digest": checkpoints.digest_of(changed["checkpoint_digest"])}
    return {"conditions": {}, "cores": None, **changed, "schema_version": 2}
