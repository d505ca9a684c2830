"""The level of each look: prints the table in zmlx_bench/analysis/decision/levels.py.

    python benchmarks/calibrate_looks.py [--quick]

Draws normal samples, estimates each after every look as a session does, and finds for K looks the p-value below which
the smallest of the K falls with probability 50%, 20%, ... 0.02%. Seeded; some minutes on one core.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from zmlx_bench.analysis.decision.levels import OVERALL
from zmlx_bench.analysis.decision.statistics import estimate, p_above
from zmlx_bench.protocol.looks import looks_of

SEED = 20261129
FEWEST, MOST = 3, 40
SAMPLES, PIECE = 500_000, 5_000


def smallest(looks: tuple[int, ...], samples: int, seed: int = SEED) -> npt.NDArray[np.float64]:
    """Return the smallest one-sided p-value up to each look, (2 x samples, looks): both sides, by symmetry."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(max(1, samples // PIECE)):
        drawn = rng.standard_normal((PIECE, looks[-1]))
        p = np.stack([p_above(estimate(drawn[:, :blocks], "bisquare"), 0.0) for blocks in looks], axis=-1)
        pieces += [np.minimum.accumulate(side, axis=-1).astype(np.float32) for side in (p, 1 - p)]
    return np.concatenate(pieces).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the samples")
    options = parser.parse_args()
    found = smallest(looks_of(FEWEST, MOST), SAMPLES // (50 if options.quick else 1))
    for count in range(2, found.shape[1] + 1):
        # Never beyond what Bonferroni's bound gives, which holds whatever the noise.
        levels = np.maximum(np.quantile(found[:, count - 1], OVERALL), np.array(OVERALL) / count)
        print(f"    ({', '.join(f'{level:.4g}' for level in levels)}),  # {count} looks")


if __name__ == "__main__":
    main()
