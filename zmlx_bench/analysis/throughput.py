"""Decode and prefill speed of single runs, and their paired log differences by block.

Decode tok/s = (n - 1) / (t_last - t_first): the first token belongs to the prompt. Of a batch it is the tokens of all
its sequences in that time, and prefill the prompts of all of them in the time to the first.
d = y_variant - (y_base + y_null) / 2, or y_variant - y_base without a null arm, y = ln(tok/s) of a block.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from zmlx_bench.analysis.intervals import ratio_of_logs
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.figures import Latency, Ratio, TokenTimes
from zmlx_bench.schema.run import Generation, Run

Speed = Callable[[Generation], float | None]


def decode_tok_s(generation: Generation) -> float | None:
    """Return decode speed in tokens a second; None for a single token or a zero duration."""
    if generation.tokens < 2 or generation.decode_s <= 0:
        return None
    return (generation.tokens - 1) * sequences(generation) / generation.decode_s


def prefill_tok_s(generation: Generation) -> float | None:
    """Return prompt tokens over the time to the first token."""
    tokens = generation.prompt_tokens + sum(each.prompt_tokens for each in generation.beside)
    return tokens / generation.ttft_s if generation.ttft_s > 0 else None


def sequences(generation: Generation) -> int:
    """Return how many sequences were decoded at once."""
    return 1 + len(generation.beside)


def ttft_ms(generation: Generation) -> float | None:
    """Return the time to the first token in milliseconds."""
    return generation.ttft_s * 1e3


def by_block(runs: Sequence[Run], speed: Speed) -> dict[int, float]:
    """Return the speed of each block's process; failed processes and unmeasured speeds are left out."""
    found: dict[int, float] = {}
    for run in runs:
        if run.status == "ok" and run.block is not None:
            value = speed(run.generations[0])
            if value is not None:
                found[run.block] = value
    return found


def median(runs: Sequence[Run], speed: Speed) -> float | None:
    """Return the median speed over blocks, or None when nothing was measured."""
    values = by_block(runs, speed).values()
    return statistics.median(values) if values else None


def paired(
    variant: Sequence[Run],
    baseline: Sequence[Run],
    null: Sequence[Run] | None,
    speed: Speed,
    estimator: Estimator = "mean",
) -> Ratio | None:
    """Return the variant's paired ratio to the stock arms over the blocks that have all of them.

    `null` is None where the session has no null arm; then the baseline alone is the reference.
    """
    references = [by_block(arm, speed) for arm in (baseline, null) if arm is not None]
    return paired_speeds(by_block(variant, speed), references, estimator)


def paired_speeds(
    numerator: Mapping[int, float], references: Sequence[Mapping[int, float]], estimator: Estimator = "mean"
) -> Ratio | None:
    """Return the ratio of an arm's figures by block to the (geometric) mean of the references' there.

    A block has none where a clock or a counter was too coarse to see one of its figures, or an edited file makes it
    infinite.
    """
    arms = (numerator, *references)
    blocks = sorted(b for b in numerator if all(0 < arm.get(b, 0) < math.inf for arm in arms))
    logs = [
        math.log(numerator[b]) - math.fsum(math.log(ref[b]) for ref in references) / len(references) for b in blocks
    ]
    return ratio_of_logs(logs, blocks, estimator)


def latency(runs: Sequence[Run]) -> Latency | None:
    """Return percentiles (nearest rank) of the per-token latencies of all blocks, in milliseconds."""
    pooled = sorted(us for run in runs if run.status == "ok" for us in run.generations[0].token_us)
    if not pooled:
        return None
    p50, p95, p99 = (nearest_rank(pooled, share) / 1e3 for share in (0.50, 0.95, 0.99))
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=pooled[-1] / 1e3)


def token_times(runs: Sequence[Run]) -> TokenTimes | None:
    """Return the median over blocks of each percentile of a process's time per token, as of its other figures."""
    p50, p95, p99 = (median(runs, partial(token_ms, share=share)) for share in (0.50, 0.95, 0.99))
    return None if p50 is None or p95 is None or p99 is None else TokenTimes(p50_ms=p50, p95_ms=p95, p99_ms=p99)


def token_ms(generation: Generation, share: float) -> float | None:
    """Return a percentile (nearest rank) of the time per token of one process, in milliseconds."""
    return nearest_rank(sorted(generation.token_us), share) / 1e3 if generation.token_us else None


def nearest_rank(ascending: Sequence[int], share: float) -> int:
    """Return the smallest of some values, one at least, that `share` of them do not exceed."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]
