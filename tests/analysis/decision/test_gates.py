"""Every gate as it stands in a report: outcome, figure, threshold, and the capsules that they come from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.analysis.decision.evidence_of import DIFFERENT, DIVERGED, POLICY, SAME, arm, around, budget, session
from zmlx_bench.analysis.decision import ArmEvidence, BudgetEvidence, Gate
from zmlx_bench.analysis.decision import conditions as of
from zmlx_bench.analysis.decision.statistics import estimate

FAST = around(0.05)
SHORT, LONG = "capsules/s/t200.json", "capsules/s/t1024.json"
BOTH = (SHORT, LONG)


def made(short: dict[str, Any], long: dict[str, Any]) -> ArmEvidence:
    """An arm with the budgets of the policy, one of which may be otherwise, and one that is not the policy's."""
    other = budget(64, FAST, status="crash", peak_mem_gb=99.0, clock_disagreement=9.0)
    budgets = {64: other, 1024: budget(1024, FAST, **long), 200: budget(200, FAST, **short)}
    return ArmEvidence("fused", "a", budgets)


PLAIN = made({}, {})


def said(gate: Gate) -> tuple[Any, ...]:
    return gate.id, gate.outcome, gate.figure, gate.threshold, gate.capsules


def test_only_the_policys_budgets_are_judged_and_the_shorter_comes_first() -> None:
    assert [b.tokens for b in of.judged(PLAIN, POLICY)] == [200, 1024]
    assert [b.tokens for b in of.judged(replace(PLAIN, budgets={1024: PLAIN.budgets[1024]}), POLICY)] == [1024]


def test_tokens_that_match() -> None:
    gate = of.fidelity(PLAIN, POLICY)
    assert said(gate) == ("fidelity", "pass", "1200/1200", "all", BOTH)
    assert gate.text == "all 1200 tokens match the baseline"
    known_once = made({"fidelity": None}, {})
    assert said(of.fidelity(known_once, POLICY)) == ("fidelity", "pass", "600/600", "all", (LONG,))
    unknown = of.fidelity(made({"fidelity": None}, {"fidelity": None}), POLICY)
    assert said(unknown) == ("fidelity", "unknown", None, "all", BOTH)
    assert unknown.text == "no outputs were compared"


def test_tokens_that_differ_are_named_at_the_first_budget_where_they_do() -> None:
    gate = of.fidelity(made({}, {"fidelity": DIFFERENT}), POLICY)
    assert said(gate) == ("fidelity", "fail", "412/600", "all", (LONG,))
    assert gate.text == "at 1024 tokens 412/600 tokens match the baseline (prompt story, token 12)"
    earlier = DIVERGED.model_copy(update={"prompt": "poem", "matched": 3})
    whole = DIVERGED.model_copy(update={"prompt": "whole", "identical": True, "matched": 1})
    two = DIFFERENT.model_copy(update={"prompts": (whole, DIVERGED, earlier)})
    assert of.fidelity(made({"fidelity": two}, {}), POLICY).text.endswith("(prompt poem, token 3)")
    unnamed = DIFFERENT.model_copy(update={"prompts": (whole,)})
    assert of.fidelity(made({"fidelity": unnamed}, {}), POLICY).text.endswith("match the baseline")


@pytest.mark.parametrize("unsteady", [{"baseline_repeats": False}, {"null_identical": False}])
def test_tokens_that_the_baseline_does_not_repeat_are_held_against_nobody(unsteady: dict[str, bool]) -> None:
    gate = of.fidelity(made({"fidelity": DIFFERENT.model_copy(update=unsteady)}, {}), POLICY)
    assert said(gate) == ("fidelity", "unknown", "412/600", "all", (SHORT,))
    assert gate.text == "at 200 tokens the outputs differ, but the baseline does not repeat itself either"


ELSEWHERE = {4096: budget(4096, FAST, fidelity=DIFFERENT)}


def test_tokens_that_differ_at_a_budget_that_the_policy_does_not_ask_for_differ() -> None:
    gate = of.fidelity(replace(PLAIN, budgets={**PLAIN.budgets, **ELSEWHERE}), POLICY)
    assert said(gate) == ("fidelity", "fail", "412/600", "all", ("capsules/s/t4096.json",))
    alone = replace(PLAIN, budgets=ELSEWHERE)
    assert of.fidelity(alone, POLICY).outcome == "fail"
    assert of.differs_elsewhere(alone, POLICY)
    assert not of.differs_elsewhere(replace(alone, near=True), POLICY)
    assert not of.differs_elsewhere(made({}, {"fidelity": DIFFERENT}), POLICY)


