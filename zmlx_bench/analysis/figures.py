"""All derived figures of a capsule from its raw runs: the one function that recording and `zmlx check` share."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from zmlx_bench.analysis import context, fidelity, memory, throughput
from zmlx_bench.analysis.ratios import energy_by_block, ratios
from zmlx_bench.schema.base import Estimator, Status
from zmlx_bench.schema.figures import Figures
from zmlx_bench.schema.run import Run, RunSet

_WORST_FIRST: tuple[Status, ...] = ("oom", "crash", "timeout", "unavailable", "ok")


def derive(
    runs: RunSet,
    fidelity_runs: RunSet,
    outputs: Mapping[str, Sequence[int]],
    tokens: int,
    prompts: Sequence[str],
    null_arm: bool,
    estimator: Estimator = "mean",
) -> Figures:
    """Derive the figures of one variant at one budget.

    `runs` are the timed processes, `fidelity_runs` the untimed ones, `outputs` maps output hashes to
    token ids, `prompts` are all prompt ids of the session in order, and `null_arm` says whether the
    session had a null arm. `estimator` makes each ratio of its blocks.
    """
    null = runs.null if null_arm else None
    incumbent = throughput.paired(runs.variant, runs.incumbent, None, throughput.decode_tok_s, estimator)
    stock = (*runs.baseline, *runs.null)
    timed = (*stock, *runs.variant)
    return Figures(
        decode_tok_s=throughput.median(runs.variant, throughput.decode_tok_s),
        baseline_decode_tok_s=throughput.median(runs.baseline, throughput.decode_tok_s),
        null_decode_tok_s=throughput.median(runs.null, throughput.decode_tok_s),
        incumbent_decode_tok_s=throughput.median(runs.incumbent, throughput.decode_tok_s),
        prefill_tok_s=throughput.median(runs.variant, throughput.prefill_tok_s),
        baseline_prefill_tok_s=throughput.median(runs.baseline, throughput.prefill_tok_s),
        ttft_ms=throughput.median(runs.variant, throughput.ttft_ms),
        baseline_ttft_ms=throughput.median(runs.baseline, throughput.ttft_ms),
        speedup=throughput.paired(runs.variant, runs.baseline, null, throughput.decode_tok_s, estimator),
        null=throughput.paired(runs.null, runs.baseline, None, throughput.decode_tok_s, estimator),
        incumbent=incumbent,
        prefill=throughput.paired(runs.variant, runs.baseline, null, throughput.prefill_tok_s, estimator),
        context_prefill_tok_s=context.median_tok_s(runs.variant),
        baseline_context_prefill_tok_s=context.median_tok_s(runs.baseline),
        context_prefill=context.paired(runs.variant, runs.baseline, null, estimator),
        depths=context.depths(runs.variant),
        baseline_depths=context.depths(runs.baseline),
        latency=throughput.latency(runs.variant),
        baseline_latency=throughput.latency(runs.baseline),
        token_times=throughput.token_times(runs.variant),
        baseline_token_times=throughput.token_times(runs.baseline),
        memory=memory.of_runs(runs.variant),
        baseline_memory=memory.of_runs(runs.baseline),
        energy_j_per_token=energy_j_per_token(runs.variant),
        baseline_energy_j_per_token=energy_j_per_token(runs.baseline),
        fidelity=fidelity.compare(
            (*runs.variant, *fidelity_runs.variant),
            (*runs.baseline, *fidelity_runs.baseline),
            (*runs.null, *fidelity_runs.null) if null_arm else None,
            outputs,
            tokens,
            prompts,
        ),
        clock_disagreement=clock_disagreement(timed),
        throttled=_any_known(
            state.throttled for run in timed for state in (run.before, run.after) if state is not None
        ),
        compressed_gb=memory.compressed_gb(timed),
        busy_by_others=max(
            (
                run.after.cpu_busy_by_others
                for run in timed
                if run.after is not None and run.after.cpu_busy_by_others is not None
            ),
            default=None,
        ),
        calls_per_token=next((run.calls_per_token for run in runs.variant if run.status == "ok"), {}),
        ratios=ratios(runs.variant, runs.baseline, null, estimator),
    )


def worst_status(runs: Sequence[Run]) -> Status:
    """Return the gravest status among the runs; `ok` when there is none."""
    present = {run.status for run in runs}
    return next((status for status in _WORST_FIRST if status in present), "ok")


def energy_j_per_token(runs: Sequence[Run]) -> float | None:
    """Return the median over blocks of the joules for each decoded token after the first; None where unknown."""
    found = energy_by_block(runs).values()
    return statistics.median(found) if found else None


def clock_disagreement(runs: Sequence[Run]) -> float | None:
    """Return the largest |worker / supervisor - 1| of the decode times, or None when nothing was timed."""
    worst: float | None = None
    for run in runs:
        for generation in run.generations if run.status == "ok" else ():
            if generation.tokens > 1 and generation.supervisor_decode_s > 0:
                off = abs(generation.decode_s / generation.supervisor_decode_s - 1)
                worst = off if worst is None else max(worst, off)
    return worst


def _any_known(values: Iterable[bool | None]) -> bool | None:
    known = [value for value in values if value is not None]
    return any(known) if known else None
