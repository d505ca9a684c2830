"""Every threshold of a session's verdict at its very boundary: on it, and just beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from tests.analysis.decision.evidence_of import POLICY, arm, around, session
from zmlx_bench.analysis.decision import SessionVerdict, judge_session
from zmlx_bench.analysis.decision.looks import level_of_each
from zmlx_bench.schema.policy import Policy

STILL = (0.0,) * 8
PATTERN = np.array([1.0, -1.0, 0.5, -0.5, 0.25, -0.25, 0.75, -0.75])


def with_p(p: float, floor: float, blocks: int = 8) -> tuple[float, ...]:
    """Blocks whose one-sided t p-value of "the mean is at most `floor`" is `p`."""
    noise = 0.002 * (PATTERN[:blocks] - PATTERN[:blocks].mean())
    se = noise.std(ddof=1) / np.sqrt(blocks)
    return tuple(noise + floor - special.stdtrit(blocks - 1, p) * se)


def verdict(
    short: tuple[float, ...], long: tuple[float, ...], policy: Policy = POLICY, **changes: object
) -> SessionVerdict:
    null = STILL[: len(short)]
    return judge_session(session(arm(short, long, null=null), **changes), policy)[0]


JUST = 0.02
BELOW, ABOVE = 1 - 1e-6, 1 + 1e-6
FLOOR = float(np.log1p(POLICY.min_gain))


def test_the_policys_levels_are_what_these_tests_stand_on() -> None:
    assert (POLICY.faster_alpha, POLICY.slower_alpha) == (JUST, JUST)


def test_every_figure_of_the_policy_is_the_one_that_was_simulated() -> None:
    """Whoever changes one writes the tables of docs/decision-*.md again."""
    assert POLICY.model_dump(exclude={"schema_version", "promotable_checkpoints"}) == {
        "min_gain": 0.01, "faster_alpha": 0.02, "slower_alpha": 0.02, "interval_level": 0.9, "bias_level": 0.99,
        "outlier_blocks": 0.5, "outlier_share": 0.5, "min_blocks": {200: 3, 1024: 2},
        "min_prompts": 3, "distinct_8gram_share": 0.6,
        "near_kl": 0.001, "near_top1": 0.01, "near_prompts": 20, "near_positions": 100,
        "near_stock_top1": 0.5,
        "memory_tolerance": 0.02, "memory_slack_gb": 0.02, "resident_tolerance": 0.1, "resident_slack_gb": 0.25,
        "prefill_tolerance": 0.05, "clock_disagreement": 0.02,
        "sessions": 2, "session_gap_s": 3600, "clock_set_s": 10, "sessions_averaged": 6, "arm_effect": 0.01,
        "promote_alpha": 0.01, "stall_level": 0.02, "stall_loss": 0.175,
        "planned_effect": 0.03, "planned_power": 0.9, "max_blocks": 200, "futility_power": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(("times", "expected"), [(BELOW, "CANDIDATE"), (ABOVE, "INCONCLUSIVE")])
def test_faster_at_its_level(times: float, expected: str) -> None:
    edge = with_p(POLICY.faster_alpha * times, FLOOR)
    assert verdict(edge, around(0.2, 8)).verdict == expected
    assert verdict(around(0.2, 8), edge).verdict == expected


@pytest.mark.parametrize(("times", "expected"), [(BELOW, "REJECT"), (ABOVE, "HOLD")])
def test_slower_at_its_level_over_both_budgets(times: float, expected: str) -> None:
    """Holm's first step over two hypotheses, a variant at two budgets; what is not slower is equivalent here."""
    edge = tuple(-x for x in with_p(POLICY.slower_alpha / 2 * times, 0.0))
    for found in (verdict(edge, around(0.2, 8)), verdict(around(0.2, 8), edge)):
        assert found.verdict == expected
        assert {b.speed for b in found.budgets} == {"faster", "slower" if expected == "REJECT" else "equivalent"}


def test_a_level_of_slower_a_tenth_as_large_is_another_rule() -> None:
    edge = tuple(-x for x in with_p(POLICY.slower_alpha / 2 * BELOW, 0.0))
    stricter = POLICY.model_copy(update={"slower_alpha": POLICY.slower_alpha / 10})
    assert verdict(edge, around(0.2, 8)).verdict == "REJECT"
    assert verdict(edge, around(0.2, 8), stricter).verdict == "HOLD"


