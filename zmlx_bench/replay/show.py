"""A replay for people and for programs: what differs, both figures, and whether they agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from zmlx_bench.replay.verdict import ReplayVerdict
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import row_of


def lines(original: Capsule, replay: Capsule, verdict: ReplayVerdict) -> Iterator[str]:
    """Yield the lines of `zmlx capsule replay`."""
    for difference in verdict.differences:
        yield f"differs: {difference}"
    for name, capsule in (("capsule", original), ("replay", replay)):
        yield f"{name}: {_figures(capsule)} ({row_of(capsule).capsule})"
    yield f"{verdict.answer}: {verdict.why}"


def summary(original: Capsule, replay: Capsule, verdict: ReplayVerdict, instead: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON object of `zmlx capsule replay --json`."""
    return {
        **asdict(verdict),
        "instead": list(instead),
        "capsule": row_of(original).model_dump(mode="json"),
        "replay": row_of(replay).model_dump(mode="json"),
    }


def _figures(capsule: Capsule) -> str:
    figures = capsule.figures
    speed = "no speed-up measured"
    if figures.speedup is not None:
        speed = f"{figures.speedup.value:.4f}x"
        if figures.speedup.low is not None and figures.speedup.high is not None:
            speed += f" [{figures.speedup.low:.4f}, {figures.speedup.high:.4f}] (90%, unadjusted)"
    tokens = "tokens not compared" if figures.fidelity is None else f"tokens {figures.fidelity.verdict}"
    return f"{speed}, {tokens}, status {capsule.status}"
