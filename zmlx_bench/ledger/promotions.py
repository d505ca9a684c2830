"""`variants/promoted.toml`: read it, know the incumbents, and carry a decision into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from zmlx_bench import files, locks
from zmlx_bench.analysis.decision import GroupDecision, GroupKey
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.ledger.bodies import Loaded
from zmlx_bench.schema.migrations.checkpoints import digest_of
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import PromotedCapsule, Promotion, Promotions
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace

FILE = "promoted.toml"
HEADER = "Written by `zmlx promote` from the evidence that each entry names; `zmlx check` recomputes it."


def path_of(workspace: Workspace) -> Path:
    """Return where the promotions of a workspace stand."""
    return workspace.variants / FILE


def read(workspace: Workspace) -> Promotions:
    """Return the promotions; none where the file does not exist yet."""
    path = path_of(workspace)
    found = files.read_toml(path, Promotions) if path.exists() else Promotions()
    return found.model_copy(update={"promotion": tuple(_whole(promotion, workspace) for promotion in found.promotion)})


def _whole(promotion: Promotion, workspace: Workspace) -> Promotion:
    """Return the promotion with the mlx-lm version of its sessions, which the first ones did not record."""
    session = workspace.session(promotion.sessions[0]) / "session.json"
    if promotion.mlx_lm is not None or not session.is_file():
        return promotion
    try:
        software = files.read_json(session, Session).software
    except UnusableInput:
        return promotion
    return promotion.model_copy(update={"mlx_lm": software.mlx_lm})


def key_of(promotion: Promotion) -> GroupKey:
    """Return the group whose default a promotion is."""
    return GroupKey(
        promotion.family,
        digest_of(promotion.checkpoint_id),
        promotion.conditions,
        promotion.backend,
        promotion.device,
        promotion.cores,
        promotion.mlx,
        promotion.mlx_lm,
    )


def incumbents(promotions: Promotions) -> dict[GroupKey, str]:
    """Return the promoted variant of each group."""
    return {key_of(promotion): promotion.variant for promotion in promotions.promotion}


def incumbent(promotions: Promotions, key: GroupKey) -> str | None:
    """Return the variant promoted for a group; else the one of a promotion that did not record all of the group."""
    known = incumbents(promotions)
    return known.get(key) or next((name for of, name in known.items() if of.covers(key)), None)


def after(
    promotions: Promotions,
    decisions: Mapping[GroupKey, GroupDecision],
    evidence: Mapping[GroupKey, Sequence[Loaded]],
    policy: Policy,
) -> Promotions:
    """Return the promotions once the decisions are carried out; groups without a decision keep theirs."""
    kept = {key_of(promotion): promotion for promotion in promotions.promotion}
    for key, decision in decisions.items():
        if decision.action == "promote":
            before = kept.get(key)
            kept[key] = _promotion(key, decision, evidence[key], before.variant if before else None, policy)
        elif decision.action == "demote":
            kept.pop(key, None)
    ordered = sorted(kept, key=lambda key: key.order)
    return Promotions(promotion=tuple(kept[key] for key in ordered))


def write(workspace: Workspace, before: Promotions, promotions: Promotions) -> bool:
    """Write the promotions that follow from those `before` where they differ; return whether they did.

    CannotHere when another process has written others meanwhile.
    """
    if promotions == read(workspace):
        return False
    path = path_of(workspace)
    with locks.locked(path):
        if read(workspace) != before:
            raise CannotHere(f"{path}: another command has changed it meanwhile; try again")
        files.write_atomic(path, dump(promotions))
    return True


def dump(promotions: Promotions) -> bytes:
    """Return the bytes of the file; TOML has no null, so what is absent is left out."""
    document = tomlkit.document()
    document.add(tomlkit.comment(HEADER))
    document.add("schema_version", tomlkit.item(promotions.schema_version))
    entries = tomlkit.aot()
    for promotion in promotions.promotion:
        fields: dict[str, Any] = promotion.model_dump(mode="json", exclude_none=True)
        capsules = tomlkit.aot()
        for capsule in fields.pop("capsules"):
            capsules.append(tomlkit.item(capsule))
        table = tomlkit.table()
        table.update(fields)
        table.add("capsules", capsules)
        entries.append(table)
    if promotions.promotion:
        document.add("promotion", entries)
    return tomlkit.dumps(document).encode()


def _promotion(
    key: GroupKey, decision: GroupDecision, evidence: Sequence[Loaded], replaced: str | None, policy: Policy
) -> Promotion:
    verdict = next(v for v in decision.verdicts if v.variant == decision.recommended)
    sessions = {loaded.evidence.session: loaded for loaded in evidence}
    capsules = []
    for name in verdict.rests_on:
        for path, capsule in sessions[name].capsules.items():
            figures = capsule.figures
            if capsule.variant.name != verdict.variant or capsule.tokens not in policy.min_blocks:
                continue
            # A promoted variant has passed the gates that need these.
            assert figures.speedup is not None
            assert figures.fidelity is not None
            assert figures.speedup.low is not None
            assert figures.speedup.high is not None
            capsules.append(
                PromotedCapsule(
                    capsule=path,
                    capsule_sha256=capsule.content_sha256,
                    tokens=capsule.tokens,
                    speedup=figures.speedup.value,
                    speedup_low=figures.speedup.low,
                    speedup_high=figures.speedup.high,
                    null_speedup=figures.null.value if figures.null else None,
                    matched_tokens=figures.fidelity.matched_tokens,
                    total_tokens=figures.fidelity.total_tokens,
                    peak_mem_gb=figures.memory.peak_mem_gb,
                    baseline_peak_mem_gb=figures.baseline_memory.peak_mem_gb,
                )
            )
    newest = max(evidence, key=lambda loaded: loaded.evidence.ended)
    return Promotion(
        family=key.family,
        checkpoint=newest.label,
        checkpoint_id=key.checkpoint,
        backend=next(iter(newest.capsules.values())).machine.backend,
        device=key.device,
        cores=key.cores,
        mlx=key.mlx,
        mlx_lm=key.mlx_lm,
        conditions=key.conditions,
        variant=verdict.variant,
        identity=verdict.latest.identity,
        since=max(capsule.time for capsule in newest.capsules.values()),
        replaced=replaced,
        policy_sha256=policy.sha256,
        sessions=verdict.rests_on,
        capsules=tuple(capsules),
    )
