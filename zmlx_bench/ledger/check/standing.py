"""What of the evidence no longer counts for today's code: `zmlx check` says it, and it is no fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from zmlx_bench.analysis.changed import changed, listed
from zmlx_bench.analysis.decision import RULE_OF_BYTES, GroupKey, judge_session
from zmlx_bench.analysis.decision.evidence import ArmEvidence
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import carried, promotions
from zmlx_bench.ledger.evidence_reader import SessionCapsules
from zmlx_bench.printable import clean
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.machine import cores_told
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import Promotion, Promotions
from zmlx_bench.workspace import Workspace


class _Today:
    """The identities that variants have now."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._catalogs: dict[str, Catalog] = {}
        self._found: dict[tuple[str, str, Backend, Conditions], Identity | str] = {}

    def identity(self, family: str, name: str, backend: Backend, conditions: Conditions) -> Identity | str:
        """Return a variant's identity under these conditions, or in words why there is none."""
        asked = (family, name, backend, conditions)
        if asked not in self._found:
            self._found[asked] = self._identified(*asked)
        return self._found[asked]

    def _identified(self, family: str, name: str, backend: Backend, conditions: Conditions) -> Identity | str:
        try:
            if family not in self._catalogs:
                self._catalogs[family] = Catalog(self._workspace, family)
            catalog = self._catalogs[family]
            if name not in catalog.specs:
                return "is no longer declared"
            found = catalog.identify(catalog.resolve(name), backend, conditions).identity
        except UnusableInput as error:
            return f"cannot be compared with today's code: {error}"
        assert found is not None
        return found


def notes(
    workspace: Workspace,
    evidence: Mapping[GroupKey, Sequence[SessionCapsules]],
    found: Promotions,
    policy: Policy,
) -> list[str]:
    """Return a line for each promotion and each variant's sessions that are not of today's code, for each promotion
    whose code said other tokens than the model, and for each session while which the time of day was set."""
    today = _Today(workspace)
    standing = (*_promoted(workspace, found, today), *_measured(evidence, today))
    spoken = (*_doubted(workspace, evidence, found, policy, today), *_set(evidence, policy.clock_set_s))
    return [clean(line) for line in (*standing, *spoken)]


def earlier(workspace: Workspace, found: Promotions) -> list[bool | None]:
    """Return of each promotion, in its order, whether it was measured on an earlier path; None where it can be compared
    with no code of today."""
    return [since for since, _ in _earlier(workspace, found, _Today(workspace))]


def _earlier(workspace: Workspace, found: Promotions, today: _Today) -> Iterator[tuple[bool | None, str]]:
    """Yield the same, with what is to be said after the promotion's name; nothing of one on the code as it is."""
    table = carried.read(workspace)
    for one in found.promotion:
        now = today.identity(one.family, one.variant, one.backend, one.conditions)
        if isinstance(now, str):
            yield None, now
        else:
            since = _since(promotions.parts_of(one, table), now)
            yield bool(since), f"was measured on an earlier path: {since}" if since else ""


def _promoted(workspace: Workspace, found: Promotions, today: _Today) -> Iterator[str]:
    for promotion, (_, why) in zip(found.promotion, _earlier(workspace, found, today), strict=True):
        place = _place(promotion)
        if why:
            yield f"{place} {why}"
        if promotion.rule == RULE_OF_BYTES:
            yield f"{place} stands by rule {promotion.rule}: {older(promotion)}"


def _place(promotion: Promotion) -> str:
    where = ", ".join([promotion.device, *cores_told(promotion.device, promotion.cores)])
    return f"{promotions.FILE}: {promotion.variant} for {promotion.checkpoint} on {where}"


def _doubted(
    workspace: Workspace,
    evidence: Mapping[GroupKey, Sequence[SessionCapsules]],
    found: Promotions,
    policy: Policy,
    today: _Today,
) -> Iterator[str]:
    """Yield each promotion with the latest session in which its code, as it was or is, said other tokens than the
    model."""
    table = carried.read(workspace)
    for promotion in found.promotion:
        parts = promotions.parts_of(promotion, table)
        now = today.identity(promotion.family, promotion.variant, promotion.backend, promotion.conditions)
        codes = {promotion.identity if parts is None else parts.digest}
        if not isinstance(now, str):
            codes.add(now.digest)
        # It is the default there too where its own sessions did not record what tells groups apart now.
        of = promotions.key_of(promotion)
        sessions = [one.evidence for key, found_there in evidence.items() if of.covers(key) for one in found_there]
        for session in sorted(sessions, key=lambda s: (s.started, s.session), reverse=True):
            verdicts = judge_session(session, policy)
            if wrong := [v for v in verdicts if v.wrong_tokens and v.identity in codes]:
                said = f"its code said other tokens than the model in session {session.session}: {wrong[0].why}"
                yield f"{_place(promotion)} is in doubt: {said}"
                break


def older(promotion: Promotion) -> str:
    """Say of a promotion of an earlier rule what it rests on."""
    return (
        f"its sessions {' and '.join(promotion.sessions)} had the same kernels; "
        f"what ran around them was not compared, and differed"
    )


def _measured(evidence: Mapping[GroupKey, Sequence[SessionCapsules]], today: _Today) -> Iterator[str]:
    for key, sessions in sorted(evidence.items(), key=lambda item: str(item[0])):
        backend = next(iter(sessions[0].capsules.values())).machine.backend
        arms: dict[str, list[ArmEvidence]] = {}
        for session in sessions:
            for arm in session.evidence.arms:
                # Evidence of another environment says nothing of this one's code.
                if arm.environment is None:
                    arms.setdefault(arm.variant, []).append(arm)
        for name, measured in sorted(arms.items()):
            now = today.identity(key.family, name, backend, key.conditions)
            if isinstance(now, str):
                yield f"the sessions of {name} ({backend}) do not count: the variant {now}"
                continue
            others = Counter(_since(arm.parts, now) for arm in measured if arm.identity != now.digest)
            if others:
                why = "; ".join(f"{what} ({count})" for what, count in others.items())
                yield f"sessions of {name} ({backend}) that do not count for today's code: {why}"


def _set(evidence: Mapping[GroupKey, Sequence[SessionCapsules]], most_s: float) -> Iterator[str]:
    for session in sorted((one.evidence for found in evidence.values() for one in found), key=lambda s: s.session):
        if session.clock_set_s is not None and abs(session.clock_set_s) > most_s:
            by = f"the time of day was set by {session.clock_set_s:+.0f} s while it ran"
            yield f"session {session.session}: {by}, so that its times prove no gap to another one"


def _since(then: Identity | None, now: Identity) -> str:
    """Say what changed; empty where nothing did."""
    if then is None:
        return "neither of today's code nor carried over"
    parts = changed(then, now)
    return f"{listed(parts)} changed since" if parts else ""
