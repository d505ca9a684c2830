"""Figures of the teacher-forced audit, from traces to a verdict on which arm is nearer to the reference; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from zmlx_bench.schema.audit import ArmDistance, ArmTrace, AuditFigures, PromptAudit


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
