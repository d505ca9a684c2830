from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.decision.evidence_of import DIFFERENT, POLICY, QUIET, SAME, arm, around, only, session
from zmlx_bench.analysis.decision import ArmEvidence, SessionVerdict, judge_session

FAST, EQUAL, SLOW = around(0.05), around(0.0), around(-0.05)
NOISY = (0.10, -0.08, 0.09, -0.07, 0.02, -0.01)


def verdict_on(tested: ArmEvidence, **changes: object) -> SessionVerdict:
    return judge_session(session(tested, **changes), POLICY)[0]


def said(verdict: SessionVerdict) -> tuple[str, str]:
    return verdict.verdict, verdict.reason


@pytest.mark.parametrize(
    ("short", "long", "expected"),
    [
        (FAST, FAST, ("CANDIDATE", "faster")),
        (FAST, SLOW, ("REJECT", "performance")),
        (SLOW, EQUAL, ("REJECT", "performance")),
        (FAST, EQUAL, ("HOLD", "equivalent")),
        (EQUAL, EQUAL, ("HOLD", "equivalent")),
        (FAST, NOISY, ("INCONCLUSIVE", "unresolved")),
        (EQUAL, NOISY, ("INCONCLUSIVE", "unresolved")),
        (around(0.2), EQUAL, ("HOLD", "equivalent")),
        (FAST[:2], FAST, ("INCONCLUSIVE", "blocks")),
        (FAST, FAST[:1], ("INCONCLUSIVE", "blocks")),
    ],
)
def test_speed_decides_when_nothing_else_does(
    short: tuple[float, ...], long: tuple[float, ...], expected: tuple[str, str]
) -> None:
    assert said(verdict_on(arm(short, long))) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fidelity": DIFFERENT}, ("REJECT", "fidelity")),
        ({"fidelity": DIFFERENT.model_copy(update={"null_identical": False})}, ("INCONCLUSIVE", "repeatable")),
        ({"fidelity": SAME.model_copy(update={"null_identical": False})}, ("INCONCLUSIVE", "repeatable")),
        ({"counting_prompts": 2}, ("INCONCLUSIVE", "prompts")),
        ({"fidelity": None}, ("INCONCLUSIVE", "fidelity")),
        ({"status": "oom", "message": "killed"}, ("REJECT", "oom")),
        ({"status": "crash", "message": "SIGSEGV"}, ("REJECT", "crash")),
        ({"status": "timeout", "message": "no token for 60 s"}, ("REJECT", "timeout")),
        ({"status": "unavailable", "message": "needs metal"}, ("INCONCLUSIVE", "unavailable")),
        ({"peak_mem_gb": 1.03}, ("REJECT", "memory")),
        ({"peak_rss_gb": 2.3}, ("REJECT", "memory")),
        ({"footprints_gb": (2.3, 2.0)}, ("REJECT", "memory")),
        ({"footprints_gb": (2.0, 2.0), "peak_rss_gb": 2.3}, ("CANDIDATE", "faster")),
        ({"footprints_gb": (2.3, None)}, ("CANDIDATE", "faster")),
        ({"compressed_gb": 0.3}, ("INCONCLUSIVE", "compressed")),
        ({"compressed_gb": 0.2}, ("CANDIDATE", "faster")),
        ({"null": around(0.03)}, ("INCONCLUSIVE", "bias")),
        ({"clock_disagreement": 0.05}, ("INCONCLUSIVE", "clock")),
        ({"throttled": True}, ("INCONCLUSIVE", "throttle")),
        ({"idle_kernels": ("moe_combine",)}, ("INCONCLUSIVE", "applied")),
        ({"prefill": -0.1}, ("HOLD", "prefill")),
        ({"peak_mem_gb": None, "peak_rss_gb": None, "throttled": None, "prefill": None}, ("CANDIDATE", "faster")),
    ],
)
def test_a_fast_variant_is_held_back_by_every_other_gate(changes: dict, expected: tuple[str, str]) -> None:
    found = verdict_on(arm(FAST, FAST, **changes))
    assert said(found) == expected
    failed = [gate for gate in found.gates if gate.outcome == "fail"]
    assert bool(failed) == (
        expected[0] != "CANDIDATE" and changes.get("fidelity", 1) is not None and changes.get("status") != "unavailable"
    )


def test_precedence_of_failures() -> None:
    bad = {"fidelity": DIFFERENT, "status": "crash", "message": "x", "peak_mem_gb": 2.0, "null": around(0.03)}
    expected = ["fidelity", "crash", "memory", "bias", "performance"]
    healthy = {"fidelity": SAME, "status": "ok", "message": None, "peak_mem_gb": 1.0, "null": QUIET}
    repairs = [("fidelity",), ("status", "message"), ("peak_mem_gb",), ("null",)]
    reasons = [verdict_on(arm(SLOW, SLOW, **bad)).reason]
    for fields in repairs:
        bad |= {name: healthy[name] for name in fields}
        reasons.append(verdict_on(arm(SLOW, SLOW, **bad)).reason)
    assert reasons == expected


def test_without_a_null_arm_nothing_is_concluded_about_speed() -> None:
    tested = arm(FAST, FAST, null=None, fidelity=SAME.model_copy(update={"null_identical": None}))
    assert said(verdict_on(tested, null_arm=False)) == ("INCONCLUSIVE", "null_arm")
    diverged = arm(FAST, FAST, null=None, fidelity=DIFFERENT.model_copy(update={"null_identical": None}))
    assert said(verdict_on(diverged, null_arm=False)) == ("REJECT", "fidelity")


