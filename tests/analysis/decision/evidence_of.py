"""Evidence from log ratios, for the tests of the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from zmlx_bench.analysis.decision import (
    ArmEvidence,
    BudgetEvidence,
    GroupEvidence,
    GroupKey,
    SessionEvidence,
)
from zmlx_bench.files import read_toml
from zmlx_bench.schema.base import Status
from zmlx_bench.schema.figures import Fidelity, Figures, Memory, PromptFidelity, Ratio
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.policy import Policy

POLICY = read_toml(Path(__file__).parents[3] / "variants" / "policy.toml", Policy)
SAME = Fidelity(
    verdict="identical", matched_tokens=600, total_tokens=600, prompts=(), counting_prompts=3, baseline_repeats=True,
    null_identical=True,
)  # fmt: skip
DIVERGED = PromptFidelity(
    prompt="story", identical=False, matched=12, total=200, first_divergence=12, baseline_margin=None,
    distinct_8grams=1.0, loops=False,
)  # fmt: skip
DIFFERENT = SAME.model_copy(update={"verdict": "diverged", "matched_tokens": 412, "prompts": (DIVERGED,)})
QUIET = (0.002, -0.002, 0.001, -0.001, 0.0015, -0.0015)
KEY = GroupKey("qwen3", "0" * 64, Conditions(), "cpu", "a processor", 2, "0.32.4", "0.32.2")


def around(mean: float, blocks: int = 6, spread: float = 0.002) -> tuple[float, ...]:
    """Blocks with exactly this mean."""
    return tuple(
        mean + spread * (1 if i % 2 else -1) * (0 if i == blocks - 1 and blocks % 2 else 1) for i in range(blocks)
    )


def ratio(logs: Sequence[float] | None) -> Ratio | None:
    """The ratio of these log differences; the decision looks at no stored interval."""
    if logs is None:
        return None
    value = math.exp(sum(logs) / len(logs)) if logs else 1.0
    return Ratio(value=value, low=None, high=None, logs=tuple(logs), blocks=tuple(range(1, len(logs) + 1)))


def memory(peak_mem_gb: float | None, peak_rss_gb: float | None, footprint_gb: float | None) -> Memory:
    return Memory(
        peak_mem_gb=peak_mem_gb, temporary_gb=None, cache_gb=None, peak_rss_gb=peak_rss_gb,
        peak_footprint_gb=footprint_gb, page_faults_minor=None, page_faults_major=None,
    )  # fmt: skip


def budget(
    tokens: int,
    gain: Sequence[float],
    *,
    null: Sequence[float] | None = QUIET,
    over_incumbent: Sequence[float] | None = None,
    fidelity: Fidelity = SAME,
    counting_prompts: int = 3,
    prefill: float | None = 0.0,
    peak_mem_gb: float | None = 1.0,
    peak_rss_gb: float | None = 2.0,
    footprints_gb: tuple[float | None, float | None] = (None, None),
    compressed_gb: float | None = None,
    clock_disagreement: float = 0.001,
    throttled: bool | None = False,
    status: Status = "ok",
    message: str | None = None,
    idle_kernels: tuple[str, ...] = (),
) -> BudgetEvidence:
    """A capsule in which everything is well but for what is said; gains and prefill are logs."""
    null = null[: len(gain)] if null is QUIET else null
    figures = Figures(
        decode_tok_s=None, baseline_decode_tok_s=None, null_decode_tok_s=None, incumbent_decode_tok_s=None,
        prefill_tok_s=None, baseline_prefill_tok_s=None, ttft_ms=None, baseline_ttft_ms=None, speedup=ratio(gain),
        null=ratio(null), incumbent=ratio(over_incumbent), prefill=None if prefill is None else ratio((prefill,)),
        latency=None, baseline_latency=None, memory=memory(peak_mem_gb, peak_rss_gb, footprints_gb[0]),
        baseline_memory=memory(1.0, 2.0, footprints_gb[1]), compressed_gb=compressed_gb,
        fidelity=fidelity, clock_disagreement=clock_disagreement, throttled=throttled, busy_by_others=None,
        calls_per_token={},
    )  # fmt: skip
    return BudgetEvidence(
        tokens=tokens, capsule=f"capsules/s/t{tokens}.json", status=status, figures=figures,
        counting_prompts=counting_prompts, message=message, idle_kernels=idle_kernels,
    )  # fmt: skip


def arm(
    short: Sequence[float], long: Sequence[float], name: str = "fused", identity: str = "a", **changes: Any
) -> ArmEvidence:
    budgets = {200: budget(200, short, **changes), 1024: budget(1024, long, **changes)}
    return ArmEvidence(name, identity, budgets)


def session(*arms: ArmEvidence, hour: float = 0.0, **changes: object) -> SessionEvidence:
    start = datetime(2026, 2, 10, tzinfo=UTC) + timedelta(hours=hour)
    plain = SessionEvidence(
        session=f"20260210T{round(hour * 60):04d}-qwen3-0000",
        started=start,
        ended=start + timedelta(minutes=10),
        null_arm=True,
        arms=arms,
        planned=tuple(a.variant for a in arms),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def group(*sessions: SessionEvidence, incumbent: str | None = None, kind: str = "tiny") -> GroupEvidence:
    return GroupEvidence(KEY, kind, sessions, incumbent)  # type: ignore[arg-type]


def only(budgets: Mapping[int, BudgetEvidence], *tokens: int) -> dict[int, BudgetEvidence]:
    return {t: budgets[t] for t in tokens}
