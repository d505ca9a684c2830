"""How far an arm's logits are from the reference's."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.messages import ArmTrace

_DIGITS = 9
"""Significant digits that are kept of a KL divergence or an error."""


def trace(arm: mx.array, reference: mx.array) -> ArmTrace:
    """Compare logits (positions, vocabulary) of an arm with the reference's, in double precision on the CPU."""
    kl: list[float] = []
    agrees: list[bool] = []
    errors: list[float] = []
    with mx.stream(mx.cpu):
        for position in range(arm.shape[0]):
            ours, truth = arm[position].astype(mx.float64), reference[position].astype(mx.float64)
            expected = _log_softmax(truth)
            divergence: Any = mx.sum(_exp(expected) * (expected - _log_softmax(ours))).item()
            error: Any = mx.abs(ours - truth).max().item()
            # Equal distributions come out a rounding below zero.
            kl.append(_short(max(0.0, float(divergence))))
            errors.append(_short(float(error)))
            agrees.append(mx.argmax(ours).item() == mx.argmax(truth).item())
    return ArmTrace(kl=tuple(kl), agrees=tuple(agrees), max_error=tuple(errors))


def _log_softmax(logits: mx.array) -> mx.array:
    shifted = logits - logits.max()
    return shifted - mx.log(mx.sum(_exp(shifted)))


def _exp(x: mx.array) -> mx.array:
    # mx.exp of MLX 0.32.4 is right to six digits in float64; a power is right to all of them.
    return mx.power(mx.array(math.e, mx.float64), x)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
