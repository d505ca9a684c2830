"""An M-estimate of location that outliers do not move: Tukey's bisquare with Shamos's scale.

A process that is slow for a reason of its own (a daemon, a page fault, a clock that dropped) moves a mean by its whole
size and widens the t interval until nothing is found. Here each block has the weight (1 - u^2)^2 with
u = (x - location) / (k * scale), and none beyond |u| = 1 (Beaton and Tukey 1974). The scale is the median distance
between two blocks (Shamos 1976, Bickel and Lehmann 1979), which holds while 29% of the blocks are outliers.

Small samples cannot tell an outlier from scatter, so the cut-off widens: k = 4.685 * (1 + (5 / n)^2), where 4.685 is
the usual 95% efficiency for normal noise; below six blocks the mean stands. Both figures were chosen by
`benchmarks/estimators.py`, and so was the table that makes the ratio of estimate to standard error Student's t.

Everything works on the last axis and over any leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zmlx_bench.analysis.decision.calibrated import FEWEST, freedom_and_factor

Array = npt.NDArray[np.float64]

_EFFICIENT = 4.685
_WIDER = 5.0
_TO_SD = 1.0483
"""Makes the median distance of a normal sample its standard deviation."""
_STEPS = 10
"""From the median; a fixed number, so that everybody gets the same digits."""


@dataclass(frozen=True)
class Location:
    """Where samples lie; arrays over their leading axes."""

    value: Array
    se: Array
    """Standard error, so scaled that (value - truth) / se is Student's t with `freedom` for normal noise."""
    freedom: float
    scale: Array
    """Shamos's; 0 where more than half the distances between blocks vanish, and then nothing else here counts."""
    weight: Array
    """Of each block, 0 to 1, in the order given."""


def cut_off(blocks: int) -> float:
    """Return k: how many scales from the location a block loses its last weight."""
    return _EFFICIENT * (1 + (_WIDER / blocks) ** 2)


def shamos(values: Array) -> Array:
    """Return the median distance between two of the last axis's values, as a standard deviation."""
    one, other = np.triu_indices(values.shape[-1], 1)
    return np.asarray(_TO_SD * np.median(np.abs(values[..., one] - values[..., other]), axis=-1))


def bisquare(values: Array, *, calibrated: bool = True) -> Location:
    """Return the location of `values` (..., blocks), at least `FEWEST` blocks; ValueError below.

    Not `calibrated`, the standard error is the asymptotic one, which the table was made from.
    """
    blocks = values.shape[-1]
    if blocks < FEWEST:
        raise ValueError(f"{blocks} blocks cannot tell an outlier from scatter; {FEWEST} are needed")
    # Sums do not depend on the order of the blocks when they are taken in one order.
    ordered = np.sort(values)
    scale = shamos(ordered)
    reach = cut_off(blocks) * np.where(scale > 0, scale, 1.0)[..., None]
    at = np.median(ordered, axis=-1, keepdims=True)
    for _ in range(_STEPS):
        weight = _weight((ordered - at) / reach)
        at = (weight * ordered).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    u = (ordered - at) / reach
    weight = _weight(u)
    slope = np.where(np.abs(u) < 1, (1 - u**2) * (1 - 5 * u**2), 0.0).sum(axis=-1)
    freedom, factor = freedom_and_factor(blocks) if calibrated else (float(blocks - 1), 1.0)
    spread = np.sqrt(((weight * u * reach) ** 2).sum(axis=-1) * blocks / (blocks - 1))
    # The slope is about the number of blocks that count; near none of them says that nothing is known.
    se = factor * spread / np.maximum(slope, 1.0)
    return Location(at[..., 0], se, freedom, scale, _weight((values - at) / reach))


def _weight(u: Array) -> Array:
    return np.where(np.abs(u) < 1, (1 - u**2) ** 2, 0.0)