@pytest.mark.parametrize("unsteady", [{"baseline_repeats": False}, {"null_identical": False}])
def test_at_a_budget_that_nobody_asked_for_a_stock_model_need_not_repeat_itself(unsteady: dict[str, bool]) -> None:
    there = budget(4096, FAST, fidelity=DIFFERENT.model_copy(update=unsteady))
    gate = of.fidelity(replace(PLAIN, budgets={**PLAIN.budgets, 4096: there}), POLICY)
    assert said(gate) == ("fidelity", "pass", "1200/1200", "all", BOTH)


def test_status() -> None:
    assert said(of.status(PLAIN, POLICY)) == ("status", "pass", "ok", "ok", BOTH)
    assert of.status(PLAIN, POLICY).text == "every process ended well"
    for status, outcome in (("oom", "fail"), ("crash", "fail"), ("timeout", "fail"), ("unavailable", "unknown")):
        gate = of.status(made({}, {"status": status, "message": "why"}), POLICY)
        assert said(gate) == ("status", outcome, status, "ok", (LONG,))
        assert gate.text == f"at 1024 tokens: {status}: why"
    assert of.status(made({"status": "oom"}, {}), POLICY).text == "at 200 tokens: oom: no message"
    worst = made({"status": "unavailable"}, {"status": "timeout"})
    assert of.status(worst, POLICY).figure == "timeout"


def test_memory_tells_the_budget_that_is_nearest_to_its_limit() -> None:
    peak, resident = of.memory(PLAIN, POLICY)
    assert said(peak) == ("memory", "pass", 1.0, 1.02, (SHORT,))
    assert said(resident) == ("resident", "pass", 2.0, 2.25, (SHORT,))
    assert peak.text == "peak memory 1.00 GB at 200 tokens, 1.02 GB allowed"
    assert resident.text == "resident set 2.00 GB at 200 tokens, 2.25 GB allowed"
    peak, resident = of.memory(made({"peak_mem_gb": 1.01, "peak_rss_gb": 2.1}, {"peak_mem_gb": 1.03}), POLICY)
    assert said(peak) == ("memory", "fail", 1.03, 1.02, (LONG,))
    assert said(resident)[1:] == ("pass", 2.1, 2.25, (SHORT,))
    unknown = {"peak_mem_gb": None, "peak_rss_gb": None}
    peak, resident = of.memory(made(unknown, unknown), POLICY)
    assert said(peak) == ("memory", "unknown", None, POLICY.memory_tolerance, BOTH)
    assert said(resident) == ("resident", "unknown", None, POLICY.resident_tolerance, BOTH)
    assert (peak.text, resident.text) == ("peak memory was not measured", "resident set was not measured")
    # A budget that does not know it does not hide what the next one found.
    peak, _ = of.memory(made(unknown, {"peak_mem_gb": 1.5}), POLICY)
    assert said(peak)[1:3] == ("fail", 1.5)


@pytest.mark.parametrize(("stock", "limit"), [(1.0, 1.02), (0.5, 0.52), (10.0, 10.2)])
def test_memory_may_exceed_by_a_share_or_by_a_slack_whichever_is_more(stock: float, limit: float) -> None:
    plain = PLAIN.budgets[200]
    memory = plain.figures.baseline_memory.model_copy(update={"peak_mem_gb": stock})
    figures = plain.figures.model_copy(update={"baseline_memory": memory})
    tested = replace(PLAIN, budgets={200: replace(plain, figures=figures)})
    assert of.memory(tested, POLICY)[0].threshold == pytest.approx(limit)


def test_where_the_footprint_is_known_it_stands_for_the_resident_set() -> None:
    pairs = {"footprints_gb": (2.3, 2.0)}
    gate = of.memory(made(pairs, pairs), POLICY)[1]
    assert said(gate) == ("resident", "fail", 2.3, 2.25, (SHORT,))
    assert gate.text == "footprint 2.30 GB at 200 tokens, 2.25 GB allowed"
    # Known at one budget alone, it is not comparable over both.
    assert of.memory(made(pairs, {}), POLICY)[1].text.startswith("resident set")


def test_bias_names_the_arm_and_budget_that_are_off_most() -> None:
    steady = arm(FAST, FAST, "steady", null=around(0.0, spread=1e-3))
    gates = of.session_bias(session(steady), POLICY)
    assert [said(gate) for gate in gates] == [
        ("null_arm", "pass", "on", "on", BOTH),
        ("bias", "pass", None, "99% interval holds 1", BOTH),
    ]
    assert [gate.text for gate in gates] == ["the null arm was measured", "two equal arms do not differ beyond chance"]
    budgets = {
        200: budget(200, FAST, null=around(0.02, spread=1e-3)),
        1024: budget(1024, FAST, null=around(-0.03, spread=1e-3)),
    }
    off = ArmEvidence("off", "a", budgets)
    less = arm(FAST, FAST, "less", null=around(0.01, spread=1e-3))
    for arms in ((steady, off, less), (less, off)):
        gate = of.session_bias(session(*arms), POLICY)[1]
        assert said(gate)[1:] == ("fail", pytest.approx(math.exp(-0.03)), "99% interval holds 1", (LONG,))
        assert gate.text == "two equal arms differ at 1024 tokens: 0.9704x [0.9687, 0.9722]"


