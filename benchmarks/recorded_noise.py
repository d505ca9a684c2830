"""How many blocks HOLD takes at the noise that landed sessions recorded.

    python benchmarks/recorded_noise.py [CAPSULES]

The noise of a process is what is left of its ln(tok/s) once the mean of its block and that of its arm are taken away.
For an equal variant, HOLD needs an interval within +-1% at every budget; the last columns are blocks of a fixed plan
that bring one budget there in half and in nine of ten sessions, and how often the last of 40 blocks with looks does.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from scipy import special

from zmlx_bench.analysis.decision.looks import level_of_each
from zmlx_bench.analysis.throughput import by_block, decode_tok_s
from zmlx_bench.files import read_json, read_toml
from zmlx_bench.protocol.looks import looks_of
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.policy import Policy

ROOT = Path(__file__).resolve().parents[1]
POLICY = read_toml(ROOT / "variants" / "policy.toml", Policy)
MOST, BOUND = 40, 20_000
Speeds = dict[str, dict[int, float]]


def speeds(folder: Path) -> dict[tuple[str, int], Speeds]:
    """Return the speed of each arm in each block, by (label and device, budget)."""
    found: dict[tuple[str, int], Speeds] = {}
    for path in sorted(folder.glob("*_t*.json")):
        capsule = read_json(path, Capsule)
        place = found.setdefault((f"{capsule.checkpoint.label}, {capsule.machine.device}", capsule.tokens), {})
        for _, runs in capsule.runs.by_role:
            if runs:
                place[runs[0].arm] = by_block(runs, decode_tok_s)
    return found


def process_sd(arms: Speeds) -> float | None:
    """Return the noise of a process; None with fewer than two arms or blocks that all of them have."""
    blocks = sorted(set.intersection(*(set(of) for of in arms.values())))
    if len(arms) < 2 or len(blocks) < 2:
        return None
    logs = np.log([[of[block] for block in blocks] for of in arms.values()])
    left = logs - logs.mean(axis=0) - logs.mean(axis=1, keepdims=True) + logs.mean()
    return float(np.sqrt(np.square(left).sum() / ((len(arms) - 1) * (len(blocks) - 1))))


def held(blocks: int, sd: float, level: float) -> float:
    """Return how often two one-sided tests at `level` find an equal variant within the margin, pair sd `sd`."""
    se = sd / math.sqrt(blocks)
    room = math.log1p(POLICY.min_gain) / se - special.stdtrit(blocks - 1, 1 - level)
    return max(0.0, float(2 * special.ndtr(room) - 1))


def needed(sd: float, share: float) -> int | None:
    """Return the fewest blocks of a fixed plan that hold an equal variant in `share` of sessions."""
    level = (1 - POLICY.interval_level) / 2
    low, high = 2, BOUND
    if held(high, sd, level) < share:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if held(middle, sd, level) >= share else (middle + 1, high)
    return low


def main() -> None:
    capsules = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "capsules"
    each = level_of_each((1 - POLICY.interval_level) / 2, len(looks_of(max(POLICY.min_blocks.values()), MOST)))
    print(f"| session | budget | process sd | blocks for half | for nine of ten | HOLD within {MOST} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for folder in sorted(path for path in capsules.iterdir() if path.is_dir()):
        for (label, tokens), arms in speeds(folder).items():
            noise = process_sd(arms)
            if noise is None or noise == 0:
                continue
            pair = noise * math.sqrt(1.5)
            shown = [str(found) if (found := needed(pair, share)) else f"over {BOUND}" for share in (0.5, 0.9)]
            within = f"{100 * held(MOST, pair, each):.0f}%"
            print(f"| {folder.name} ({label}) | {tokens} | {noise:.1%} | {' | '.join(shown)} | {within} |")


if __name__ == "__main__":
    main()
