"""A variant that is declared near: a verdict of its own, in nobody's way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.decision.evidence_of import DIFFERENT, POLICY, arm, around, group, session
from zmlx_bench.analysis.decision import ArmEvidence, SessionEvidence, SessionVerdict, decide_group, judge_session
from zmlx_bench.analysis.decision.rules import RULE, RULE_OF_MEANS, RULE_OF_TOKENS
from zmlx_bench.analysis.decision.stopping import stop
from zmlx_bench.schema.audit import Bounded, Nearness

FAST, EQUAL, SLOW = around(0.05), around(0.0), around(-0.05)
KL, TOP1 = POLICY.near_kl, POLICY.near_top1


def nearness(kl: tuple[float, float] = (0.0, 0.0), top1: tuple[float, float] = (0.0, 0.0), **changes: int) -> Nearness:
    """Bounds, from below and above."""
    bounds = (Bounded(mean=(low + high) / 2, lower=low, upper=high) for low, high in (kl, top1))
    counts = {"prompts": POLICY.near_prompts, "positions": POLICY.near_positions} | changes
    return Nearness(kl=next(bounds), top1=next(bounds), **counts)


def near(
    found: Nearness | None = None,
    speed: tuple[float, ...] = FAST,
    name: str = "nearly",
    stock: float | None = 0.98,
    **changes: Any,
) -> ArmEvidence:
    """A variant that leaves the baseline's tokens, with the same audit in each capsule."""
    plain = arm(speed, speed, name, fidelity=DIFFERENT, **changes)
    audit = {"near": found or nearness(), "stock_top1": stock}
    budgets = {tokens: replace(budget, **audit) for tokens, budget in plain.budgets.items()}
    return replace(plain, budgets=budgets, near=True)


def beside(*arms: ArmEvidence, hour: float = 0.0, **changes: object) -> SessionEvidence:
    rules = {held: tuple(a.variant for a in arms if a.near is held) for held in (False, True)}
    return session(*arms, hour=hour, **({"planned": rules[False], "near_planned": rules[True]} | changes))


def judged(*arms: ArmEvidence, **changes: object) -> dict[str, SessionVerdict]:
    return {verdict.variant: verdict for verdict in judge_session(beside(*arms, **changes), POLICY)}


def test_faster_and_near_is_a_verdict_of_its_own_that_says_what_it_is_not() -> None:
    found = judged(near())["nearly"]
    assert (found.verdict, found.reason, found.valid) == ("NEAR-CANDIDATE", "faster", True)
    assert "never becomes a default" in found.why
    assert {gate.id: gate.outcome for gate in found.gates if gate.id.startswith("near_")} == {
        "near_stock_top1": "pass", "near_kl": "pass", "near_top1": "pass", "near_prompts": "pass",
        "near_positions": "pass",
    }  # fmt: skip
    assert not any(gate.id in ("fidelity", "prompts") for gate in found.gates)


@pytest.mark.parametrize(
    ("found", "verdict", "reason"),
    [
        (nearness(kl=(-1.0, KL * 0.999)), "NEAR-CANDIDATE", "faster"),
        (nearness(kl=(0.0, KL)), "INCONCLUSIVE", "near_kl"),
        (nearness(kl=(KL * 0.999, 1.0)), "INCONCLUSIVE", "near_kl"),
        (nearness(kl=(KL, 1.0)), "REJECT", "near_kl"),
        (nearness(top1=(0.0, TOP1)), "INCONCLUSIVE", "near_top1"),
        (nearness(top1=(TOP1, 0.5)), "REJECT", "near_top1"),
        (nearness(kl=(0.0, KL), top1=(TOP1, 0.5)), "REJECT", "near_top1"),
        (nearness(prompts=POLICY.near_prompts - 1), "INCONCLUSIVE", "near_prompts"),
        (nearness(positions=POLICY.near_positions - 1), "INCONCLUSIVE", "near_positions"),
    ],
)
def test_at_the_margin(found: Nearness, verdict: str, reason: str) -> None:
    told = judged(near(found))["nearly"]
    assert (told.verdict, told.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("stock", "verdict", "reason"),
    [
        (POLICY.near_stock_top1, "NEAR-CANDIDATE", "faster"),
        (POLICY.near_stock_top1 - 1e-9, "INCONCLUSIVE", "near_stock_top1"),
        (0.0, "INCONCLUSIVE", "near_stock_top1"),
    ],
)
def test_stock_itself_must_be_near(stock: float, verdict: str, reason: str) -> None:
    told = judged(near(stock=stock))["nearly"]
    assert (told.verdict, told.reason) == (verdict, reason)
    (gate,) = (gate for gate in told.gates if gate.id == "near_stock_top1")
    assert (gate.figure, gate.threshold) == (stock, POLICY.near_stock_top1)


