"""One notebook entry as data: what a body of evidence says about a group, and what `zmlx check` recomputes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zmlx_bench.analysis.decision import GroupDecision, GroupVerdict
from zmlx_bench.ledger.evidence_reader import SessionCapsules, named_by
from zmlx_bench.ledger.prose import prose_of
from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.cited import CitedCapsule
from zmlx_bench.schema.entry import SHORT, Entry, EntryDecision, EntryGate, EntryVerdict, prose_hash
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.policy import Policy


def entry_of(
    sessions: Sequence[SessionCapsules], incumbent: str | None, decision: GroupDecision, policy: Policy
) -> Entry:
    """Return the entry of a group's sessions and of the decision that they lead to."""
    body = latest_first(sessions)
    decided, evidence = decision_of(decision), evidence_hash(body)
    prose = prose_of(body, decision, incumbent, policy)
    return Entry(
        title=f"{title_of(body)}-{evidence[:SHORT].upper()}",
        sessions=tuple(session.evidence.session for session in body),
        evidence_sha256=evidence,
        incumbent=incumbent,
        policy_sha256=policy.sha256,
        decision=decided,
        cited=cited(body, decided.verdicts),
        prose=prose,
        prose_sha256=prose_hash(prose),
    )


def latest_first(sessions: Iterable[SessionCapsules]) -> list[SessionCapsules]:
    """Return sessions in the order in which an entry names them."""
    return sorted(sessions, key=lambda s: (s.evidence.started, s.evidence.session), reverse=True)


def title_of(sessions: Sequence[SessionCapsules]) -> str:
    """Return `EXP-<UTC>-<FAMILY>-<CHECKPOINT>-<BACKEND>` of sessions, latest first."""
    first = sessions[0]
    newest = max(capsule.time for session in sessions for capsule in session.capsules.values())
    stamp = newest.replace("-", "").replace(":", "").partition(".")[0].removesuffix("Z")
    return f"EXP-{stamp}Z-{first.key.family}-{named_by(sessions).label}-{first.key.backend}".upper()


def evidence_hash(sessions: Iterable[SessionCapsules]) -> str:
    """Return the hash over the content hashes of all capsules of some sessions."""
    return content_hash(sorted(c.content_sha256 for session in sessions for c in session.capsules.values()))


def decision_of(decision: GroupDecision) -> EntryDecision:
    """Return a decision as data, without its sentences."""
    verdicts = tuple(_verdict(verdict) for verdict in decision.verdicts)
    return EntryDecision(
        rule=decision.rule, action=decision.action, recommended=decision.recommended, verdicts=verdicts
    )


def _verdict(verdict: GroupVerdict) -> EntryVerdict:
    gates = (EntryGate(id=g.id, outcome=g.outcome, figure=g.figure, threshold=g.threshold) for g in verdict.gates)
    return EntryVerdict(
        variant=verdict.variant,
        verdict=verdict.verdict,
        reason=verdict.reason,
        rests_on=verdict.rests_on,
        blocks_needed=verdict.latest.blocks_needed,
        gates=tuple(gates),
    )


def cited(sessions: Sequence[SessionCapsules], verdicts: Sequence[EntryVerdict] | None) -> tuple[CitedCapsule, ...]:
    """Return the figures of the capsules that verdicts rest on; of all capsules where there are no verdicts."""
    rests_on = None if verdicts is None else {(v.variant, name) for v in verdicts for name in v.rests_on}
    return tuple(
        CitedCapsule.of(row_of(capsule))
        for session in sessions
        for capsule in session.capsules.values()
        if rests_on is None or (capsule.variant.name, capsule.session) in rests_on
    )
