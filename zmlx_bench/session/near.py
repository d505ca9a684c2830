"""What a session needs that measures a variant which is declared near: an audit of prompts and positions enough."""

from __future__ import annotations

from collections.abc import Sequence

from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.protocol.plan import AUDIT_POSITIONS
from zmlx_bench.schema.prompts import PromptSet
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session.request import Request
from zmlx_bench.workspace import Workspace


def audit_positions(
    request: Request, variants: Sequence[ResolvedVariant], prompts: PromptSet, workspace: Workspace
) -> int | None:
    """Return how many tokens of each answer the session's audits force; None where nothing asks for an audit.

    UnusableInput where a variant is near and the session could not show it.
    """
    longest = max(request.tokens)
    near = next((variant.name for variant in variants if variant.fidelity == "near"), None)
    if near is None:
        return min(AUDIT_POSITIONS, longest) if request.audit else None
    policy = read_policy(workspace)
    declared = f"{near} is declared near, which"
    if not request.conditions.default:
        given = " ".join(request.conditions.options)
        raise UnusableInput(f"{given}: {declared} is shown under the default conditions alone; leave the options out")
    if len(prompts.prompt) < policy.near_prompts:
        raise UnusableInput(
            f"--prompts: {len(prompts.prompt)} prompts; {declared} takes {policy.near_prompts} at least: --prompts near"
        )
    if longest < policy.near_positions:
        least = policy.near_positions
        raise UnusableInput(
            f"--tokens {longest}: {declared} takes answers of {least} tokens at least: --tokens {least}"
        )
    return policy.near_positions