def test_a_missing_budget_is_named() -> None:
    whole = arm(FAST, FAST)
    found = verdict_on(replace(whole, budgets=only(whole.budgets, 200)))
    assert said(found) == ("INCONCLUSIVE", "budget")
    assert "1024" in found.why
    assert found.blocks_needed == 3


def test_one_arms_bias_is_the_sessions() -> None:
    quiet, loud = arm(FAST, FAST, "quiet"), arm(FAST, FAST, "loud", null=around(0.03))
    assert {v.reason for v in judge_session(session(quiet, loud), POLICY)} == {"bias"}


def test_the_null_raises_the_floor() -> None:
    wide = (0.045, -0.005, 0.04, -0.01, 0.05, 0.0)  # mean 2%, yet compatible with zero at 99%
    found = verdict_on(arm(around(0.02), around(0.02), null=wide))
    assert found.reason == "unresolved"
    assert found.budgets[0].floor == pytest.approx(np.exp(0.02))
    assert said(verdict_on(arm(around(0.02), around(0.02)))) == ("CANDIDATE", "faster")


def test_more_planned_variants_ask_for_more() -> None:
    weak = around(0.02, spread=0.0075)
    alone = verdict_on(arm(weak, weak))
    crowd = verdict_on(arm(weak, weak), planned=("fused", *(f"v{i}" for i in range(19))))
    assert said(alone) == ("CANDIDATE", "faster")
    assert said(crowd) == ("INCONCLUSIVE", "unresolved")
    assert crowd.blocks_needed is not None
    assert alone.blocks_needed is not None
    assert crowd.blocks_needed > alone.blocks_needed


def test_a_variant_that_gains_at_one_budget_only_is_held_whatever_the_others_are() -> None:
    lopsided = arm(around(0.2), EQUAL, "lopsided")
    others = [arm(EQUAL, EQUAL, f"v{i}") for i in range(4)]
    assert said(judge_session(session(lopsided, *others), POLICY)[0]) == ("HOLD", "equivalent")


def test_blocks_needed_are_capped_when_hopeless() -> None:
    found = verdict_on(arm(tuple(10 * x for x in NOISY), NOISY))
    assert (found.blocks_needed, found.blocks_capped) == (POLICY.max_blocks, True)


@pytest.mark.parametrize(
    ("over", "verdict"), [(around(0.03), "CANDIDATE"), (around(0.0), "HOLD"), (around(-0.02), "HOLD")]
)
def test_the_incumbent_must_be_beaten_in_the_same_blocks(over: tuple[float, ...], verdict: str) -> None:
    old = arm(FAST, FAST, "old")
    new = arm(FAST, FAST, "new", over_incumbent=over)
    verdicts = judge_session(session(old, new, incumbent="old"), POLICY)
    assert verdicts[1].verdict == verdict
    assert verdicts[1].reason == ("faster" if verdict == "CANDIDATE" else "incumbent")
    assert verdicts[0].verdict == "CANDIDATE"


def test_every_gate_names_its_capsules_and_a_sentence() -> None:
    found = verdict_on(arm(FAST, FAST))
    assert {gate.id for gate in found.gates} >= {
        "fidelity",
        "status",
        "memory",
        "resident",
        "null_arm",
        "bias",
        "clock",
        "throttle",
        "slower",
        "blocks",
        "prompts",
        "faster",
        "prefill",
    }
    assert all(gate.capsules and gate.text for gate in found.gates)


samples = st.lists(st.floats(-0.2, 0.2, allow_nan=False), min_size=3, max_size=8)


@settings(max_examples=60)
@given(samples, samples)
def test_never_a_candidate_unless_above_the_floor_everywhere(short: list[float], long: list[float]) -> None:
    found = verdict_on(arm(short, long, null=None))
    if found.verdict == "CANDIDATE":
        assert min(np.mean(short), np.mean(long)) > np.log1p(POLICY.min_gain)


@settings(max_examples=60)
@given(samples, samples)
def test_a_slower_budget_never_helps(short: list[float], long: list[float]) -> None:
    order = {"REJECT": 0, "INCONCLUSIVE": 1, "HOLD": 2, "CANDIDATE": 3}
    before = verdict_on(arm(around(0.05), around(0.05)))
    after = verdict_on(arm(around(0.05), [min(value, 0.0) for value in long]))
    assert order[after.verdict] < order[before.verdict]


@settings(max_examples=60)
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_blocks_does_not_change_the_verdict(values: list[float], random: object) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    if np.std(values) < 1e-6:
        return
    assert said(verdict_on(arm(values, FAST))) == said(verdict_on(arm(shuffled, FAST)))


@settings(max_examples=40)
@given(st.lists(st.tuples(samples, samples), min_size=1, max_size=4))
def test_verdicts_do_not_depend_on_the_order_of_the_variants(pairs: list[tuple[list[float], list[float]]]) -> None:
    arms = [arm(short, long, f"v{i}") for i, (short, long) in enumerate(pairs)]
    forward = {v.variant: said(v) for v in judge_session(session(*arms), POLICY)}
    backward = {v.variant: said(v) for v in judge_session(session(*arms[::-1]), POLICY)}
    assert forward == backward
