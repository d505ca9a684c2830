"""From capsules and sessions to evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from zmlx_bench.analysis.decision.evidence import (
    ArmEvidence,
    BudgetEvidence,
    GroupKey,
    SessionEvidence,
)
from zmlx_bench.printable import said
from zmlx_bench.schema.audit import Audit
from zmlx_bench.schema.base import Backend, content_hash
from zmlx_bench.schema.capsule import Capsule, Software
from zmlx_bench.schema.carried import CarriedVariant
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.plan import Checkpoint, Conditions
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.session import Session
from zmlx_bench.schema.variant import ResolvedVariant


def key_of(
    family: str, checkpoint: Checkpoint, conditions: Conditions, machine: Machine, mlx: str | None, mlx_lm: str | None
) -> GroupKey:
    """Return the group of what is measured so; `mlx` and `mlx_lm` are versions, None where not installed."""
    return GroupKey(
        family, checkpoint.digest, conditions, machine.backend, machine.device, machine.cores, mlx or "none", mlx_lm
    )


def key_of_session(session: Session) -> GroupKey:
    """Return the group that a session's evidence belongs to."""
    plan, software = session.plan, session.software
    return key_of(plan.family, plan.checkpoint, plan.conditions, session.machine, software.mlx, software.mlx_lm)


def key_of_row(row: MatrixRow) -> GroupKey:
    """Return the group that a matrix row belongs to."""
    return GroupKey(
        row.family, row.checkpoint_digest, row.conditions, row.backend, row.device, row.cores, row.mlx, row.mlx_lm
    )


CarriedBy = Mapping[tuple[str, Backend], CarriedVariant]
"""Variants of `variants/identities.toml` by the hash over bytes that old evidence has, and the backend."""


def bytes_identity(variant: ResolvedVariant) -> str:
    """Return the hash of a resolved variant with the bytes of its kernels, which was its identity under rule 1.

    Over the fields that there were then: what a variant says since is no part of it.
    """
    kernels = [
        {
            "kernel": used.kernel,
            "mode": used.mode,
            "sites": list(used.sites),
            "numerics": used.numerics,
            "source_sha256": used.source_sha256,
        }
        for used in variant.kernels
    ]
    return content_hash({"name": variant.name, "family": variant.family, "kernels": kernels, "env": variant.env})


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
    session: Session, capsules: Iterable[tuple[str, Capsule]], policy: Policy, carried: CarriedBy
) -> SessionEvidence:
    """Return the evidence of a finished session from its capsules with their paths."""
    by_variant: dict[str, list[tuple[str, Capsule]]] = {}
    for path, capsule in capsules:
        by_variant.setdefault(capsule.variant.name, []).append((path, capsule))
    arms = {name: _arm(found, policy, carried) for name, found in by_variant.items()}
    rules = {arm.name: arm.variant.fidelity for arm in session.plan.arms if arm.variant is not None}
    return SessionEvidence(
        session=session.session,
        started=datetime.fromisoformat(session.started),
        ended=datetime.fromisoformat(session.ended or session.started),
        null_arm=any(arm.role == "null" for arm in session.plan.arms),
        arms=tuple(arms[name] for name in rules if name in arms),
        planned=tuple(name for name, rule in rules.items() if rule == "identical"),
        near_planned=tuple(name for name, rule in rules.items() if rule == "near"),
        incumbent=next((arm.name for arm in session.plan.arms if arm.role == "incumbent"), None),
        looks=session.plan.looks,
        keeps_at_looks=session.plan.algorithm >= 3,
        blocks=session.blocks if session.plan.looks else None,
        clock_set_s=session.clock_set_s,
        contrast=session.plan.contrast,
        within=session.plan.within,
    )


def _arm(capsules: Sequence[tuple[str, Capsule]], policy: Policy, carried: CarriedBy) -> ArmEvidence:
    """Return the evidence of one variant from its capsules, with their paths, of a session."""
    _, latest = capsules[-1]
    variant = latest.variant
    identity, parts = identity_of(variant, latest.machine.backend, latest.software, carried)
    called = [calls for _, capsule in capsules if (calls := capsule.figures.calls_per_token)]
    return ArmEvidence(
        variant=variant.name,
        identity=identity,
        budgets={capsule.tokens: budget_evidence(path, capsule, policy) for path, capsule in capsules},
        bytes_identity=bytes_identity(variant),
        coverage={str(site): count for site, count in called[-1].items()} if called else None,
        parts=parts,
        environment=None if variant.environment is None else variant.environment.asked,
        near=variant.fidelity == "near",
    )


def budget_evidence(path: str, capsule: Capsule, policy: Policy) -> BudgetEvidence:
    """Return what one capsule says."""
    found = capsule.figures.fidelity
    prompts = () if found is None else found.prompts
    return BudgetEvidence(
        tokens=capsule.tokens,
        capsule=path,
        status=capsule.status,
        figures=capsule.figures,
        estimator=capsule.protocol.estimator,
        counting_prompts=sum(p.distinct_8grams >= policy.distinct_8gram_share for p in prompts),
        message=_message(capsule),
        idle_kernels=_idle(capsule),
        near=None if capsule.audit is None else capsule.audit.near,
        stock_top1=_stock_top1(capsule.audit),
        audit_failed=_audit_failed(capsule.audit),
    )


def _stock_top1(audit: Audit | None) -> float | None:
    if audit is None or audit.near is None or audit.figures is None:
        return None
    return audit.figures.baseline.top1_agreement


def _audit_failed(audit: Audit | None) -> str | None:
    if audit is None or audit.status == "ok":
        return None
    return f"{audit.status}: {said(audit.message) or 'no message'}"


def _idle(capsule: Capsule) -> tuple[str, ...]:
    if capsule.status != "ok":
        return ()
    calls = capsule.figures.calls_per_token
    return tuple(
        f"{used.kernel}.{used.mode}"
        for used in capsule.variant.kernels
        if not any(calls.get(site, 0.0) > 0 for site in used.sites)
    )


def _message(capsule: Capsule) -> str | None:
    message = next((run.message for run in capsule.own_runs if run.message and run.status == capsule.status), None)
    return said(message) or None
