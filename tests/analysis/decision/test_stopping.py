"""When a session that looks may stop, and what its stopping changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.decision.evidence_of import DIFFERENT, POLICY, arm, around, group, only, session
from zmlx_bench.analysis.decision import ArmEvidence, SessionEvidence, decide_group, judge_session
from zmlx_bench.analysis.decision.looks import level_of_each
from zmlx_bench.analysis.decision.power import power
from zmlx_bench.analysis.decision.stopping import Stop, seen_until, stop, undecided
from zmlx_bench.protocol.looks import looks_of

LOOKS = looks_of(3, 12)
FAST, EQUAL, SLOW = around(0.1, 12, 1e-3), around(0.0, 12, 1e-4), around(-0.1, 12, 1e-3)
WILD = (0.10, -0.08, 0.09, -0.07, 0.02, -0.01, 0.08, -0.09, 0.07, -0.1, 0.01, -0.02)
CALM = (0.0005, -0.0005) * 6


def made(*arms: ArmEvidence, blocks: int, **changes: object) -> SessionEvidence:
    return seen_until(session(*arms, looks=LOOKS, **changes), blocks)


def calm(gain: tuple[float, ...], name: str = "fused", **changes: object) -> ArmEvidence:
    return arm(gain, gain, name, **{"null": CALM, **changes})


@pytest.mark.parametrize("gain", [FAST, EQUAL, SLOW])
def test_a_session_stops_when_its_variant_is_decided(gain: tuple[float, ...]) -> None:
    assert stop(made(calm(gain), blocks=3), POLICY) == Stop("decided")


def test_no_arm_leaves_before_all_are_decided() -> None:
    assert stop(made(calm(FAST), calm(WILD, "wild"), blocks=3), POLICY) is None
    assert undecided(made(calm(FAST), calm(WILD, "wild"), blocks=3), POLICY) == ("wild",)


def test_the_last_look_ends_it_whatever_is_left() -> None:
    quiet = POLICY.model_copy(update={"futility_power": 1e-12})
    assert stop(made(calm(WILD), blocks=10), quiet) is None
    assert stop(made(calm(WILD), blocks=12), quiet) == Stop("most", ("fused",))


def test_scatter_that_no_block_left_resolves_is_futile_but_not_from_a_few_blocks() -> None:
    assert stop(made(calm(WILD), blocks=5), POLICY) is None
    assert stop(made(calm(WILD), blocks=6), POLICY) == Stop("futile", ("fused",))


def test_a_biased_session_goes_on() -> None:
    assert stop(made(calm(FAST, null=around(0.03, 12, 1e-3)), blocks=3), POLICY) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fidelity": DIFFERENT}, "decided"),
        ({"status": "crash", "message": "x"}, "decided"),
        ({"peak_mem_gb": 2.0}, "decided"),
        ({"clock_disagreement": 0.5}, "futile"),
        ({"idle_kernels": ("moe",)}, "futile"),
    ],
)
def test_what_has_its_verdict_or_can_have_none_is_not_waited_for(changes: dict, expected: str) -> None:
    found = stop(made(calm(WILD, **changes), blocks=3), POLICY)
    assert found is not None
    assert found.why == expected


def test_beside_an_incumbent_a_variant_must_be_told_apart_from_it() -> None:
    old = calm(FAST, "old")
    for over, expected in ((around(0.05, 12, 1e-3), Stop("decided")), (WILD, None)):
        new = calm(FAST, "new", over_incumbent=over)
        assert stop(made(old, new, blocks=3, incumbent="old"), POLICY) == expected
    # The incumbent itself is not waited for while it has a rival.
    wild = calm(WILD, "old")
    new = calm(FAST, "new", over_incumbent=around(0.05, 12, 1e-3))
    assert stop(made(wild, new, blocks=3, incumbent="old"), POLICY) == Stop("decided")
    assert undecided(made(wild, blocks=3, incumbent="old"), POLICY) == ("old",)


STALLS = (0.03, 0.031, 0.029, 0.0305, 0.0295, -0.2, 0.03, 0.031, -0.2, 0.0295, 0.03, 0.0305)


def test_a_variant_whose_own_stalls_eat_its_gain_is_no_candidate() -> None:
    tested = arm(STALLS, STALLS, null=CALM)
    budgets = {tokens: replace(b, estimator="bisquare") for tokens, b in tested.budgets.items()}
    found = judge_session(session(replace(tested, budgets=budgets)), POLICY)[0]
    assert {b.speed for b in found.budgets} == {"faster"}
    assert (found.verdict, found.reason, found.valid) == ("INCONCLUSIVE", "outliers", True)
    stock = tuple(-x if x < 0 else x for x in STALLS)
    budgets = {tokens: replace(b, estimator="bisquare") for tokens, b in arm(stock, stock, null=CALM).budgets.items()}
    assert judge_session(session(replace(tested, budgets=budgets)), POLICY)[0].verdict == "CANDIDATE"
    once = tuple(max(x, -0.1) if i != 8 else 0.0295 for i, x in enumerate(STALLS))
    budgets = {tokens: replace(b, estimator="bisquare") for tokens, b in arm(once, once, null=CALM).budgets.items()}
    assert judge_session(session(replace(tested, budgets=budgets)), POLICY)[0].verdict == "CANDIDATE"
    # Evidence that rests on means has no such gate, and no verdict of it changes.
    assert all(gate.id != "outliers" for gate in judge_session(session(tested), POLICY)[0].gates)


@given(st.lists(st.floats(-0.1, 0.1), min_size=12, max_size=12), st.integers(0, 5))
def test_later_blocks_do_not_change_what_a_look_saw(gain: list[float], at: int) -> None:
    blocks = LOOKS[at]
    other = (*gain[:blocks], *(0.3 for _ in gain[blocks:]))
    one, two = (made(calm(tuple(values)), blocks=blocks) for values in (gain, other))
    assert stop(one, POLICY) == stop(two, POLICY)


@given(st.lists(st.floats(-0.1, 0.1), min_size=12, max_size=12))
def test_what_was_told_faster_or_slower_stays_so(gain: list[float]) -> None:
    said = [judge_session(made(calm(tuple(gain)), blocks=blocks), POLICY)[0] for blocks in LOOKS]
    faster = [next(g for g in each.gates if g.id == "faster").outcome == "pass" for each in said]
    slower = [next(g for g in each.gates if g.id == "slower").outcome == "fail" for each in said]
    assert faster == sorted(faster)
    assert slower == sorted(slower)


def test_sessions_that_stopped_early_must_show_more() -> None:
    scattered = around(0.0225, 12, 0.012)
    whole = [session(calm(scattered), hour=2 * i) for i in range(2)]
    early = [replace(s, looks=looks_of(3, 40), blocks=12) for s in whole]
    lenient = POLICY.model_copy(update={"faster_alpha": 0.5})
    assert not whole[0].stopped_early
    assert early[0].stopped_early
    ends = [decide_group(group(*sessions), lenient).verdicts[0] for sessions in (whole, early)]
    needed = [next(g for g in end.gates if g.id == "repeat").threshold for end in ends]
    assert needed[0] < needed[1]  # type: ignore[operator]
    at_last = [replace(s, looks=(3, 12), blocks=12) for s in whole]
    end = decide_group(group(*at_last), lenient).verdicts[0]
    assert next(g for g in end.gates if g.id == "repeat").threshold == needed[0]


def test_a_variant_without_a_budget_is_undecided() -> None:
    tested = calm(FAST)
    short = replace(tested, budgets=only(tested.budgets, 200))
    assert undecided(made(short, blocks=3), POLICY) == ("fused",)


def test_a_session_without_looks_or_blocks_is_at_its_end() -> None:
    undecided_one = session(calm(WILD))
    assert stop(replace(undecided_one, looks=LOOKS), POLICY) == Stop("most", ("fused",))
    assert stop(replace(undecided_one, blocks=5), POLICY) == Stop("most", ("fused",))


def test_futile_is_what_has_less_than_the_policys_power_with_all_the_blocks_planned() -> None:
    tested = made(calm(WILD), blocks=6)
    last = POLICY.model_copy(update={"faster_alpha": level_of_each(POLICY.faster_alpha, len(LOOKS))})
    budget = tested.arms[0].budgets[200]
    at_most = power(LOOKS[-1], float(budget.estimate(budget.gain).sd), 1, last)
    assert at_most > power(LOOKS[-2], float(budget.estimate(budget.gain).sd), 1, last)
    assert stop(tested, POLICY.model_copy(update={"futility_power": at_most})) is None
    more = float(np.nextafter(at_most, 1))
    assert stop(tested, POLICY.model_copy(update={"futility_power": more})) == Stop("futile", ("fused",))


def robustly(gain: tuple[float, ...], name: str = "fused") -> ArmEvidence:
    tested = calm(gain, name)
    return replace(tested, budgets={t: replace(b, estimator="bisquare") for t, b in tested.budgets.items()})


def test_a_faster_variant_is_decided_unless_its_own_outliers_ask_for_more_blocks() -> None:
    assert stop(made(robustly(FAST), blocks=8), POLICY) == Stop("decided")
    assert undecided(made(robustly(STALLS), blocks=10), POLICY) == ("fused",)
    slow = tuple(-0.1 - x for x in STALLS)
    assert stop(made(robustly(slow), blocks=10), POLICY) == Stop("decided")
