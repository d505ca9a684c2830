"""From the verdicts of sessions to what becomes of a group's default.

A variant is promoted on its two latest valid sessions (the policy's `sessions`), apart in time, that both say
CANDIDATE for the same identity with the same calls of each site a token. What no number of blocks averages away,
an arm being off for a whole session, is allowed for between sessions: see `allowance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy

from zmlx_bench.analysis.decision import behind, rules, same_code, stalls
from zmlx_bench.analysis.decision.evidence import (
    ArmEvidence,
    BudgetEvidence,
    GroupEvidence,
)
from zmlx_bench.analysis.decision.rules import RULE, RULE_OF_BUDGETS, RULE_OF_MEANS, RULE_OF_TOKENS
from zmlx_bench.analysis.decision.same_code import Entry
from zmlx_bench.analysis.decision.session import judge_session
from zmlx_bench.analysis.decision.statistics import Array
from zmlx_bench.analysis.decision.verdict import Action, Gate, GroupDecision, GroupVerdict, SessionVerdict, Verdict
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.policy import Policy

_RANK: dict[Verdict, int] = {
    "PROMOTE": 0,
    "CANDIDATE": 1,
    "NEAR-CANDIDATE": 2,
    "HOLD": 3,
    "INCONCLUSIVE": 4,
    "REJECT": 5,
}

# Variance of an arm-by-session effect in d = variant - (baseline + null) / 2, and in variant - incumbent.
_AGAINST_STOCK = 1.5
_AGAINST_INCUMBENT = 2.0
EARLY = 2.0
"""Times the standard error of a session that stopped early: the estimate at which it stopped is chosen, not drawn."""


def decide_group(
    group: GroupEvidence,
    policy: Policy,
    judged: Mapping[str, Sequence[SessionVerdict]] | None = None,
    rule: int = RULE,
) -> GroupDecision:
    """Decide a group: a verdict on every variant, and whether its default changes.

    `judged` may hold what `judge_session` gives for each session, by its name, where a caller decides again and again.
    """
    elsewhere = rules.differs_elsewhere(group, policy)
    seen = rules.seen_by(rule, group, policy)
    if seen is not group:
        group, judged = seen, None
    entries: dict[str, list[Entry]] = {}
    for session in sorted(group.sessions, key=lambda s: (s.started, s.session), reverse=True):
        verdicts_here = judge_session(session, policy) if judged is None else judged[session.session]
        for arm, verdict in zip(session.arms, verdicts_here, strict=True):
            entries.setdefault(arm.variant, []).append(Entry(session, arm, verdict))
    namesakes = same_code.namesakes(entries) if rule > RULE_OF_BUDGETS else {}
    of_tokens = min(rule, RULE_OF_TOKENS)
    if not elsewhere and not namesakes:
        means = all(_estimator(each.arm) == "mean" for found in entries.values() for each in found)
        of_tokens = min(rule, RULE_OF_MEANS if means else RULE_OF_BUDGETS)
    rule = rule if rules.audited(group) else of_tokens
    verdicts = [_judge_variant(group, entries[name], namesakes.get(name), policy, rule) for name in sorted(entries)]
    verdicts = _only_the_best(verdicts, group.incumbent)
    verdicts.sort(key=lambda v: (_RANK[v.verdict], -_weakest(v.latest), v.variant))
    action, recommended, why = _action(group, verdicts, entries, policy)
    verdicts = [behind.told(verdict, entries, recommended, policy) for verdict in verdicts]
    return GroupDecision(action, recommended, why, tuple(verdicts), rule, of_tokens)


def allowance(spreads: Sequence[npt.ArrayLike], per_session: float, hypotheses: int, policy: Policy) -> Array:
    """What the mean of several sessions must exceed so that equal kernels pass with `promote_alpha` at most.

    q * sqrt(sum(se_i^2 + per_session * arm_effect^2)) / sessions with q the normal quantile of
    1 - promote_alpha / hypotheses (Bonferroni over the variants); `spreads` are the standard errors se_i, one a
    session (numbers or arrays of one shape). Zero when the policy's `arm_effect` is.
    """
    squares = [np.square(np.asarray(se, dtype=np.float64)) + per_session * policy.arm_effect**2 for se in spreads]
    if policy.arm_effect == 0:
        return np.zeros_like(squares[0])
    quantile = float(scipy.special.ndtri(1 - policy.promote_alpha / hypotheses))
    return np.asarray(quantile * np.sqrt(sum(squares)) / len(squares))


def _estimator(arm: ArmEvidence) -> Estimator:
    """Return what an arm's ratios are estimated with, a mean where it has none."""
    return next((each.estimator for each in arm.budgets.values()), "mean")


