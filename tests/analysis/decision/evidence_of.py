"""Evidence from log ratios, for the tests of the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from zmlx_bench.analysis.decision import (
    ArmEvidence,
    BudgetEvidence,
    FidelityEvidence,
    GroupEvidence,
    GroupKey,
    SessionEvidence,
)
from zmlx_bench.files import read_toml
from zmlx_bench.schema.policy import Policy

POLICY = read_toml(Path(__file__).parents[3] / "variants" / "policy.toml", Policy)
SAME = FidelityEvidence(True, 600, 600, 3, True, True)
DIFFERENT = FidelityEvidence(False, 412, 600, 3, True, True, ("story", 12))
QUIET = (0.002, -0.002, 0.001, -0.001, 0.0015, -0.0015)
KEY = GroupKey("qwen3", "tiny-0123456789abcdef", "cpu", "a processor", "0.32.4")


def around(mean: float, blocks: int = 6, spread: float = 0.002) -> tuple[float, ...]:
    """Blocks with exactly this mean."""
    return tuple(
        mean + spread * (1 if i % 2 else -1) * (0 if i == blocks - 1 and blocks % 2 else 1) for i in range(blocks)
    )


def budget(tokens: int, gain: Sequence[float], **changes: object) -> BudgetEvidence:
    plain = BudgetEvidence(
        tokens=tokens,
        capsule=f"capsules/s/t{tokens}.json",
        status="ok",
        gain=tuple(gain),
        null=QUIET[: len(gain)],
        over_incumbent=None,
        fidelity=SAME,
        prefill=0.0,
        peak_mem_gb=1.0,
        baseline_peak_mem_gb=1.0,
        peak_rss_gb=2.0,
        baseline_peak_rss_gb=2.0,
        clock_disagreement=0.001,
        throttled=False,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def arm(
    short: Sequence[float], long: Sequence[float], name: str = "fused", identity: str = "a", **changes: object
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
