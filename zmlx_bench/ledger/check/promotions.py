"""`variants/promoted.toml`: each promotion decided again from the evidence of its time, under the present policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from zmlx_bench.analysis.decision.evidence import GroupKey
from zmlx_bench.findings.compare import compare_models
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative
from zmlx_bench.ledger import promotions
from zmlx_bench.ledger.evidence_reader import Reader, SessionCapsules, everything
from zmlx_bench.schema.machine import cores_told
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import Promotion, Promotions
from zmlx_bench.workspace import Workspace


def check_promotions(workspace: Workspace, found: Promotions, reader: Reader, policy: Policy) -> list[Finding]:
    """Return every fault of the promotions."""
    file = relative(workspace.root, promotions.path_of(workspace))
    if not found.promotion:
        return []
    return list(_check(found, file, everything(reader, None), policy))


def _check(
    found: Promotions, file: str, evidence: dict[GroupKey, list[SessionCapsules]], policy: Policy
) -> Iterator[Finding]:
    seen: set[GroupKey] = set()
    for index, promotion in enumerate(found.promotion):
        field = f"promotion[{index}]"
        key = promotions.key_of(promotion)
        if key in seen:
            where = ", ".join([promotion.device, *cores_told(promotion.device, promotion.cores)])
            yield finding(file, field, f"a second promotion for {promotion.family} on {where}")
        seen.add(key)
        yield from _one(promotion, file, field, evidence.get(key, []), policy)


def _one(
    promotion: Promotion, file: str, field: str, evidence: list[SessionCapsules], policy: Policy
) -> Iterator[Finding]:
    present = {loaded.evidence.session for loaded in evidence}
    for index, name in enumerate(promotion.sessions):
        if name not in present:
            message = f"{name} is missing, cannot be read, or is no session of this group"
            yield finding(file, f"{field}.sessions[{index}]", message)
    capsules = {path: capsule for loaded in evidence for path, capsule in loaded.capsules.items()}
    for index, named in enumerate(promotion.capsules):
        capsule = capsules.get(named.capsule)
        place = f"{field}.capsules[{index}]"
        if capsule is None:
            yield finding(file, f"{place}.capsule", f"{named.capsule} is missing or cannot be read")
        elif capsule.content_sha256 != named.capsule_sha256:
            yield finding(file, f"{place}.capsule_sha256", f"is not the hash of {named.capsule}")
    yield from _decided_again(promotion, file, field, evidence, policy)


def _decided_again(
    promotion: Promotion, file: str, field: str, evidence: list[SessionCapsules], policy: Policy
) -> Iterator[Finding]:
    """Decide from all sessions of the group up to the promotion, so that none can have been left out."""
    since = datetime.fromisoformat(promotion.since)
    then = [loaded for loaded in evidence if loaded.evidence.ended <= since]
    if not then:
        yield finding(file, f"{field}.since", f"no session of the group had ended by {promotion.since}")
        return
    found = promotions.outcome(then, policy)
    if found.promotion is None or found.promotion.variant != promotion.variant:
        verdict = next((v for v in found.decision.verdicts if v.variant == promotion.variant), None)
        said = "has no evidence" if verdict is None else f"is {verdict.verdict} ({verdict.reason}): {verdict.why}"
        changed = "" if promotion.policy_sha256 == policy.sha256 else "; the policy has changed since"
        message = f"the policy would not promote {promotion.variant}: it {said}{changed}"
        yield finding(file, f"{field}.variant", message)
        return
    # Under which policy it was made cannot be recomputed from the evidence.
    expected = found.promotion.model_copy(update={"policy_sha256": promotion.policy_sha256})
    yield from compare_models(file, field, promotion, expected, "the evidence gives")
