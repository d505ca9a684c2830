"""Whether a workspace decides by thresholds of its own: the error rates that the docs give are those of zmlx's."""

from __future__ import annotations

from collections.abc import Iterator

from zmlx_bench.ledger.evidence_reader import POLICY_FILE, read_policy
from zmlx_bench.schema.policy import Policy
from zmlx_bench.workspace import Workspace, packaged


def notes(policy: Policy) -> Iterator[str]:
    """Say which thresholds are other than in the policy that comes with zmlx, if any."""
    theirs = read_policy(Workspace(packaged()))
    differing = [
        f"{field} {getattr(policy, field)} ({getattr(theirs, field)})"
        for field in Policy.model_fields
        if getattr(policy, field) != getattr(theirs, field)
    ]
    if differing:
        listed = ", ".join(differing)
        yield f"{POLICY_FILE}: not zmlx's own, whose error rates the docs give; here, and zmlx's in brackets: {listed}"
