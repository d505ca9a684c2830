"""Ratios of a session that is still running, from the processes that have ended: for display, nothing is decided."""

from __future__ import annotations

from zmlx_bench.analysis.throughput import paired_speeds
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.schema.plan import Plan


class Running:
    """Decode speeds by budget, arm and block."""

    def __init__(self, plan: Plan) -> None:
        self._estimator = plan.estimator
        self._stock = [arm.name for arm in plan.arms if arm.role in ("baseline", "null")]
        self._speeds: dict[tuple[int, str], dict[int, float]] = {}

    def add(self, tokens: int, arm: str, block: int, tok_s: float) -> None:
        """Take the decode speed of a timed process."""
        self._speeds.setdefault((tokens, arm), {})[block] = tok_s

    def ratio(self, tokens: int, arm: str) -> Ratio | None:
        """Return the arm's paired ratio to the stock arms, the null arm's to the baseline; None without a pair."""
        references = [name for name in self._stock if name != arm]
        found = [self._speeds.get((tokens, name), {}) for name in references]
        return paired_speeds(self._speeds.get((tokens, arm), {}), found, self._estimator)