@pytest.mark.parametrize("tokens", sorted(POLICY.min_blocks))
def test_the_fewest_blocks_are_enough_and_one_less_is_not(tokens: int) -> None:
    least = POLICY.min_blocks[tokens]
    sizes = {t: least if t == tokens else 8 for t in POLICY.min_blocks}
    short, long = (around(0.2, sizes[t], 1e-5) for t in sorted(sizes))
    assert verdict(short, long).verdict == "CANDIDATE"
    fewer = {t: n - (t == tokens) for t, n in sizes.items()}
    short, long = (around(0.2, fewer[t], 1e-5) for t in sorted(fewer))
    found = verdict(short, long)
    assert (found.verdict, found.reason) == ("INCONCLUSIVE", "blocks")
    gate = next(g for g in found.gates if g.id == "blocks" and g.outcome == "fail")
    assert (gate.figure, gate.threshold) == (least - 1, least)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("times", "expected"), [(BELOW, "HOLD"), (ABOVE, "INCONCLUSIVE")])
def test_equivalent_where_the_interval_ends_at_the_margin(side: int, times: float, expected: str) -> None:
    """Two one-sided tests at half of what the interval leaves out; the wider one reaches 1%."""
    each = (1 - POLICY.interval_level) / 2
    edge = tuple(side * x for x in with_p(1 - each * times, FLOOR))
    lenient = POLICY.model_copy(update={"slower_alpha": 1e-9, "faster_alpha": 1e-9})
    assert verdict(edge, edge, lenient).verdict == expected


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("times", "expected"), [(BELOW, "HOLD"), (ABOVE, "INCONCLUSIVE")])
def test_equivalent_at_a_look_where_that_looks_interval_ends_at_the_margin(
    side: int, times: float, expected: str
) -> None:
    each = level_of_each((1 - POLICY.interval_level) / 2, 2)
    edge = tuple(side * x for x in with_p(1 - each * times, FLOOR))
    lenient = POLICY.model_copy(update={"slower_alpha": 1e-9, "faster_alpha": 1e-9})
    assert verdict(edge, edge, lenient, looks=(2, 8), blocks=8).verdict == expected


@pytest.mark.parametrize(("times", "expected"), [(BELOW, "CANDIDATE"), (ABOVE, "INCONCLUSIVE")])
def test_faster_at_the_level_of_a_look(times: float, expected: str) -> None:
    edge = with_p(level_of_each(POLICY.faster_alpha, 2) * times, FLOOR)
    assert verdict(edge, edge, looks=(2, 8), blocks=8).verdict == expected


@pytest.mark.parametrize(("times", "expected"), [(BELOW, "bias"), (ABOVE, "faster")])
def test_bias_at_its_level(times: float, expected: str) -> None:
    off = with_p((1 - POLICY.bias_level) / 2 * times, 0.0)
    fast = around(0.2, 8, 1e-4)
    assert judge_session(session(arm(fast, fast, null=off)), POLICY)[0].reason == expected


@pytest.mark.parametrize(("times", "expected"), [(BELOW, "CANDIDATE"), (ABOVE, "INCONCLUSIVE")])
def test_holm_divides_the_level_by_the_planned_variants(times: float, expected: str) -> None:
    edge = with_p(POLICY.faster_alpha / 3 * times, FLOOR)
    assert verdict(edge, around(0.2, 8), planned=("fused", "one", "two")).verdict == expected


@pytest.mark.parametrize(("over", "passes"), [(-1e-9, True), (1e-9, False)])
@pytest.mark.parametrize(
    ("field", "limit", "gate"),
    [
        ("peak_mem_gb", max(1.0 * (1 + POLICY.memory_tolerance), 1.0 + POLICY.memory_slack_gb), "memory"),
        ("peak_rss_gb", max(2.0 * (1 + POLICY.resident_tolerance), 2.0 + POLICY.resident_slack_gb), "resident"),
        ("clock_disagreement", POLICY.clock_disagreement, "clock"),
    ],
)
def test_tolerances_at_their_limit(field: str, limit: float, gate: str, over: float, passes: bool) -> None:
    fast = around(0.2, 8, 1e-4)
    found = judge_session(session(arm(fast, fast, null=STILL, **{field: limit + over})), POLICY)[0]
    outcome = next(g.outcome for g in found.gates if g.id == gate)
    assert outcome == ("pass" if passes else "fail")


@pytest.mark.parametrize(("over", "expected"), [(1e-9, "CANDIDATE"), (-1e-9, "HOLD")])
def test_prefill_at_its_tolerance(over: float, expected: str) -> None:
    fast = around(0.2, 8, 1e-4)
    limit = float(np.log1p(-POLICY.prefill_tolerance))
    assert judge_session(session(arm(fast, fast, null=STILL, prefill=limit + over)), POLICY)[0].verdict == expected


@pytest.mark.parametrize(
    ("prompts", "expected"), [(POLICY.min_prompts, "CANDIDATE"), (POLICY.min_prompts - 1, "INCONCLUSIVE")]
)
def test_the_fewest_prompts(prompts: int, expected: str) -> None:
    fast = around(0.2, 8, 1e-4)
    found = judge_session(session(arm(fast, fast, null=STILL, counting_prompts=prompts)), POLICY)[0]
    assert found.verdict == expected
