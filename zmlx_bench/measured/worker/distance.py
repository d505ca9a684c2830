"""How far an arm's logits are from the reference's."""

from __future__ import annotations

from typing import Any

import numpy as np

from zmlx_bench.measured.messages import ArmTrace

Logits = np.ndarray[Any, np.dtype[np.float32]]
_DIGITS = 9
"""Significant digits that are kept of a KL divergence or an error."""


def trace(arm: Logits, reference: Logits) -> ArmTrace:
    """Compare logits (positions, vocabulary) of an arm with the reference's, in double precision."""
    kl, errors = [], []
    for ours, truth in zip(arm.astype(np.float64), reference.astype(np.float64), strict=True):
        expected = _log_softmax(truth)
        divergence = float(np.sum(np.exp(expected) * (expected - _log_softmax(ours))))
        # Equal distributions come out a rounding below zero.
        kl.append(_short(max(0.0, divergence)))
        errors.append(_short(float(np.abs(ours - truth).max())))
    agrees = np.argmax(arm, -1) == np.argmax(reference, -1)
    return ArmTrace(kl=tuple(kl), agrees=tuple(bool(same) for same in agrees), max_error=tuple(errors))


def _log_softmax(logits: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    shifted = logits - logits.max()
    result: np.ndarray[Any, np.dtype[np.float64]] = shifted - np.log(np.sum(np.exp(shifted)))
    return result


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
