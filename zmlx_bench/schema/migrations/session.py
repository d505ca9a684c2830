"""Versions of `session.json` and of the plan in it."""

from __future__ import annotations

from zmlx_bench.schema.migrations import checkpoints
from zmlx_bench.schema.migrations.plain import Plain, inside, renamed, without


def hashed_1(document: Plain) -> Plain:
    """Return what the hash of version 1 is over: `audit_positions` came later and was left out where it was null."""
    plan = document.get("plan")
    if isinstance(plan, dict) and plan.get("audit_positions") is None:
        return {**document, "plan": without(plan, "audit_positions")}
    return document


def update_to_2(document: Plain) -> Plain:
    """Conditions and the plan's algorithm were always the default ones; `runs` is called `blocks`."""
    return {**inside(document, "plan", _plan_to_2), "schema_version": 2}


def _plan_to_2(plan: Plain) -> Plain:
    changed = inside(renamed(plan, "runs", "blocks"), "checkpoint", checkpoints.update_to_2)
    return {"algorithm": 1, "conditions": {}, **changed}
