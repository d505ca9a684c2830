"""A small run of `benchmarks/decision_error.py`: the rule keeps its error rates within Monte-Carlo error."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.analysis.decision.evidence_of import POLICY, SAME, budget, session
from zmlx_bench.analysis.decision import ArmEvidence, judge_session
from zmlx_bench.protocol.plan import ESTIMATOR

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def error(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("decision_error")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("decision_model")


def slack(bound: float, sessions: int) -> float:
    return float(bound + 4 * np.sqrt(bound * (1 - bound) / sessions))


@pytest.mark.parametrize("blocks", [(3, 2), (4, 4), (20, 20)])
@pytest.mark.parametrize(("variants", "sessions"), [(1, 4000), (5, 2000)])
@pytest.mark.parametrize("shape", ["normal", "heavy", "cold", "trend"])
def test_equal_and_lopsided_kernels_are_hardly_ever_candidates(
    error: ModuleType, blocks: tuple[int, int], variants: int, sessions: int, shape: str
) -> None:
    cell = error.run_cell(variants, blocks, error.Noise(0.025, shape), sessions, POLICY)
    assert max(cell.candidate.values()) <= slack(0.01, sessions)
    assert cell.equal["rejected"] <= slack(0.02, sessions)


@pytest.mark.parametrize("sd", [0.005, 0.01])
def test_arms_that_are_off_for_a_session_do_not_promote(error: ModuleType, sd: float) -> None:
    cell = error.run_cell(5, (12, 12), error.Noise(sd, arm_sd=0.01), 4000, POLICY)
    assert max(cell.promoted.values()) <= slack(0.01, 4000)
    assert max(cell.promoted_valid.values()) <= slack(0.01, round(4000 * cell.valid))
    assert max(cell.candidate.values()) > 0.02


@pytest.mark.parametrize(("variants", "blocks"), [(1, 6), (5, 8)])
def test_three_percent_is_found(error: ModuleType, variants: int, blocks: int) -> None:
    cell = error.run_cell(variants, (blocks, blocks), error.Noise(0.01 / np.sqrt(2)), 2000, POLICY)
    assert cell.power["+3%"] >= 0.9
    assert cell.power["+2%"] < cell.power["+3%"] <= cell.power["+20%"]


def test_the_median_rule_shows_its_quarter(error: ModuleType) -> None:
    drawn = error.simulate(np.random.default_rng(1), 8000, 1, (6, 6), error.Noise(0.01), POLICY)
    rates = error.others(np.random.default_rng(2), drawn, error.true_gains((0.0, 0.0), 1, one=False), 0.02)
    assert rates["median"] == pytest.approx(0.25, abs=0.02)
    assert rates["pooled"] > rates["welch"]


def test_an_equal_rival_does_not_replace_the_incumbent(model: ModuleType) -> None:
    drawn = model.simulate(np.random.default_rng(5), 4000, 2, (12, 12), model.Noise(0.005, arm_sd=0.01), POLICY)
    in_a_session, for_good = model.replacement(drawn, 0.0, POLICY)
    assert for_good <= slack(0.01, 1000)
    assert in_a_session > for_good
    assert model.replacement(drawn, 0.05, POLICY)[1] > 0.9


@pytest.fixture
def drawn_sessions(model: ModuleType) -> Iterator[tuple]:
    noise = model.Noise(0.01, arm_sd=0.01)
    return model.simulate(np.random.default_rng(7), 60, 3, (6, 6), noise, POLICY)


def test_the_simulation_decides_as_zmlx_does(model: ModuleType, drawn_sessions: object) -> None:
    """Each simulated session, written as evidence, gets the same speed from `judge_session`."""
    true = model.true_gains((0.03, 0.03), 3, one=False)
    outcome = model.decide(drawn_sessions, true, POLICY)
    names = {"performance": 0, "bias": 1, "unresolved": 1, "equivalent": 2, "faster": 3}
    seen = set()
    for index in range(60):
        arms = []
        for variant in range(3):
            budgets = {}
            for column, tokens in enumerate(POLICY.min_blocks):
                speeds = drawn_sessions.raw[column][index]  # type: ignore[attr-defined]
                gain = speeds[2 + variant] + np.log1p(0.03) - (speeds[0] + speeds[1]) / 2
                plain = budget(tokens, tuple(gain), null=tuple(speeds[1] - speeds[0]), fidelity=SAME)
                budgets[tokens] = replace(plain, estimator=ESTIMATOR)
            arms.append(ArmEvidence(f"v{variant}", "a", budgets))
        for variant, verdict in enumerate(judge_session(session(*arms), POLICY)):
            assert names[verdict.reason] == outcome.speed[index, variant]
            seen.add(verdict.reason)
    assert {"bias", "unresolved", "faster"} <= seen