def _judge_variant(
    group: GroupEvidence, entries: list[Entry], namesake: Entry | None, policy: Policy, rule: int
) -> GroupVerdict:
    """Judge one variant from its entries, latest first; `namesake` is of the same code and said other tokens."""
    rejected = _rejected(entries, policy)
    if group.incumbent == entries[0].arm.variant and rejected:
        return _plain(rejected[0], rejected)
    same = [e for e in entries if e.arm.identity == entries[0].arm.identity]
    for entry in same:
        if entry.verdict.wrong_tokens:
            # Identity of tokens is not a matter of averages: one failure of the same source stands.
            return _plain(entry, [entry])
    if namesake is not None:
        gate = same_code.gate(namesake)
        return _verdict(entries[0], entries[:1], "REJECT", gate.id, gate.text, (gate,))
    valid = [e for e in same if e.verdict.valid]
    if not valid:
        return _plain(entries[0], entries[:1])
    latest = valid[0]
    if latest.verdict.verdict != "CANDIDATE":
        return _plain(latest, [latest])
    alike = [e for e in valid if e.arm.coverage == latest.arm.coverage]
    gates = _between_sessions(group, alike, len(entries) > len(same), policy, rule)
    if len(alike) < len(valid):
        gates.insert(0, _coverage(latest, [e for e in valid if e not in alike], gates[0]))
    failed = next((gate for gate in gates if gate.outcome != "pass"), None)
    rests_on = _rests_on(alike, policy)
    if failed is None:
        why = f"faster at every budget in {len(rests_on)} sessions, every token identical"
        return _verdict(latest, rests_on, "PROMOTE", "faster", why, gates)
    return _verdict(latest, rests_on, "CANDIDATE", failed.id, failed.text, gates)


def _plain(shown: Entry, rests_on: list[Entry]) -> GroupVerdict:
    """Return a session's verdict as the group's."""
    found = shown.verdict
    return _verdict(shown, rests_on, found.verdict, found.reason, found.why, ())


def _verdict(
    shown: Entry, rests_on: list[Entry], verdict: Verdict, reason: str, why: str, gates: Sequence[Gate]
) -> GroupVerdict:
    gains = [
        sum(sample) / len(sample)
        for tokens in (figures.tokens for figures in shown.verdict.budgets)
        if (sample := [float(b.estimate(b.gain).mean) for b in _at(rests_on, tokens) if b.gain])
    ]
    return GroupVerdict(
        variant=shown.arm.variant,
        verdict=verdict,
        reason=reason,
        why=why,
        latest=shown.verdict,
        rests_on=tuple(e.session.session for e in rests_on),
        gates=(*shown.verdict.gates, *gates),
        gain=min(gains) if gains else None,
    )


def _rests_on(valid: list[Entry], policy: Policy) -> list[Entry]:
    """Return the run of latest valid sessions that say CANDIDATE; the more there are, the less one can mislead."""
    run = []
    for entry in valid[: policy.sessions_averaged]:
        if entry.verdict.verdict != "CANDIDATE":
            break
        run.append(entry)
    return run if len(run) >= policy.sessions else run[:1]


def _at(entries: Sequence[Entry], tokens: int) -> list[BudgetEvidence]:
    return [entry.arm.budgets[tokens] for entry in entries if tokens in entry.arm.budgets]


