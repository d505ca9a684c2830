"""Paired ratios of what is not decode speed: time to first token, time per token, energy per token.

They are paired and estimated as the speed-up is (`throughput`): a process gives one value, its block is the unit. A
percentile is of one process, since tokens of one process are no independent draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zmlx_bench.analysis.throughput import by_block, nearest_rank, paired_speeds, sequences, ttft_ms
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.figures import Ratio, Ratios
from zmlx_bench.schema.run import Generation, Run

ByBlock = Callable[[Sequence[Run]], dict[int, float]]


def ratios(
    variant: Sequence[Run], baseline: Sequence[Run], null: Sequence[Run] | None, estimator: Estimator = "mean"
) -> Ratios:
    """Return every ratio of an arm to the stock arms; `null` is None where the session has no null arm."""
    stock = [arm for arm in (baseline, null) if arm is not None]

    def paired(figure: ByBlock) -> Ratio | None:
        return paired_speeds(figure(variant), [figure(arm) for arm in stock], estimator)

    return Ratios(
        ttft=paired(lambda runs: by_block(runs, ttft_ms)),
        token_p50=paired(lambda runs: by_block(runs, lambda one: _token_us(one, 0.50))),
        token_p95=paired(lambda runs: by_block(runs, lambda one: _token_us(one, 0.95))),
        token_p99=paired(lambda runs: by_block(runs, lambda one: _token_us(one, 0.99))),
        energy=paired(energy_by_block),
    )


def of_capsule(capsule: Capsule) -> Ratios:
    """Return a capsule's ratios, derived from its runs where it is from before there were any."""
    runs, protocol = capsule.runs, capsule.protocol
    if capsule.figures.ratios is not None:
        return capsule.figures.ratios
    return ratios(runs.variant, runs.baseline, runs.null if protocol.null_arm else None, protocol.estimator)


def energy_by_block(runs: Sequence[Run]) -> dict[int, float]:
    """Return the joules for each token decoded after the first, of each block's process where a counter told."""
    return {
        run.block: run.energy_j / ((run.generations[0].tokens - 1) * sequences(run.generations[0]))
        for run in runs
        if run.status == "ok" and run.block is not None and run.energy_j is not None and run.generations[0].tokens > 1
    }


def _token_us(generation: Generation, share: float) -> float | None:
    return nearest_rank(sorted(generation.token_us), share) if generation.token_us else None
