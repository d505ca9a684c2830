"""How far logits are from the reference's: divergences, agreement, largest errors."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zmlx_bench.measured.messages import ArmTrace
from zmlx_bench.measured.worker import distance

LOGITS = arrays.arrays(np.float32, (3, 7), elements=st.floats(-50, 50, width=32))


def trace(arm: np.ndarray, reference: np.ndarray) -> ArmTrace:
    return distance.trace(mx.array(arm), mx.array(reference))


@given(LOGITS)
def test_an_arm_is_at_no_distance_from_itself_nor_from_a_shift_of_all_logits(logits: np.ndarray) -> None:
    assert trace(logits, logits) == ArmTrace(kl=(0, 0, 0), agrees=(True, True, True), max_error=(0, 0, 0))
    shifted = trace(logits + np.float32(1), logits)
    assert max(shifted.kl) < 1e-5
    assert shifted.max_error == pytest.approx((1, 1, 1), abs=1e-4)


@given(LOGITS, LOGITS)
def test_divergences_are_those_of_the_definition(ours: np.ndarray, truth: np.ndarray) -> None:
    found = trace(ours, truth)
    for position in range(3):
        p = np.exp(truth[position].astype(float)) / np.exp(truth[position].astype(float)).sum()
        q = np.exp(ours[position].astype(float)) / np.exp(ours[position].astype(float)).sum()
        assert found.kl[position] == pytest.approx(float(np.sum(p * np.log(p / q))), abs=1e-12, rel=1e-8)
    assert found.agrees == tuple(bool(a == b) for a, b in zip(ours.argmax(1), truth.argmax(1), strict=True))