def _between_sessions(group: GroupEvidence, valid: list[Entry], changed: bool, policy: Policy, rule: int) -> list[Gate]:
    wanted = valid[: policy.sessions]
    capsules = tuple(b.capsule for e in wanted for b in e.arm.budgets.values())
    agreeing = 0
    for entry in wanted:
        if entry.verdict.verdict != "CANDIDATE":
            break
        agreeing += 1
    enough = agreeing >= policy.sessions
    text = f"{agreeing} of the {policy.sessions} latest valid sessions say CANDIDATE"
    if changed and not enough:
        text += "; sessions of other code or settings do not count"
    gates = [Gate("sessions", "pass" if enough else "fail", agreeing, policy.sessions, capsules, text)]
    if enough:
        gates.append(_gap(wanted, capsules, policy))
        run = _rests_on(valid, policy)
        gates.append(_repeat("repeat", "gain", run, policy, lambda b: b.gain, _AGAINST_STOCK))
        gates += _stalls("stalls", "gain", run, policy, rule, lambda b: b.gain)
    gates += _incumbent_gates(group, valid, wanted, capsules, enough, policy, rule)
    allowed = group.checkpoint_kind in policy.promotable_checkpoints
    text = f"evidence of a {group.checkpoint_kind} checkpoint {'may promote' if allowed else 'ends at CANDIDATE'}"
    names = ", ".join(policy.promotable_checkpoints)
    gates.append(Gate("checkpoint", "pass" if allowed else "fail", group.checkpoint_kind, names, capsules, text))
    if (environment := valid[0].arm.environment) is not None:
        text = f"it needs the environment {environment}: a default is what the group's own environment can apply"
        gates.append(Gate("environment", "fail", environment, "none", capsules, text))
    return gates


def _coverage(latest: Entry, others: list[Entry], sessions: Gate) -> Gate:
    """What sessions of the same identity did otherwise: they do not count, and without them there must be enough."""
    mine, theirs = latest.arm.coverage or {}, others[0].arm.coverage or {}
    site = next(s for s in sorted({*mine, *theirs}) if mine.get(s) != theirs.get(s))
    text = (
        f"{others[0].session.session} called {site} {theirs.get(site, 0):g} times a token and "
        f"{latest.session.session} {mine.get(site, 0):g} times: they did not run the same, and only the latter counts"
    )
    capsules = tuple(b.capsule for e in (latest, *others) for b in e.arm.budgets.values())
    return Gate("coverage", sessions.outcome, len(others), 0, capsules, text)


def _gap(wanted: list[Entry], capsules: tuple[str, ...], policy: Policy) -> Gate:
    off, name = max((abs(e.session.clock_set_s or 0.0), e.session.session) for e in wanted)
    if off > policy.clock_set_s:
        text = f"the time of day was set by {off:.0f} s during {name}, so that its times prove no gap"
        return Gate("gap", "fail", off, policy.clock_set_s, capsules, text)
    least = min((after.session.started - before.session.ended).total_seconds() for after, before in pairwise(wanted))
    far = least >= policy.session_gap_s
    text = f"the sessions are {max(0.0, least) / 60:.0f} min apart, {policy.session_gap_s / 60:.0f} needed"
    return Gate("gap", "pass" if far else "fail", least, policy.session_gap_s, capsules, text)


def _repeat(
    gate: str,
    what: str,
    run: list[Entry],
    policy: Policy,
    sample: Callable[[BudgetEvidence], tuple[float, ...]],
    per_session: float,
) -> Gate:
    """The mean over agreeing sessions against the allowance for arms that are off for a whole session."""
    hypotheses = max(len(e.session.planned) for e in run)
    worst: tuple[float, float, float, int] | None = None
    for tokens in sorted(policy.min_blocks):
        there = [e for e in run if tokens in e.arm.budgets]
        found = [b.estimate(sample(b)) for b in _at(there, tokens)]
        mean = sum(float(f.mean) for f in found) / len(found)
        spreads = [f.se * (EARLY if e.session.stopped_early else 1.0) for e, f in zip(there, found, strict=True)]
        needed = float(allowance(spreads, per_session, hypotheses, policy))
        if worst is None or mean - needed < worst[0]:
            worst = (mean - needed, mean, needed, tokens)
    assert worst is not None
    over, mean, needed, tokens = worst
    ratio, least = math.exp(mean), math.exp(needed)
    capsules = tuple(b.capsule for e in run for b in e.arm.budgets.values())
    text = (
        f"mean {what} of {len(run)} sessions {ratio:.3f}x at {tokens} tokens; "
        f"{least:.3f}x is what arms that are off for a session may show"
    )
    return Gate(gate, "pass" if over > 0 else "fail", ratio, least, capsules, text)


