"""Outliers that are a variant's own: at the boundary of each of the two thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.analysis.decision.evidence_of import POLICY
from zmlx_bench.analysis.decision.outliers import set_aside
from zmlx_bench.analysis.decision.statistics import estimate, lost_weight

GAIN = (0.03, 0.031, 0.029, 0.0305, 0.0295, 0.03, 0.031, 0.0295, 0.03, 0.0305, 0.0295)


def test_the_policys_figures_are_those_that_were_simulated() -> None:
    assert (POLICY.outlier_blocks, POLICY.outlier_share) == (0.5, 0.5)


def test_one_stall_in_twelve_blocks_is_allowed_until_it_takes_half_of_the_gain() -> None:
    half = float(estimate((*GAIN, -0.15), "bisquare").mean) / 2
    just = 12 * half - sum(GAIN)
    for stall, eaten in ((just + 1e-9, False), (just - 1e-9, True)):
        found = set_aside((*GAIN, stall), "bisquare", POLICY)
        assert bool(found.eats_the_gain) == eaten
        assert float(found.needed) == pytest.approx(half)
        assert float(found.below) == pytest.approx(1, abs=0.2)


def test_at_the_share_itself_the_gain_is_eaten() -> None:
    found = set_aside((*GAIN, -0.15), "bisquare", POLICY)
    there = POLICY.model_copy(update={"outlier_share": float(found.plain / (2 * found.needed))})
    again = set_aside((*GAIN, -0.15), "bisquare", there)
    assert float(again.plain) == pytest.approx(float(again.needed), rel=1e-12)
    exact = type(found)(found.below, found.above, found.plain, found.plain, found.mostly_own)
    assert exact.eats_the_gain


def test_parts_of_blocks_count_up_to_the_threshold_and_on_it_are_nobodys() -> None:
    sample = (*GAIN, -0.004)
    below, above = lost_weight(sample, "bisquare")
    more = float(below - above)
    assert 0 < more < 1
    on_it, beyond = (POLICY.model_copy(update={"outlier_blocks": limit}) for limit in (more, np.nextafter(more, 0)))
    assert not set_aside(sample, "bisquare", on_it).mostly_own
    assert set_aside(sample, "bisquare", beyond).mostly_own


def test_outliers_of_the_stock_model_or_of_both_alike_are_not_the_variants() -> None:
    assert not set_aside((*GAIN, 0.3, 0.3), "bisquare", POLICY).mostly_own
    assert not set_aside((*GAIN, 0.3, -0.3), "bisquare", POLICY).mostly_own
    assert set_aside((*GAIN, -0.3, -0.3), "bisquare", POLICY).mostly_own


@pytest.mark.parametrize("sample", [(*GAIN, -0.3), (0.03, 0.03, 0.03, -0.3), (0.02,)])
def test_a_mean_sets_nothing_aside(sample: tuple[float, ...]) -> None:
    found = set_aside(sample, "mean" if len(sample) > 5 else "bisquare", POLICY)
    assert (float(found.below), float(found.above)) == (0.0, 0.0)
    assert not found.eats_the_gain
    assert float(found.plain) == pytest.approx(np.mean(sample))


def test_each_sample_of_an_array_is_told_by_itself() -> None:
    both = set_aside(np.array([(*GAIN, -0.3), (*GAIN, 0.3)]), "bisquare", POLICY)
    assert both.eats_the_gain.tolist() == [True, False]
    assert float(both.plain[1]) == pytest.approx(np.mean((*GAIN, 0.3)))


def test_the_digits_do_not_depend_on_how_the_sample_was_kept() -> None:
    narrow = np.array((*GAIN, -0.3), dtype=np.float32)
    found = set_aside(narrow, "bisquare", POLICY)
    assert found.plain.dtype == found.needed.dtype == np.float64
    assert float(found.plain) == float(narrow.astype(np.float64).mean())
