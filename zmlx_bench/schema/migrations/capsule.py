"""Versions of the capsule."""

from __future__ import annotations

from zmlx_bench.schema.migrations import checkpoints
from zmlx_bench.schema.migrations.plain import Plain, inside, renamed, without


def hashed_1(document: Plain) -> Plain:
    """Return what the hash of version 1 is over: `audit` came later and was left out where it was null."""
    return without(document, "audit") if document.get("audit") is None else document


def update_to_2(document: Plain) -> Plain:
    """Conditions were always the default ones; the protocol's `runs` is called `blocks`."""
    changed = inside(document, "checkpoint", checkpoints.update_to_2)
    changed = inside(changed, "protocol", lambda protocol: renamed(protocol, "runs", "blocks"))
    return {"conditions": {}, **changed, "schema_version": 2}