def test_where_stock_is_far_the_sentence_says_so() -> None:
    assert judged(near(stock=0.0))["nearly"].why == (
        "stock itself agrees with float32 at 0.0% of the positions, 50% needed: "
        "nothing can be near to a reference that stock is not near to"
    )


BOUNDS = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda pair: (min(pair), max(pair)))
FOUND = st.builds(nearness, kl=BOUNDS, top1=BOUNDS)


@given(FOUND, st.floats(0, POLICY.near_stock_top1, exclude_max=True), st.sampled_from([FAST, EQUAL, SLOW]))
@settings(max_examples=30, deadline=None)
def test_far_from_the_reference_no_bound_passes_or_fails(
    found: Nearness, stock: float, speed: tuple[float, ...]
) -> None:
    told = judged(near(found, speed, stock=stock))["nearly"]
    expected = ("REJECT", "performance") if speed is SLOW else ("INCONCLUSIVE", "near_stock_top1")
    assert (told.verdict, told.reason) == expected
    assert not {gate.id for gate in told.gates} & {"near_kl", "near_top1"}


@given(FOUND, st.floats(POLICY.near_stock_top1, 1))
@settings(max_examples=30, deadline=None)
def test_near_the_reference_the_bounds_decide_as_before_there_was_the_gate(found: Nearness, stock: float) -> None:
    now, before = (judged(near(found, stock=share))["nearly"] for share in (stock, None))
    assert (now.verdict, now.reason, now.valid) == (before.verdict, before.reason, before.valid)
    assert tuple(gate for gate in now.gates if gate.id != "near_stock_top1") == before.gates


@pytest.mark.parametrize("stock", [0.0, 0.98])
def test_the_fifth_rule_is_about_near_variants_and_no_other(stock: float) -> None:
    strict = arm(FAST, FAST, "fused")
    alone = decide_group(group(*(beside(strict, hour=hour) for hour in (0, 2))), POLICY)
    evidence = group(*(beside(strict, near(stock=stock), hour=hour) for hour in (0, 2)))
    found = decide_group(evidence, POLICY)
    assert (alone.rule, found.rule, found.rule_of_tokens) == (RULE_OF_MEANS, RULE, alone.rule)
    assert (found.action, found.recommended) == (alone.action, alone.recommended) == ("promote", "fused")
    assert [v for v in found.verdicts if v.variant == "fused"] == list(alone.verdicts)
    assert decide_group(evidence, POLICY, rule=found.rule) == found


@pytest.mark.parametrize("rule", [RULE_OF_MEANS, RULE_OF_TOKENS])
@pytest.mark.parametrize("stock", [0.0, 0.98])
def test_under_an_earlier_rule_stock_is_not_asked(stock: float, rule: int) -> None:
    sessions = [beside(near(stock=stock), hour=hour) for hour in (0, 2)]
    judged_now = {each.session: judge_session(each, POLICY) for each in sessions}
    then = decide_group(group(*sessions), POLICY, judged_now, rule=rule)
    unasked = decide_group(group(*(beside(near(stock=None), hour=hour) for hour in (0, 2))), POLICY)
    assert then == unasked
    assert (then.verdicts[0].verdict, then.rule) == ("NEAR-CANDIDATE", RULE_OF_MEANS)


