"""Derived figures of a capsule. Each is recomputed from the raw runs by `zmlx check`; not measured is null."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.schema.base import Count, Name, NonNegative, Positive, StrictModel
from zmlx_bench.schema.kernel import Site
from zmlx_bench.schema.run import Depth


class Ratio(StrictModel):
    """A paired ratio: `value` = exp(estimate of `logs`) with its unadjusted 90% t interval (needs two pairs).

    The estimate is the mean, or the M-estimate that the capsule's protocol names.
    """

    value: NonNegative
    low: NonNegative | None
    high: NonNegative | None
    logs: tuple[float, ...]
    """The log difference of each block, in the order of the blocks."""
    blocks: tuple[Positive, ...]
    """The blocks that these pairs come from."""


class PromptFidelity(StrictModel):
    """One prompt's tokens against the baseline's; of a batch, those of all sequences that it leads."""

    prompt: Name
    identical: bool
    matched: Count
    """Tokens before the first difference."""
    total: Positive
    first_divergence: Count | None
    """Index (from 0) of the first token that differs; null when identical. Of a batch: of the first step."""
    baseline_margin: NonNegative | None
    """The baseline's top-1 minus top-2 log-probability there; null when identical or not recorded, and of a batch."""
    distinct_8grams: NonNegative
    """Share of the baseline output's 8-grams that are distinct; 1 below 8 tokens."""
    loops: bool
    """Whether the baseline's output loops: then the prompt is weak evidence and does not count."""


class Fidelity(StrictModel):
    """Token identity over all prompts at this budget."""

    verdict: Literal["identical", "diverged"]
    matched_tokens: Count
    total_tokens: Positive
    prompts: tuple[PromptFidelity, ...]
    counting_prompts: Count
    """Prompts whose baseline output does not loop."""
    baseline_repeats: bool | None
    """Whether all baseline processes gave the same tokens; null with a single one."""
    null_identical: bool | None
    """Whether the null arm gave the baseline's tokens; null without a null arm."""


class Memory(StrictModel):
    """Memory of an arm, the largest over its processes, in GB (1e9 bytes)."""

    peak_mem_gb: NonNegative | None
    temporary_gb: NonNegative | None
    """Peak minus what was active before the prompt."""
    cache_gb: NonNegative | None
    peak_rss_gb: NonNegative | None
    peak_footprint_gb: NonNegative | None = None
    """macOS's phys_footprint; null elsewhere."""
    page_faults_minor: Count | None
    page_faults_major: Count | None


class Latency(StrictModel):
    """Percentiles of the time per token, of the tokens of all blocks together, milliseconds."""

    p50_ms: NonNegative
    p95_ms: NonNegative
    p99_ms: NonNegative
    max_ms: NonNegative


class TokenTimes(StrictModel):
    """Percentiles of the time per token, each the median over blocks of that of a process, milliseconds."""

    p50_ms: NonNegative
    p95_ms: NonNegative
    p99_ms: NonNegative


class Ratios(StrictModel):
    """Paired ratios beside the speed-up, as it is paired: against the mean of baseline and null in the same blocks.

    Each is of a time or of energy: below 1 is better. Null where it was not measured in a block of every arm.
    """

    ttft: Ratio | None
    """Of the time to the first token."""
    token_p50: Ratio | None
    """Of the median time per token of a process, and so on for its other percentiles."""
    token_p95: Ratio | None
    token_p99: Ratio | None
    energy: Ratio | None
    """Of the joules for each token decoded after the first."""


class Figures(StrictModel):
    """What a capsule says, derived from its runs."""

    decode_tok_s: NonNegative | None
    """Median over blocks, for display only."""
    baseline_decode_tok_s: NonNegative | None
    null_decode_tok_s: NonNegative | None
    incumbent_decode_tok_s: NonNegative | None
    prefill_tok_s: NonNegative | None
    baseline_prefill_tok_s: NonNegative | None
    ttft_ms: NonNegative | None
    baseline_ttft_ms: NonNegative | None
    speedup: Ratio | None
    """exp of the estimate of d: the variant against the mean of baseline and null in the same blocks."""
    null: Ratio | None
    """exp of the estimate of z: the null arm against the baseline, the floor of this machine."""
    incumbent: Ratio | None
    """The variant against the incumbent in the same blocks."""
    prefill: Ratio | None
    """Prefill speed against the baseline and null in the same blocks."""
    context_prefill_tok_s: NonNegative | None = None
    """Tokens of the context over the time that prefilling it took, median over blocks; null without a context."""
    baseline_context_prefill_tok_s: NonNegative | None = None
    context_prefill: Ratio | None = None
    """The same against the baseline and null in the same blocks."""
    depths: tuple[Depth, ...] = ()
    """Memory as the cache grew, the largest over the timed processes at each length that all reached."""
    baseline_depths: tuple[Depth, ...] = ()
    latency: Latency | None
    baseline_latency: Latency | None
    token_times: TokenTimes | None = None
    """What stands beside `ratios`, in which a percentile is of a process too; null in evidence from before it was."""
    baseline_token_times: TokenTimes | None = None
    memory: Memory
    baseline_memory: Memory
    energy_j_per_token: NonNegative | None = None
    """Joules of the device for each token decoded after the first, median over blocks; null where unknown."""
    baseline_energy_j_per_token: NonNegative | None = None
    fidelity: Fidelity | None
    clock_disagreement: NonNegative | None
    """Largest relative disagreement between the worker's and the supervisor's decode time in any run."""
    throttled: bool | None
    """Whether the platform reported throttling around any run; null where it does not say."""
    compressed_gb: NonNegative | None = None
    """macOS: by how much its compressor grew at most while a timed process ran; null elsewhere."""
    busy_by_others: NonNegative | None
    """Most cores that other processes kept busy during any of the timed runs; null where unknown."""
    calls_per_token: dict[Site, NonNegative]
    """Calls of each replaced site per decoded token."""
    ratios: Ratios | None = None
    """Null in evidence from before there were any; what they are derived from is in it."""