def test_without_a_null_arm_there_is_no_bias_to_tell() -> None:
    (gate,) = of.session_bias(session(PLAIN, null_arm=False), POLICY)
    assert said(gate) == ("null_arm", "fail", "off", "on", BOTH)
    assert gate.text == "the session ran without a null arm, so nothing shows that its arms are comparable"


def test_of_two_that_are_off_alike_the_first_is_named() -> None:
    null = (0.02, 0.0201, 0.0199, 0.02)
    gate = of.session_bias(session(arm(FAST, FAST, null=null)), POLICY)[1]
    assert gate.capsules == (SHORT,)


def test_what_lies_on_a_limit_is_within_it() -> None:
    assert of.memory(made({"peak_mem_gb": 1.02}, {}), POLICY)[0].outcome == "pass"
    edge = POLICY.clock_disagreement
    assert of.measurement(made({"clock_disagreement": edge}, {}), POLICY)[0].outcome == "pass"
    plain = PLAIN.budgets[200]
    assert plain.figures.prefill is not None
    least = plain.figures.prefill.model_copy(update={"value": 1 - POLICY.prefill_tolerance})
    figures = plain.figures.model_copy(update={"prefill": least})
    gate = of.prefill(replace(PLAIN, budgets={200: replace(plain, figures=figures)}), POLICY)
    assert (gate.outcome, gate.figure) == ("pass", gate.threshold)


def robustly(gain: tuple[float, ...], tokens: int = 200) -> BudgetEvidence:
    return replace(budget(tokens, gain, null=None), estimator="bisquare")


STILL = (0.03, 0.031, 0.029, 0.0305, 0.0295, 0.03, 0.031, 0.0295)


def test_outliers_are_told_budget_by_budget_with_what_was_set_aside() -> None:
    slow, stock = (*STILL, -0.15, -0.15), (*STILL, 0.3)
    tested = ArmEvidence("fused", "a", {200: robustly(slow), 1024: robustly(stock, 1024)})
    first, second = of.outliers(tested, POLICY)
    half = math.exp(float(estimate(slow, "bisquare").mean) / 2)
    assert said(first) == ("outliers", "fail", pytest.approx(math.exp(np.mean(slow))), pytest.approx(half), (SHORT,))
    aside = "the estimate sets aside {} blocks in which the variant is slow and {} in which the stock model is;"
    assert first.text == f"at 200 tokens {aside.format(2.0, 0.0)} with them the mean is 0.994x, above 1.015x needed"
    assert said(second)[1:3] == ("pass", pytest.approx(math.exp(np.mean(stock))))
    assert second.capsules == (LONG,)
    assert second.text == f"at 1024 tokens {aside.format(0.1, 1.1)} with them the mean is 1.062x"
    # Means set nothing aside, and without blocks there is nothing to tell.
    means = ArmEvidence("fused", "a", {200: budget(200, slow, null=None), 1024: robustly(stock, 1024)})
    assert [gate.capsules for gate in of.outliers(means, POLICY)] == [(LONG,)]
    empty = ArmEvidence("fused", "a", {200: robustly(()), 1024: robustly(stock, 1024)})
    assert [gate.capsules for gate in of.outliers(empty, POLICY)] == [(LONG,)]


def test_measurement_tells_the_worst_clock_and_every_budget_that_throttled() -> None:
    clock, throttle = of.measurement(made({"clock_disagreement": 0.01}, {"clock_disagreement": 0.005}), POLICY)
    assert said(clock) == ("clock", "pass", 0.01, POLICY.clock_disagreement, (SHORT,))
    assert clock.text == "the clocks of worker and supervisor differ by up to 1.00%, 2% allowed"
    assert said(throttle) == ("throttle", "pass", None, "no", BOTH)
    assert throttle.text == "no throttling was reported"
    clock, throttle = of.measurement(
        made({"clock_disagreement": None, "throttled": None}, {"clock_disagreement": 0.03, "throttled": True}), POLICY
    )
    assert said(clock) == ("clock", "fail", 0.03, POLICY.clock_disagreement, (LONG,))
    assert said(throttle) == ("throttle", "fail", "yes", "no", (LONG,))
    assert throttle.text == "the machine throttled at 1024 tokens"
    nothing = {"clock_disagreement": None, "throttled": None}
    clock, throttle = of.measurement(made(nothing, nothing), POLICY)
    assert said(clock) == ("clock", "unknown", None, POLICY.clock_disagreement, BOTH)
    assert said(throttle) == ("throttle", "unknown", None, "no", BOTH)
    assert (clock.text, throttle.text) == (
        "decode was not timed by both clocks",
        "this platform does not report throttling",
    )
    # Known at one budget, it is known.
    assert of.measurement(made({"throttled": None}, {}), POLICY)[1].outcome == "pass"


