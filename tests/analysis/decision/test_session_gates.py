"""What a session's verdict says of speed: its gates, its figures, and beside an incumbent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special

from tests.analysis.decision.evidence_of import POLICY, QUIET, arm, around, budget, only, session
from zmlx_bench.analysis.decision import ArmEvidence, Gate, SessionVerdict, judge_session
from zmlx_bench.analysis.decision.session import speeds
from zmlx_bench.analysis.decision.speed import Speed
from zmlx_bench.analysis.decision.statistics import estimate, holm, interval, p_above, p_below

FAST, EQUAL, SLOW = around(0.05), around(0.0), around(-0.05)
WILD = (0.10, -0.08, 0.09, -0.07, 0.02, -0.01)
SHORT, LONG = "capsules/s/t200.json", "capsules/s/t1024.json"
FLOOR = math.log1p(POLICY.min_gain)


def judged(*arms: ArmEvidence, **changes: Any) -> tuple[SessionVerdict, ...]:
    return judge_session(session(*arms, **changes), POLICY)


def gates(found: SessionVerdict, name: str) -> list[Gate]:
    return [gate for gate in found.gates if gate.id == name]


def said(gate: Gate) -> tuple[Any, ...]:
    return gate.outcome, gate.figure, gate.threshold, gate.capsules


def test_the_figures_of_a_budget() -> None:
    one, other = arm(FAST, WILD, "one"), arm(EQUAL, SLOW, "other")
    first, second = judged(one, other)
    samples = [[FAST, WILD], [EQUAL, SLOW]]
    above = np.array([[float(p_above(estimate(x), FLOOR)) for x in row] for row in samples])
    below = np.array([[float(p_below(estimate(x), 0.0)) for x in row] for row in samples])
    adjusted = holm(below.ravel()).reshape(2, 2)
    for row, verdict in enumerate((first, second)):
        for column, found in enumerate(verdict.budgets):
            low, high = interval(estimate(samples[row][column]), POLICY.interval_level)
            assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))
            assert found.floor == pytest.approx(1 + POLICY.min_gain)
            assert (found.p_faster, found.p_slower) == pytest.approx((above[row, column], below[row, column]))
            assert found.p_faster_adjusted == pytest.approx(holm(above[:, column])[row])
            assert found.p_slower_adjusted == pytest.approx(adjusted[row, column])
            assert found.tokens == (200, 1024)[column]
    assert [b.speed for b in first.budgets] == ["faster", "unresolved"]
    assert [b.speed for b in second.budgets] == ["equivalent", "slower"]
    assert [v.identity for v in (first, second)] == ["a", "a"]
    assert first.session == session(one).session


def test_one_block_has_a_ratio_and_no_interval() -> None:
    found = judged(arm((0.05,), (0.05,)))[0].budgets[0]
    assert (found.low, found.high, found.p_faster, found.p_slower) == (None, None, None, None)
    assert (found.p_faster_adjusted, found.p_slower_adjusted) == (1.0, 1.0)


def test_slower_is_told_at_its_worst_budget() -> None:
    for short, long, capsule, tokens in ((FAST, SLOW, LONG, 1024), (SLOW, FAST, SHORT, 200)):
        (found,) = judged(arm(short, long))
        (gate,) = gates(found, "slower")
        p = float(holm([float(p_below(estimate(x), 0.0)) for x in (short, long)]).min())
        assert said(gate) == ("fail", pytest.approx(p), POLICY.slower_alpha, (capsule,))
        assert gate.text == f"0.951x at {tokens} tokens, slower (p {p:.2g})"
        assert (found.verdict, found.why) == ("REJECT", gate.text)
    (gate,) = gates(judged(arm(FAST, FAST))[0], "slower")
    assert said(gate) == ("pass", 1.0, POLICY.slower_alpha, (SHORT,))
    assert gate.text == "1.051x at 200 tokens, not shown to be slower (p 1)"


def test_slower_is_unknown_without_blocks() -> None:
    (gate,) = gates(judged(arm((), ()))[0], "slower")
    assert said(gate) == ("unknown", None, POLICY.slower_alpha, ())
    assert gate.text == "no blocks were compared"
    (gate,) = gates(judged(arm((), SLOW))[0], "slower")
    assert (gate.outcome, gate.capsules) == ("fail", (LONG,))


def test_blocks_and_missing_budgets() -> None:
    whole = arm(FAST, FAST[:1])
    assert [said(gate) for gate in gates(judged(whole)[0], "blocks")] == [
        ("pass", 6, 3, (SHORT,)),
        ("fail", 1, 2, (LONG,)),
    ]
    assert [gate.text for gate in gates(judged(whole)[0], "blocks")] == [
        "6 blocks at 200 tokens, 3 needed",
        "1 blocks at 1024 tokens, 2 needed",
    ]
    (found,) = judged(replace(whole, budgets=only(whole.budgets, 200)))
    (gate,) = gates(found, "budget")
    assert said(gate) == ("fail", 0, 2, ())
    assert found.why == gate.text == "1024 tokens were not measured in this session"
    (faster,) = gates(found, "faster")
    assert said(faster) == ("unknown", None, POLICY.faster_alpha, (SHORT,))
    assert faster.text == "a budget is missing"


def test_faster_is_told_over_both_budgets() -> None:
    (found,) = judged(arm(FAST, WILD))
    (gate,) = gates(found, "faster")
    p = float(p_above(estimate(WILD), FLOOR))
    assert said(gate) == ("fail", pytest.approx(p), POLICY.faster_alpha, (SHORT, LONG))
    assert gate.text == "200 tokens 1.051x faster; 1024 tokens 1.008x unresolved"
    assert (found.verdict, found.reason, found.why) == ("INCONCLUSIVE", "unresolved", gate.text)
    assert found.valid
    (good,) = judged(arm(FAST, FAST))
    assert gates(good, "faster")[0].outcome == "pass"
    assert (good.why, good.valid) == (gates(good, "faster")[0].text, True)
    nothing = replace(arm(FAST, FAST), budgets={200: budget(200, FAST), 1024: _without_ratio()})
    assert (
        gates(judged(nothing)[0], "faster")[0].text == "200 tokens 1.051x faster; 1024 tokens not measured unresolved"
    )


def _without_ratio() -> Any:
    plain = budget(1024, FAST)
    return replace(plain, figures=plain.figures.model_copy(update={"speedup": None}))


def test_faster_at_each_budget_among_many_but_not_over_all_is_unresolved() -> None:
    """Two variants whose weaker budgets are different ones: Holm lets each pass where it is judged alone."""

    def with_p(p: float) -> tuple[float, ...]:
        noise = 0.002 * np.array([1.0, -1.0, 0.5, -0.5, 0.25, -0.25])
        se = noise.std(ddof=1) / math.sqrt(6)
        return tuple(noise + FLOOR - special.stdtrit(5, p) * se)

    one, other = arm(with_p(0.015), with_p(0.005), "one"), arm(with_p(0.005), with_p(0.015), "other")
    for found in judged(one, other):
        assert {b.speed for b in found.budgets} == {"faster"}
        assert (found.verdict, found.reason, found.valid) == ("INCONCLUSIVE", "unresolved", True)


def beside(over: tuple[float, ...], gain: tuple[float, ...] = FAST) -> tuple[ArmEvidence, ArmEvidence]:
    return arm(FAST, FAST, "old"), arm(gain, gain, "new", over_incumbent=over)


def test_beside_an_incumbent() -> None:
    old, new = judged(*beside(around(0.03)), incumbent="old")
    assert gates(old, "incumbent") == []
    (gate,) = gates(new, "incumbent")
    p = float(holm([float(p_above(estimate(around(0.03)), FLOOR)), 1.0])[0])
    assert said(gate) == ("pass", pytest.approx(p), POLICY.faster_alpha, (SHORT, LONG))
    assert gate.text == "faster than the incumbent old: 1.030x at 200 tokens; 1.030x at 1024 tokens"
    _, held = judged(*beside(EQUAL), incumbent="old")
    (gate,) = gates(held, "incumbent")
    assert said(gate) == ("fail", pytest.approx(1.0), POLICY.faster_alpha, (SHORT, LONG))
    assert gate.text == "not shown to be faster than the incumbent old: 1.000x at 200 tokens; 1.000x at 1024 tokens"
    assert (held.verdict, held.reason, held.why) == ("HOLD", "incumbent", gate.text)


def test_a_variant_that_was_not_measured_beside_the_incumbent() -> None:
    for arms in ((arm(FAST, FAST, "new"),), (arm(FAST, FAST, "old"), arm(FAST, FAST, "new"))):
        new = judged(*arms, incumbent="old")[-1]
        (gate,) = gates(new, "incumbent")
        assert said(gate) == ("unknown", None, POLICY.faster_alpha, (SHORT, LONG))
        assert gate.text == "the incumbent old was not measured beside it"
        assert new.verdict == "CANDIDATE"
    # Measured beside it at one budget alone.
    half = {200: budget(200, FAST, over_incumbent=FAST), 1024: budget(1024, FAST)}
    new = judged(arm(FAST, FAST, "old"), ArmEvidence("new", "a", half), incumbent="old")[1]
    assert gates(new, "incumbent")[0].outcome == "unknown"
    assert gates(judged(arm(FAST, FAST, "new"))[0], "incumbent") == []


def test_speeds_are_those_of_the_verdicts_and_an_incumbent_must_be_told_apart() -> None:
    assert speeds(session(arm(FAST, FAST, "a"), arm(SLOW, FAST, "b")), POLICY) == {"a": Speed.FASTER, "b": Speed.SLOWER}
    for over, expected in ((around(0.03), Speed.FASTER), (EQUAL, Speed.FASTER), (WILD, Speed.UNRESOLVED)):
        found = speeds(session(*beside(over), incumbent="old"), POLICY)
        assert found == {"old": Speed.FASTER, "new": expected}
    slow = speeds(session(*beside(WILD, SLOW), incumbent="old"), POLICY)
    assert slow["new"] == Speed.SLOWER


def test_planned_variants_without_a_record_count_for_holm() -> None:
    (found,) = judged(arm(FAST, FAST), planned=("fused", "gone", "lost"))
    p = float(p_above(estimate(FAST), FLOOR))
    assert found.budgets[0].p_faster_adjusted == pytest.approx(3 * p)
    # More records than were planned are all counted too.
    two = judged(arm(FAST, FAST, "a"), arm(FAST, FAST, "b"), planned=("a",))
    assert two[0].budgets[0].p_faster_adjusted == pytest.approx(2 * p)
    needed = judged(arm(WILD, FAST), planned=("fused",))[0].blocks_needed
    more = judged(arm(WILD, FAST), arm(FAST, FAST, "b"), planned=("fused",))[0].blocks_needed
    assert needed is not None
    assert more is not None
    assert more >= needed


def test_an_empty_session_has_no_verdicts() -> None:
    assert judged() == ()


def test_blocks_needed_come_from_the_scatter_at_each_budget() -> None:
    (none,) = judged(arm((0.05,), (0.05,)))
    assert (none.blocks_needed, none.blocks_capped) == (None, False)
    (two,) = judged(arm((0.05, 0.051), (0.05,)))
    assert two.blocks_needed is not None
    (calm,) = judged(arm(FAST, FAST))
    assert (calm.blocks_needed, calm.blocks_capped) == (3, False)


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({"null": around(0.03)}, False),
        ({"counting_prompts": 0}, False),
        ({"prefill": -0.2}, True),
        ({"status": "crash"}, True),
        ({}, True),
    ],
)
def test_which_verdicts_count_towards_a_groups(changes: dict[str, Any], valid: bool) -> None:
    assert judged(arm(FAST, FAST, **changes))[0].valid is valid


def test_a_verdict_says_the_text_of_the_gate_that_decided() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"peak_mem_gb": 2.0}, "memory"),
        ({"status": "oom", "message": "m"}, "status"),
        ({"status": "unavailable", "message": "m"}, "status"),
        ({"clock_disagreement": 0.5}, "clock"),
        ({"counting_prompts": 0}, "prompts"),
        ({"fidelity": None}, "fidelity"),
        ({"prefill": -0.2}, "prefill"),
    ]
    for changes, name in cases:
        (found,) = judged(arm(FAST, FAST, **changes))
        assert found.why == gates(found, name)[0].text


def test_the_coverage_of_the_arm_is_the_verdicts() -> None:
    assert judged(replace(arm(FAST, FAST), coverage={"linear": 2.0}))[0].coverage == {"linear": 2.0}


def test_gates_stand_in_the_order_in_which_they_decide() -> None:
    tested = arm(FAST, FAST, "new", null=QUIET, over_incumbent=around(0.03))
    found = judged(arm(FAST, FAST, "old"), tested, incumbent="old")[1]
    assert [gate.id for gate in found.gates] == [
        "fidelity", "status", "memory", "resident", "null_arm", "bias", "clock", "throttle",
        "slower", "blocks", "blocks", "prompts", "faster", "prefill", "incumbent",
    ]  # fmt: skip


def test_at_a_look_only_the_blocks_so_far_are_judged() -> None:
    gain = (*around(0.05, 4, 1e-4), -0.5, -0.6)
    looked = session(arm(gain, gain, null=(0.0001, -0.0001) * 3), looks=(3, 4, 6), blocks=4)
    (found,) = judge_session(looked, POLICY)
    assert {b.speed for b in found.budgets} == {"faster"}
    before = session(arm(gain, gain, null=(0.0001, -0.0001) * 3), looks=(6,), blocks=6)
    assert {b.speed for b in judge_session(before, POLICY)[0].budgets} == {"unresolved"}


def test_on_its_level_each_gate_decides_as_the_judgement_does() -> None:
    def again(name: str, level: str, *arms: ArmEvidence, **changes: Any) -> SessionVerdict:
        p = gates(judged(*arms, **changes)[-1], name)[0].figure
        return judge_session(session(*arms, **changes), POLICY.model_copy(update={level: p}))[-1]

    slow = again("slower", "slower_alpha", arm(SLOW, EQUAL))
    assert (slow.verdict, gates(slow, "slower")[0].outcome) == ("REJECT", "fail")
    quick = again("faster", "faster_alpha", arm(FAST, FAST))
    assert (quick.verdict, gates(quick, "faster")[0].outcome) == ("CANDIDATE", "pass")
    over = again("incumbent", "faster_alpha", *beside(around(0.03), around(0.2)), incumbent="old")
    assert (over.verdict, gates(over, "incumbent")[0].outcome) == ("CANDIDATE", "pass")


def test_an_incumbent_without_a_record_of_its_own_can_be_beaten_in_the_same_blocks() -> None:
    (new,) = judged(arm(FAST, FAST, "new", over_incumbent=around(0.03)), incumbent="old")
    assert gates(new, "incumbent")[0].outcome == "pass"


def test_a_budget_that_is_missing_or_too_short_does_not_hide_the_next() -> None:
    whole = arm(FAST[:1], FAST)
    assert judged(whole)[0].budgets[1].p_faster is not None
    (only_long,) = judged(replace(whole, budgets=only(whole.budgets, 1024)))
    assert only_long.budgets[0].p_faster is not None