@pytest.mark.parametrize(("speed", "verdict"), [(EQUAL, "HOLD"), (SLOW, "REJECT"), ((0.05,) * 2, "INCONCLUSIVE")])
def test_its_speed_is_judged_as_any_others(speed: tuple[float, ...], verdict: str) -> None:
    assert judged(near(speed=speed))["nearly"].verdict == verdict


def test_without_an_audit_nothing_shows_it() -> None:
    failed = near()
    without = {"near": None, "stock_top1": None, "audit_failed": "oom: no memory"}
    budgets = {t: replace(b, **without) for t, b in failed.budgets.items()}
    for found, says in (
        (replace(failed, budgets=budgets), "oom: no memory"),
        (replace(arm(FAST, FAST), near=True), "no audit"),
    ):
        (told,) = judged(found).values()
        assert (told.verdict, told.reason, told.valid) == ("INCONCLUSIVE", "near_audit", False)
        assert says in told.why


@given(st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=3), st.floats(-0.05, 0.05))
@settings(max_examples=15, deadline=None)
def test_it_changes_no_verdict_of_the_others_and_they_none_of_its(gains: list[float], gain: float) -> None:
    strict = [arm(around(g), around(g), f"v{i}") for i, g in enumerate(gains)]
    other = near(speed=around(gain))
    alone, together = judged(*strict), judged(*strict, other)
    assert {name: together[name] for name in alone} == alone
    assert together["nearly"] == judged(other)["nearly"]


def test_it_is_not_compared_with_the_incumbent_nor_becomes_one() -> None:
    incumbent = arm(around(0.1), around(0.1), "old", over_incumbent=None)
    sessions = [beside(incumbent, near(), hour=hour, incumbent="old") for hour in (0, 2)]
    decision = decide_group(group(*sessions, incumbent="old"), POLICY)
    verdicts = {v.variant: v for v in decision.verdicts}
    assert (decision.action, decision.recommended) == ("keep", "old")
    assert verdicts["nearly"].verdict == "NEAR-CANDIDATE"
    assert not any("incumbent" in gate.id for gate in verdicts["nearly"].gates)


def test_however_often_it_is_never_promoted() -> None:
    decision = decide_group(group(*(beside(near(), hour=hour) for hour in (0, 2, 4))), POLICY)
    assert (decision.action, decision.recommended) == ("none", None)
    assert [v.verdict for v in decision.verdicts] == ["NEAR-CANDIDATE"]


def test_a_default_does_not_fall_because_its_name_is_declared_near_now() -> None:
    far = near(nearness(kl=(1.0, 2.0)), name="old")
    decision = decide_group(group(*(beside(far, hour=hour) for hour in (0, 2)), incumbent="old"), POLICY)
    assert decision.action == "keep"


def test_one_audit_beyond_the_margin_does_not_stand_for_ever() -> None:
    """Unlike a token that differs it is an estimate: the latest session counts."""
    sessions = (beside(near(nearness(kl=(1.0, 2.0)))), beside(near(), hour=2))
    assert decide_group(group(*sessions), POLICY).verdicts[0].verdict == "NEAR-CANDIDATE"


def test_a_session_stops_when_its_speed_is_known_though_the_audit_is_still_to_come() -> None:
    unaudited = near()
    missing = {t: replace(b, near=None, stock_top1=None) for t, b in unaudited.budgets.items()}
    unaudited = replace(unaudited, budgets=missing)
    stopped = stop(beside(unaudited, looks=(6, 12), blocks=6), POLICY)
    assert stopped is not None
    assert (stopped.why, stopped.undecided) == ("decided", ())
    open_ = near(speed=around(0.012, spread=0.01))
    assert stop(beside(open_, looks=(6, 12), blocks=6), POLICY) is None
