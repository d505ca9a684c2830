from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.analysis.decision.evidence_of import POLICY
from zmlx_bench.analysis.decision.power import blocks_needed, power


@pytest.mark.parametrize("hypotheses", [1, 5, 20])
@pytest.mark.parametrize("sd", [0.0005, 0.001, 0.0019171, 0.002, 0.005, 0.01, 0.02, 0.05, 0.3])
def test_power_is_a_probability_that_grows_with_the_blocks(sd: float, hypotheses: int) -> None:
    found = [power(blocks, sd, hypotheses, POLICY) for blocks in range(2, POLICY.max_blocks + 1)]
    assert np.all(np.isfinite(found))
    assert np.all(np.diff(found) >= -1e-9)
    assert found[0] >= 0
    assert found[-1] <= 1


def test_power_agrees_with_simulation() -> None:
    rng = np.random.default_rng(3)
    sample = rng.normal(np.log(1.03), 0.012, (20_000, 6))
    p = stats.ttest_1samp(sample, np.log(1.01), axis=1, alternative="greater").pvalue
    assert power(6, 0.012, 5, POLICY) == pytest.approx(float(np.mean(p <= POLICY.faster_alpha / 5)), abs=0.012)


def test_the_blocks_needed_are_the_fewest() -> None:
    each = 1 - (1 - POLICY.planned_power) / 2
    for sd in (0.002, 0.00866, 0.02):
        found = blocks_needed({200: sd, 1024: 0.001}, 5, POLICY)
        assert found is not None
        blocks, capped = found
        assert not capped
        assert power(blocks, sd, 5, POLICY) >= each
        assert blocks == 3 or power(blocks - 1, sd, 5, POLICY) < each


def test_the_noisier_budget_decides_and_nothing_is_guessed() -> None:
    assert blocks_needed({200: 0.002, 1024: 0.02}, 1, POLICY) == blocks_needed({200: 0.02, 1024: 0.002}, 1, POLICY)
    assert blocks_needed({200: 0.02}, 1, POLICY) == blocks_needed({200: 0.02, 1024: 0.0}, 1, POLICY)
    assert blocks_needed({}, 1, POLICY) is None
    assert blocks_needed({200: 0.0, 1024: 0.0}, 1, POLICY) == (3, False)
    assert blocks_needed({200: 0.5, 1024: 0.0}, 1, POLICY) == (POLICY.max_blocks, True)
