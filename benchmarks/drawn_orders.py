"""The orders of simulated sessions: those that `zmlx_bench.protocol.order` draws, for many sessions at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zmlx_bench.protocol.order import placed_orders
from zmlx_bench.protocol.plan import ALGORITHM

SQUARES = np.array(sorted({tuple(placed_orders("012", 6, str(seed))) for seed in range(200)}), dtype=np.int_)
"""Each that six blocks of three arms may be, (squares, 6, 3); one is drawn anew for every six."""


def drawn_orders(
    rng: np.random.Generator, sessions: int, arms: int, blocks: int, algorithm: int = ALGORITHM
) -> npt.NDArray[np.int_]:
    """Return which arm stands in each place of each block, (sessions, blocks, arms), as a plan draws it: of the
    algorithm that draws now, or of 2."""
    if arms == 3 and algorithm > 2:
        drawn = SQUARES[rng.integers(len(SQUARES), size=(sessions, (blocks + 5) // 6))]
    else:
        first = rng.random((sessions, (blocks + 1) // 2, arms)).argsort(axis=-1)
        drawn = np.stack([first, first[..., ::-1]], axis=2)
    return drawn.reshape(sessions, -1, arms)[:, :blocks]
