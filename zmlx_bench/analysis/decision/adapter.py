"""From capsules and sessions to evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime

from zmlx_bench.analysis.decision.evidence import (
    ArmEvidence,
    BudgetEvidence,
    FidelityEvidence,
    GroupKey,
    SessionEvidence,
)
from zmlx_bench.schema.base import Backend, content_hash
from zmlx_bench.schema.capsule import Software
from zmlx_bench.schema.carried import CarriedVariant
from zmlx_bench.schema.figures import Fidelity, Ratio
from zmlx_bench.schema.head import CapsuleHead, SessionHead
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.variant import ResolvedVariant

LONGEST_MESSAGE = 300
"""Characters of a process's message that a verdict repeats."""


def key_of_session(session: SessionHead) -> GroupKey:
    """Return the group that a session's evidence belongs to."""
    plan, machine = session.plan, session.machine
    return GroupKey(plan.family, plan.checkpoint.id, machine.backend, machine.device, session.software.mlx)


def key_of_row(row: MatrixRow) -> GroupKey:
    """Return the group that a matrix row belongs to."""
    return GroupKey(row.family, row.checkpoint_id, row.backend, row.device, row.mlx)


CarriedBy = Mapping[tuple[str, Backend], CarriedVariant]
"""Variants of `variants/identities.toml` by the hash over bytes that old evidence has, and the backend."""


def bytes_identity(variant: ResolvedVariant) -> str:
    """Return the hash of a resolved variant with the bytes of its kernels, which was its identity under rule 1."""
    return content_hash(variant.model_dump(mode="json", exclude={"why", "identity"}))


def identity_of(
    variant: ResolvedVariant, backend: Backend, software: Software, carried: CarriedBy
) -> tuple[str, Identity | None]:
    """Return what a capsule's evidence is bound to, with its parts where they are known.

    A capsule from before there were identities has the one that its bytes are carried over to, if what composed its
    sites at its commit is what does so there. Otherwise it has one of its own, which no other code ever has.
    """
    if variant.identity is not None:
        return variant.identity.digest, variant.identity
    old = bytes_identity(variant)
    known = carried.get((old, backend))
    if known is None:
        return old, None
    ran = None if software.dirty else known.commits.get(software.commit or "")
    if ran == known.sites_sha256:
        return known.identity.digest, known.identity
    return content_hash([old, ran or software.commit]), None


def session_evidence(
    session: SessionHead, capsules: Iterable[tuple[str, CapsuleHead]], policy: Policy, carried: CarriedBy
) -> SessionEvidence:
    """Return the evidence of a finished session from its capsules with their paths."""
    arms: dict[str, ArmEvidence] = {}
    incumbent = next((arm.name for arm in session.plan.arms if arm.role == "incumbent"), None)
    for path, capsule in capsules:
        budget = budget_evidence(path, capsule, policy)
        name = capsule.variant.name
        before = arms.get(name)
        identity, parts = identity_of(capsule.variant, capsule.machine.backend, capsule.software, carried)
        budgets = {**(before.budgets if before else {}), capsule.tokens: budget}
        calls: Mapping[str, float] = {str(site): count for site, count in capsule.figures.calls_per_token.items()}
        coverage = calls or (before.coverage if before else None)
        arms[name] = ArmEvidence(name, identity, budgets, bytes_identity(capsule.variant), coverage, parts)
    planned = tuple(arm.name for arm in session.plan.arms if arm.role in ("incumbent", "variant"))
    return SessionEvidence(
        session=session.session,
        started=datetime.fromisoformat(session.started),
        ended=datetime.fromisoformat(session.ended or session.started),
        null_arm=any(arm.role == "null" for arm in session.plan.arms),
        arms=tuple(arms[name] for name in planned if name in arms),
        planned=planned,
        incumbent=incumbent,
    )


def budget_evidence(path: str, capsule: CapsuleHead, policy: Policy) -> BudgetEvidence:
    """Return what one capsule says."""
    figures = capsule.figures
    return BudgetEvidence(
        tokens=capsule.tokens,
        capsule=path,
        status=capsule.status,
        message=_message(capsule),
        gain=_logs(figures.speedup) or (),
        null=_logs(figures.null),
        over_incumbent=_logs(figures.incumbent),
        fidelity=None if figures.fidelity is None else _fidelity(figures.fidelity, policy),
        prefill=None if figures.prefill is None else math.log(figures.prefill.value),
        peak_mem_gb=figures.memory.peak_mem_gb,
        baseline_peak_mem_gb=figures.baseline_memory.peak_mem_gb,
        peak_rss_gb=figures.memory.peak_rss_gb,
        baseline_peak_rss_gb=figures.baseline_memory.peak_rss_gb,
        clock_disagreement=figures.clock_disagreement,
        throttled=figures.throttled,
        idle_kernels=_idle(capsule),
    )


def _logs(ratio: Ratio | None) -> tuple[float, ...] | None:
    return None if ratio is None else ratio.logs


def _fidelity(found: Fidelity, policy: Policy) -> FidelityEvidence:
    first = min((p for p in found.prompts if not p.identical), key=lambda p: p.matched, default=None)
    return FidelityEvidence(
        identical=found.verdict == "identical",
        matched=found.matched_tokens,
        total=found.total_tokens,
        counting_prompts=sum(p.distinct_8grams >= policy.distinct_8gram_share for p in found.prompts),
        baseline_repeats=found.baseline_repeats,
        null_identical=found.null_identical,
        divergence=None if first is None else (first.prompt, first.matched),
    )


def _idle(capsule: CapsuleHead) -> tuple[str, ...]:
    if capsule.status != "ok":
        return ()
    calls = capsule.figures.calls_per_token
    return tuple(
        f"{used.kernel}.{used.mode}"
        for used in capsule.variant.kernels
        if not any(calls.get(site, 0.0) > 0 for site in used.sites)
    )


def _message(capsule: CapsuleHead) -> str | None:
    runs = (*capsule.runs.variant, *capsule.fidelity_runs.variant)
    message = next((run.message for run in runs if run.message and run.status == capsule.status), None)
    # The worker's words end up on terminals and in the notebook.
    first = message.splitlines()[0] if message and message.strip() else None
    return None if first is None else "".join(c if c.isprintable() else "?" for c in first)[:LONGEST_MESSAGE]