def test_memory_that_macos_compressed() -> None:
    assert [gate.id for gate in of.measurement(PLAIN, POLICY)] == ["clock", "throttle"]
    slack = POLICY.resident_slack_gb
    for grew, outcome in ((slack, "pass"), (slack + 1e-9, "fail")):
        gate = of.measurement(made({"compressed_gb": 0.1}, {"compressed_gb": grew}), POLICY)[2]
        assert said(gate) == ("compressed", outcome, grew, slack, (LONG,))
    assert gate.text == "macOS compressed up to 0.25 GB more while a process ran, 0.25 GB allowed"
    assert said(of.measurement(made({"compressed_gb": 0.1}, {}), POLICY)[2])[2:] == (0.1, slack, (SHORT,))


def test_kernels_that_were_never_called() -> None:
    gate = of.measurement(made({}, {"idle_kernels": ("one", "two")}), POLICY)[-1]
    assert said(gate) == ("applied", "fail", "one, two", "all kernels", (LONG,))
    assert gate.text == "never called at 1024 tokens: one, two; the stock model was measured in their place"
    idle = made({"idle_kernels": ("one",)}, {"idle_kernels": ("two",)})
    assert said(of.measurement(idle, POLICY)[-1])[2:] == ("one", "all kernels", BOTH)


def test_prompts_count_at_the_budget_that_has_the_fewest() -> None:
    (gate,) = of.prompts(made({}, {"counting_prompts": 2}), POLICY)
    assert said(gate) == ("prompts", "fail", 2, POLICY.min_prompts, (LONG,))
    assert gate.text == "2 prompts count at 1024 tokens, 3 needed"
    (gate,) = of.prompts(made({}, {"counting_prompts": 4}), POLICY)
    assert said(gate) == ("prompts", "pass", 3, POLICY.min_prompts, (SHORT,))
    assert of.prompts(made({"fidelity": None}, {"fidelity": None}), POLICY) == []


@pytest.mark.parametrize("unsteady", [{"baseline_repeats": False}, {"null_identical": False}])
def test_a_stock_model_that_does_not_repeat_itself_is_said_once(unsteady: dict[str, bool]) -> None:
    shaky = SAME.model_copy(update=unsteady)
    first, _ = of.prompts(made({}, {"fidelity": shaky}), POLICY)
    assert said(first) == ("repeatable", "fail", "differs", "identical", (LONG,))
    assert first.text == "the stock model does not repeat its own tokens at 1024 tokens"
    found = of.prompts(made({"fidelity": shaky}, {"fidelity": shaky}), POLICY)
    assert [(gate.id, gate.capsules) for gate in found] == [("repeatable", (SHORT,)), ("prompts", (SHORT,))]


def test_prefill_at_its_worst_budget() -> None:
    gate = of.prefill(made({"prefill": 0.1}, {"prefill": -0.02}), POLICY)
    assert said(gate) == ("prefill", "pass", pytest.approx(math.exp(-0.02)), 1 - POLICY.prefill_tolerance, (LONG,))
    assert gate.text == "prefill 0.980x at 1024 tokens, at least 0.95x needed"
    assert of.prefill(made({"prefill": None}, {"prefill": -0.2}), POLICY).outcome == "fail"
    long = made({"prefill": 0.1}, {"prefill": 0.1})
    context = PLAIN.budgets[200].figures.prefill
    assert context is not None
    slow = {"context_prefill": context.model_copy(update={"value": 0.5})}
    evidence = replace(long.budgets[200], figures=long.budgets[200].figures.model_copy(update=slow))
    gate = of.prefill(replace(long, budgets={**long.budgets, 200: evidence}), POLICY)
    assert (gate.outcome, gate.figure) == ("fail", 0.5), "a context is what is prefilled mostly"
    unknown = of.prefill(made({"prefill": None}, {"prefill": None}), POLICY)
    assert said(unknown) == ("prefill", "unknown", None, 1 - POLICY.prefill_tolerance, BOTH)
    assert unknown.text == "prefill was not measured"
