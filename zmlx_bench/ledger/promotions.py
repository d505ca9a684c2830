"""`variants/promoted.toml`: what the evidence of each group leads to, and the incumbents that follow."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zmlx_bench import files, locks
from zmlx_bench.analysis.decision import RULE_OF_BYTES, GroupDecision, GroupKey, decide_group, judge_session
from zmlx_bench.analysis.decision.adapter import CarriedBy
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.ledger import conflict
from zmlx_bench.ledger.evidence_reader import SessionCapsules, group_of, named_by
from zmlx_bench.schema.cited import CitedCapsule
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import PromotedCapsule, Promotion, Promotions
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE, Workspace

FILE = "promoted.toml"
HEADER = "Written by `zmlx promote` from the evidence that each entry names; `zmlx check` recomputes it."


def path_of(workspace: Workspace) -> Path:
    """Return where the promotions of a workspace stand."""
    return workspace.variants / FILE


def read(workspace: Workspace) -> Promotions:
    """Return the promotions; none where the file does not exist yet."""
    path = path_of(workspace)
    if not path.exists():
        return Promotions()
    text = files.read_text(path)
    if conflict.conflicted(text):
        raise UnusableInput(f"{path}: {conflict.MESSAGE}")
    found = files.parse(path, Promotions, text, tomllib.loads)
    return found.model_copy(update={"promotion": tuple(_whole(promotion, workspace) for promotion in found.promotion)})


def _whole(promotion: Promotion, workspace: Workspace) -> Promotion:
    """Return the promotion with the mlx-lm version of its sessions, which those of version 1 did not record."""
    session = workspace.session(promotion.sessions[0]) / SESSION_FILE
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
        promotion.checkpoint_digest,
        promotion.conditions,
        promotion.backend,
        promotion.device,
        promotion.cores,
        promotion.mlx,
        promotion.mlx_lm,
    )


def parts_of(promotion: Promotion, table: CarriedBy) -> Identity | None:
    """Return what a promotion's identity is made of; of one bound to bytes, what these are carried over to."""
    known = table.get((promotion.identity, promotion.backend))
    return promotion.parts or (None if known is None else known.identity)


def incumbents(promotions: Promotions) -> dict[GroupKey, str]:
    """Return the promoted variant of each group."""
    return {key_of(promotion): promotion.variant for promotion in promotions.promotion}


def incumbent(promotions: Promotions, key: GroupKey) -> str | None:
    """Return the variant promoted for a group; else the one of a promotion that did not record all of the group."""
    known = incumbents(promotions)
    return known.get(key) or next((name for of, name in known.items() if of.covers(key)), None)


@dataclass(frozen=True)
class Outcome:
    """What the evidence of a group leads to."""

    incumbent: str | None
    """The default before the latest session."""
    decision: GroupDecision
    """From all sessions."""
    promotion: Promotion | None
    """The default after them; None is the stock model."""


def outcome(sessions: Sequence[SessionCapsules], policy: Policy) -> Outcome:
    """Decide a group after each of its sessions, in the order in which they ended.

    Each decision meets the default that the ones before it made, so that the outcome follows from the evidence alone,
    however often and where `zmlx promote` ran meanwhile.
    """
    ordered = sorted(sessions, key=lambda s: (s.evidence.ended, s.evidence.session))
    judged = {s.evidence.session: judge_session(s.evidence, policy) for s in ordered}
    promotion: Promotion | None = None
    for count in range(1, len(ordered) + 1):
        then = ordered[:count]
        incumbent = promotion.variant if promotion else None
        decision = decide_group(group_of(then, incumbent), policy, judged)
        if decision.action == "none" and _before_identities(then[-1]):
            decision = _by_bytes(decision, then, policy)
        if decision.action == "promote":
            promotion = _promotion(decision, then, incumbent, policy)
        elif decision.action == "demote":
            promotion = None
        elif promotion is not None and _stands_anew(promotion, decision):
            promotion = _promotion(decision, then, promotion.replaced, policy)
    return Outcome(incumbent, decision, promotion)


def _before_identities(session: SessionCapsules) -> bool:
    return all(capsule.variant.identity is None for capsule in session.capsules.values())


