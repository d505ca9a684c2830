"""Figures of the teacher-forced audit, from logits to a verdict on which arm is nearer to the reference; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zmlx_bench.schema.audit import ArmDistance, ArmTrace, AuditFigures, PromptAudit

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


def derive(prompts: Sequence[PromptAudit]) -> AuditFigures:
    """Return the figures of all prompts together."""
    baseline = [value for prompt in prompts for value in prompt.baseline.kl]
    variant = [value for prompt in prompts for value in prompt.variant.kl]
    pairs = list(zip(variant, baseline, strict=True))
    ours, theirs = math.fsum(variant), math.fsum(baseline)
    return AuditFigures(
        positions=len(pairs),
        baseline=_distance([prompt.baseline for prompt in prompts]),
        variant=_distance([prompt.variant for prompt in prompts]),
        nearer="equal" if ours == theirs else "variant" if ours < theirs else "baseline",
        variant_nearer=sum(mine < other for mine, other in pairs),
        baseline_nearer=sum(mine > other for mine, other in pairs),
    )


def _distance(traces: Sequence[ArmTrace]) -> ArmDistance:
    kl = [value for trace in traces for value in trace.kl]
    agrees = [value for trace in traces for value in trace.agrees]
    return ArmDistance(
        kl_mean=math.fsum(kl) / len(kl),
        kl_max=max(kl),
        top1_agreement=sum(agrees) / len(agrees),
        max_error=max(value for trace in traces for value in trace.max_error),
    )


def _log_softmax(logits: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    shifted = logits - logits.max()
    result: np.ndarray[Any, np.dtype[np.float64]] = shifted - np.log(np.sum(np.exp(shifted)))
    return result


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
