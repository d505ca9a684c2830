"""Student's t for the bisquare estimate: prints the table in zmlx_bench/analysis/decision/calibrated.py.

    python benchmarks/calibrate_estimate.py [--quick]

For each number of blocks it draws normal samples, and fits the degrees of freedom and the factor of the standard error
with which estimate / standard error has Student's tail from 10% to 0.05%. Seeded; some minutes on one core.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import optimize, special

from zmlx_bench.analysis.decision import robust

SEED = 20261128
LEVELS = np.array([0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005])
IMPORTANCE = np.array([1.0, 1.0, 3.0, 1.0, 2.0, 1.0, 1.0, 0.5])
"""The policy's levels count most: 2%, and a half of a percent for the bias of the null arm."""
BLOCKS = (*range(robust.FEWEST, 25), 32, 40, 60)
PIECES = 20


def quantiles(blocks: int, samples: int) -> np.ndarray:
    """Return the upper quantiles at `LEVELS` of estimate / standard error before the factor, by symmetry doubled."""
    rng = np.random.default_rng([SEED, blocks])
    ratios = []
    for _ in range(PIECES):
        of = robust.bisquare(rng.standard_normal((samples // PIECES, blocks)), calibrated=False)
        ratios.append(of.value / of.se)
    both = np.concatenate([*ratios, *(-ratio for ratio in ratios)])
    return np.asarray(np.quantile(both, 1 - LEVELS))


def fitted(found: np.ndarray, blocks: int) -> tuple[float, float]:
    """Return (degrees of freedom, factor)."""

    def misfit(parameters: np.ndarray) -> float:
        freedom, factor = parameters
        tail = special.stdtr(freedom, -found / factor)
        return float((IMPORTANCE * np.log(tail / LEVELS) ** 2).sum())

    best = optimize.minimize(misfit, [blocks - 2.0, 0.95], method="Nelder-Mead").x
    return float(best[0]), float(best[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the samples")
    options = parser.parse_args()
    for blocks in BLOCKS:
        samples = (1_000_000 if blocks <= 16 else 400_000) // (50 if options.quick else 1)
        found = quantiles(blocks, samples)
        freedom, factor = fitted(found, blocks)
        true = LEVELS / special.stdtr(freedom, -found / factor)
        print(
            f"    {blocks}: ({freedom:.2f}, {factor:.4f}),  # {samples} samples; true over nominal {np.round(true, 2)}"
        )


if __name__ == "__main__":
    main()