def _stalls(
    name: str,
    what: str,
    run: list[Entry],
    policy: Policy,
    rule: int,
    sample: Callable[[BudgetEvidence], tuple[float, ...]],
) -> list[Gate]:
    """The blocks of agreeing sessions together against the stalls that they may have missed; from rule 3 on."""
    robust = next((each for e in run if (each := _estimator(e.arm)) != "mean"), None)
    if rule <= RULE_OF_MEANS or robust is None:
        return []
    found = [
        stalls.missed(tokens, [log for b in _at(run, tokens) for log in sample(b)], robust, policy)
        for tokens in sorted(policy.min_blocks)
    ]
    capsules = tuple(b.capsule for e in run for b in e.arm.budgets.values())
    return [stalls.gate(name, what, found, capsules, policy)]


def _incumbent_gates(
    group: GroupEvidence,
    valid: list[Entry],
    wanted: list[Entry],
    capsules: tuple[str, ...],
    enough: bool,
    policy: Policy,
    rule: int,
) -> list[Gate]:
    name = group.incumbent
    if name is None or name == wanted[0].arm.variant:
        return []
    beside = [
        e.session.incumbent == name and any(g.id == "incumbent" and g.outcome == "pass" for g in e.verdict.gates)
        for e in wanted
    ]
    good = all(beside)
    text = (
        f"faster than the incumbent {name} in the same blocks"
        if good
        else f"not measured against the incumbent {name} in the same blocks of every session"
    )
    gates = [
        Gate("over_incumbent", "pass" if good else "fail", sum(beside), len(wanted), capsules, text),
    ]
    if good and enough:
        # Older sessions of the run may have had another incumbent beside them, or none.
        against = [e for e in _rests_on(valid, policy) if e.session.incumbent == name]
        gates.append(
            _repeat(
                "repeat_incumbent",
                "gain over the incumbent",
                against,
                policy,
                lambda b: b.over_incumbent,
                _AGAINST_INCUMBENT,
            )
        )
        what = "gain over the incumbent"
        gates += _stalls("stalls_incumbent", what, against, policy, rule, lambda b: b.over_incumbent)
    return gates


def _only_the_best(verdicts: list[GroupVerdict], incumbent: str | None) -> list[GroupVerdict]:
    """Of several variants that may become the default, keep the fastest; the incumbent keeps its own verdict."""
    rivals = [v for v in verdicts if v.verdict == "PROMOTE" and v.variant != incumbent]
    if len(rivals) < 2:
        return verdicts
    best = max(rivals, key=lambda v: (v.gain or 0.0, v.variant))
    kept = []
    for verdict in verdicts:
        if verdict in rivals and verdict is not best:
            text = f"the default becomes {best.variant}; it must be beaten in the same blocks"
            gate = Gate("best", "fail", math.exp(verdict.gain or 0.0), math.exp(best.gain or 0.0), (), text)
            verdict = replace(verdict, verdict="CANDIDATE", reason="best", why=text, gates=(*verdict.gates, gate))
        kept.append(verdict)
    return kept


def _weakest(verdict: SessionVerdict) -> float:
    return min((b.speedup for b in verdict.budgets if b.speedup is not None), default=0.0)


def _action(
    group: GroupEvidence, verdicts: list[GroupVerdict], entries: dict[str, list[Entry]], policy: Policy
) -> tuple[Action, str | None, str]:
    for verdict in verdicts:
        if verdict.verdict == "PROMOTE" and verdict.variant != group.incumbent:
            return "promote", verdict.variant, verdict.why
    if group.incumbent is None:
        return "none", None, "no variant has earned it"
    against = _rejected(entries.get(group.incumbent, []), policy)
    if against:
        return "demote", None, f"{group.incumbent} was rejected in {len(against)} sessions: {against[0].verdict.why}"
    kept = next((v for v in verdicts if v.variant == group.incumbent), None)
    if kept is not None and kept.verdict == "REJECT":
        told = f"promoted before, and rejected since ({kept.reason}): {kept.why}"
        return "keep", group.incumbent, f"{told}; it takes {policy.sessions} sessions that reject it to withdraw it"
    return "keep", group.incumbent, "promoted before, and nothing has beaten it"


def _rejected(entries: list[Entry], policy: Policy) -> list[Entry]:
    """Return the latest valid sessions of the incumbent when enough of them, apart in time, reject it."""
    latest = [e for e in entries if e.verdict.valid and not e.arm.near][: policy.sessions]
    if len(latest) < policy.sessions or any(e.verdict.verdict != "REJECT" for e in latest):
        return []
    return latest if _gap(latest, (), policy).outcome == "pass" else []
