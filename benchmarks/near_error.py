"""How often a variant that is exactly at the margin passes for near: prints the table of docs/design/near.md.

    python benchmarks/near_error.py [--samples N]

One value a prompt is drawn, whose mean is the margin; the rule errs where its upper bound is below it, and 5% is what
it promises. KL is drawn in units of its margin; agreement from 100 positions of each prompt. Beside the rule stand
Student's t and the percentile bootstrap. Seeded; a minute on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from zmlx_bench.analysis.near import LEVEL, resampled, upper

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
SEED = 20261129
PROMPTS = (20, 30)
AT_ONCE = 100
TOP1_AT = (0.01, 0.03)


def _lognormal(sd: float) -> Draw:
    return lambda rng, shape: rng.lognormal(-sd * sd / 2, sd, shape)


def _some_hurt(share: float) -> Draw:
    return lambda rng, shape: (rng.random(shape) < share) / share + rng.normal(0, 0.3, shape)


def _disagreements(share: float) -> Draw:
    """The variant disagrees at 1% of the positions more than stock, independently."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        return (rng.binomial(100, share + 0.01, shape) - rng.binomial(100, share, shape)).astype(np.float64)

    return draw


def _clustered(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Disagreements that come together in few prompts: a Beta share of mean 1% for each, stock always agrees."""
    return rng.binomial(100, rng.beta(0.5, 49.5, shape)).astype(np.float64)


SHAPES: dict[str, Draw] = {
    "KL, normal": lambda rng, shape: rng.normal(1, 1, shape),
    "KL, normal, heavy tails (t, 3 degrees)": lambda rng, shape: 1 + rng.standard_t(3, shape),
    "KL, lognormal, sd 0.5": _lognormal(0.5),
    "KL, lognormal, sd 1": _lognormal(1.0),
    "KL, lognormal, sd 1.5": _lognormal(1.5),
    "KL, all of it in one prompt of 5": _some_hurt(0.2),
    "KL, all of it in one prompt of 10": _some_hurt(0.1),
    **{f"agreement, stock at {1 - share:.0%}": _disagreements(share) for share in TOP1_AT},
    "agreement, lost in few prompts": _clustered,
}


def student(sample: Array) -> Array:
    """Return Student's upper bound."""
    prompts = sample.shape[-1]
    error = sample.std(axis=-1, ddof=1) / np.sqrt(prompts)
    return np.asarray(sample.mean(axis=-1) + special.stdtrit(prompts - 1, LEVEL) * error)


def percentile(sample: Array) -> Array:
    """Return the upper bound of the percentile bootstrap, over the rule's own resamples."""
    prompts = sample.shape[-1]
    return np.asarray(np.quantile(sample @ resampled(prompts).T / prompts, LEVEL, axis=-1))


BOUNDS: dict[str, Callable[[Array], Array]] = {"the rule": upper, "Student": student, "percentile": percentile}


def errors(draw: Draw, prompts: int, samples: int) -> dict[str, float]:
    """Return the share of samples at the margin that pass, by bound."""
    rng = np.random.default_rng([SEED, prompts])
    drawn = draw(rng, (samples, prompts))
    parts = np.array_split(drawn, max(1, samples // AT_ONCE))
    return {name: float(np.mean(np.concatenate([bound(part) for part in parts]) < 1)) for name, bound in BOUNDS.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2_000, metavar="N", help="samples of each cell")
    samples = parser.parse_args().samples
    print("| one value a prompt | prompts | " + " | ".join(BOUNDS) + " |")
    print("| --- | ---: | " + " | ".join("---:" for _ in BOUNDS) + " |")
    for name, draw in SHAPES.items():
        for prompts in PROMPTS:
            found = errors(draw, prompts, samples)
            print(f"| {name} | {prompts} | " + " | ".join(f"{share:.1%}" for share in found.values()) + " |")


if __name__ == "__main__":
    main()
