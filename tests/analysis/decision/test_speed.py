"""From p-values to speeds: every session of an array by itself, every level at its very boundary."""

from __future__ import annotations

import numpy as np
import pytest

from tests.analysis.decision.evidence_of import POLICY
from zmlx_bench.analysis.decision.speed import Evidence, Speed, evidence, judge, kept, over_looks
from zmlx_bench.analysis.decision.statistics import estimate, holm

ALPHA = POLICY.faster_alpha
MARGIN = float(np.log1p(POLICY.min_gain))


def found(above: object, below: object, within: object = False) -> Evidence:
    p = np.asarray(above, dtype=np.float64)
    shape = p.shape
    return Evidence(p, np.broadcast_to(np.asarray(below, dtype=np.float64), shape), np.broadcast_to(within, shape))


def test_at_its_level_a_variant_is_faster_or_slower() -> None:
    assert judge(found([[ALPHA]], 1.0), POLICY).overall == [Speed.FASTER]
    assert judge(found([[np.nextafter(ALPHA, 1)]], 1.0), POLICY).overall == [Speed.UNRESOLVED]
    assert judge(found([[1.0]], POLICY.slower_alpha), POLICY).overall == [Speed.SLOWER]
    assert judge(found([[1.0]], np.nextafter(POLICY.slower_alpha, 1)), POLICY).overall == [Speed.UNRESOLVED]


def test_an_unknown_p_is_no_evidence() -> None:
    judged = judge(found([[np.nan, 0.0], [0.0, 0.0]], np.nan), POLICY)
    assert judged.overall.tolist() == [Speed.UNRESOLVED, Speed.FASTER]
    assert judged.faster.tolist() == [1.0, 0.0]
    assert judged.above[0].tolist() == [1.0, 0.0]


def test_faster_at_every_budget_alone_is_not_faster_over_all() -> None:
    """At each budget Holm lets both variants pass; over the larger of each one's p-values it lets none."""
    judged = judge(found([[0.015, 0.005], [0.005, 0.015]], 1.0), POLICY)
    assert judged.speed.tolist() == [[Speed.FASTER] * 2] * 2
    assert judged.faster == pytest.approx([0.03, 0.03])
    assert judged.overall.tolist() == [Speed.UNRESOLVED] * 2


def test_the_slowest_budget_holds() -> None:
    judged = judge(
        found([[0.001, 1.0], [0.001, 0.9]], [[1.0, 1.0], [1.0, 0.001]], [[False, True], [False, False]]), POLICY
    )
    assert judged.speed.tolist() == [[Speed.FASTER, Speed.EQUIVALENT], [Speed.FASTER, Speed.SLOWER]]
    assert judged.overall.tolist() == [Speed.EQUIVALENT, Speed.SLOWER]


def test_each_session_of_an_array_is_judged_by_itself() -> None:
    rng = np.random.default_rng(3)
    above, below = rng.random((2, 7, 3, 2)) ** 4
    together = judge(found(above, below), POLICY)
    for index in range(7):
        alone = judge(found(above[index], below[index]), POLICY)
        for field in ("speed", "overall", "above", "below", "faster"):
            assert np.array_equal(getattr(together, field)[index], getattr(alone, field))
    assert np.array_equal(together.below[0].ravel(), holm(below[0].ravel()))
    assert np.array_equal(together.above[0, :, 1], holm(above[0, :, 1]))


def test_looks_are_combined_for_each_cell_by_itself() -> None:
    rng = np.random.default_rng(4)
    looks = [found(rng.random((3, 2)), rng.random((3, 2)), rng.random((3, 2)) < 0.3) for _ in range(2)]
    together = over_looks(looks, 5)
    assert not together.within.all()
    for cell in np.ndindex(3, 2):
        alone = over_looks([found(one.above[cell], one.below[cell], one.within[cell]) for one in looks], 5)
        assert (together.above[cell], together.below[cell], together.within[cell]) == (
            alone.above,
            alone.below,
            alone.within,
        )


@pytest.mark.parametrize("side", [1, -1])
def test_an_interval_that_ends_at_the_margin_lies_within_it(side: int) -> None:
    assert evidence(estimate([side * MARGIN] * 4), 0.5, POLICY).within
    assert not evidence(estimate([side * np.nextafter(MARGIN, 1)] * 4), 0.5, POLICY).within


def test_without_looks_an_interval_has_the_policys_level() -> None:
    sample = estimate([0.0, 0.012, -0.012, 0.003, 0.0])
    assert evidence(sample, 0.0, POLICY).within
    assert not evidence(sample, 0.0, POLICY, 2).within


def test_a_gain_that_is_eaten_is_not_told_and_all_else_is() -> None:
    looked = found([[0.001, 0.002]], [[0.1, 0.2]], [[True, False]])
    left = kept(looked, [[True, False]])
    assert left.above.tolist() == [[1.0, 0.002]]
    assert (left.below is looked.below, left.within is looked.within) == (True, True)
