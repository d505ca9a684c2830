"""After how many blocks a session that stops when it is decided is looked at."""

from __future__ import annotations

AT_MOST = 40
"""Blocks that a session which stops when it is decided runs at most, unless told otherwise."""

AT_MOST_OF_STEP = 120
"""The same of a step of a bisection by speed: a wrong turn would cost all that follows, so it may take longer."""


def looks_of(fewest: int, most: int) -> tuple[int, ...]:
    """Return the looks from `fewest` to `most` blocks, the last of them `most`.

    Each block at first, then each pair, then steps that double with the blocks: a look costs level, and one more block
    tells less the more there are.
    """
    looks = []
    blocks = fewest
    while blocks < most:
        looks.append(blocks)
        step = 1
        while blocks >= 6 * step:
            step *= 2
        blocks += step
    return (*looks, most)