def _by_bytes(decision: GroupDecision, then: Sequence[SessionCapsules], policy: Policy) -> GroupDecision:
    """Return what rule 1 made of sessions of its time, where it promoted: a default does not fall with its rule.

    It falls with its tokens, whatever the rule.
    """
    earlier = decide_group(group_of(then, None), policy, rule=RULE_OF_BYTES)
    wrong = {v.variant for v in decision.verdicts if v.verdict == "REJECT" and v.reason == "fidelity"}
    return earlier if earlier.action == "promote" and earlier.recommended not in wrong else decision


def _stands_anew(promotion: Promotion, decision: GroupDecision) -> bool:
    """Whether a promotion of an earlier rule, which is kept, is one under the present rule as well."""
    return promotion.rule < decision.rule_of_tokens and any(
        v.variant == promotion.variant and v.verdict == "PROMOTE" for v in decision.verdicts
    )


def after(
    before: Promotions, outcomes: Mapping[GroupKey, Outcome], evidence: Mapping[GroupKey, Sequence[SessionCapsules]]
) -> Promotions:
    """Return the promotions that the evidence gives.

    A promotion stands as it was where its group was not decided, or where a capsule that it rests on is not in the
    evidence: what cannot be used takes nothing away.
    """
    kept = {key_of(promotion): promotion for promotion in before.promotion}
    for key, found in outcomes.items():
        stood = kept.pop(key, None)
        present = {path for session in evidence[key] for path in session.capsules}
        if stood is not None and not present.issuperset(cited.capsule for cited in stood.capsules):
            kept[key] = stood
        elif found.promotion is not None:
            kept[key] = found.promotion
    ordered = sorted(kept, key=lambda key: key.order)
    return Promotions(promotion=tuple(kept[key] for key in ordered))


def standing(workspace: Workspace) -> Promotions | None:
    """Return the promotions as they stand; None where Git could not merge them, for they can be made again."""
    path = path_of(workspace)
    if path.exists() and conflict.conflicted(files.read_text(path)):
        return None
    return read(workspace)


def write(workspace: Workspace, before: Promotions | None, promotions: Promotions) -> bool:
    """Write the promotions that follow from those `before` where they differ; return whether they did.

    CannotHere when another process has written others meanwhile.
    """
    path = path_of(workspace)
    if promotions == standing(workspace):
        return False
    with locks.locked(path):
        if standing(workspace) != before:
            raise CannotHere(f"{path}: another command has changed it meanwhile; try again")
        files.write_atomic(path, dump(promotions))
    return True


def dump(promotions: Promotions) -> bytes:
    """Return the bytes of the file; TOML has no null, so what is absent is left out."""
    import tomlkit  # few of the commands that read promotions write them

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
    decision: GroupDecision, evidence: Sequence[SessionCapsules], replaced: str | None, policy: Policy
) -> Promotion:
    verdict = next(v for v in decision.verdicts if v.variant == decision.recommended)
    sessions = {loaded.evidence.session: loaded for loaded in evidence}
    cited = tuple(
        PromotedCapsule.model_validate(CitedCapsule.of(row_of(capsule)).model_dump())
        for name in verdict.rests_on
        for capsule in sessions[name].capsules.values()
        if capsule.variant.name == verdict.variant and capsule.tokens in policy.min_blocks
    )
    newest = max(evidence, key=lambda loaded: loaded.evidence.ended)
    latest = sessions[verdict.latest.session].evidence
    arm = next(arm for arm in latest.arms if arm.variant == verdict.variant)
    return Promotion(
        family=newest.key.family,
        checkpoint=named_by(evidence).label,
        checkpoint_digest=newest.key.checkpoint,
        backend=next(iter(newest.capsules.values())).machine.backend,
        device=newest.key.device,
        cores=newest.key.cores,
        mlx=newest.key.mlx,
        mlx_lm=newest.key.mlx_lm,
        conditions=newest.key.conditions,
        variant=verdict.variant,
        identity=verdict.latest.identity,
        since=max(capsule.time for capsule in newest.capsules.values()),
        replaced=replaced,
        policy_sha256=policy.sha256,
        rule=decision.rule_of_tokens,
        sessions=verdict.rests_on,
        parts=arm.parts if decision.rule_of_tokens > RULE_OF_BYTES else None,
        capsules=cited,
    )
