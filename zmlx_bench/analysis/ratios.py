"""Paired ratios of what is not decode speed: time to first token, time per token, energy per token.

They are paired and estimated as the speed-up is (`throughput`): a process gives one value, its block is the unit. A
percentile is of one process, since tokens of one process are no independent draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from zmlx_bench.analysis.throughput import by_block, paired_speeds, sequences, token_ms, token_times, ttft_ms
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.figures import Figures, Ratio, Ratios
from zmlx_bench.schema.run import Run

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
        token_p50=paired(lambda runs: by_block(runs, partial(token_ms, share=0.50))),
        token_p95=paired(lambda runs: by_block(runs, partial(token_ms, share=0.95))),
        token_p99=paired(lambda runs: by_block(runs, partial(token_ms, share=0.99))),
        energy=paired(energy_by_block),
    )


def completed(capsule: Capsule) -> Figures:
    """Return a capsule's figures; ratios and times per token from its runs where it is from before there were any."""
    runs, protocol, figures = capsule.runs, capsule.protocol, capsule.figures
    if whole(figures):
        return figures
    null = runs.null if protocol.null_arm else None
    return figures.model_copy(
        update={
            "ratios": figures.ratios or ratios(runs.variant, runs.baseline, null, protocol.estimator),
            "token_times": token_times(runs.variant),
            "baseline_token_times": token_times(runs.baseline),
        }
    )


def whole(figures: Figures) -> bool:
    """Return whether a capsule says itself all that is shown."""
    return figures.ratios is not None and figures.token_times is not None


def energy_by_block(runs: Sequence[Run]) -> dict[int, float]:
    """Return the joules for each token decoded after the first, of each block's process where a counter told."""
    return {
        run.block: run.energy_j / ((run.generations[0].tokens - 1) * sequences(run.generations[0]))
        for run in runs
        if run.status == "ok" and run.block is not None and run.energy_j is not None and run.generations[0].tokens > 1
    }
