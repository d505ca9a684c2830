"""The order of arms: drawn anew for each pair of blocks, reversed in the second (ABBA).

Over a pair every arm has the same mean position, so a drift that is linear in time cancels in the pair.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def block_orders(arms: Sequence[str], blocks: int, seed: str) -> list[tuple[str, ...]]:
    """Return the order of `arms` in each of `blocks` blocks; the same seed gives the same orders."""
    generator = random.Random(seed)
    orders: list[tuple[str, ...]] = []
    for block in range(blocks):
        if block % 2 == 0:
            drawn = list(arms)
            generator.shuffle(drawn)
            orders.append(tuple(drawn))
        else:
            orders.append(tuple(reversed(orders[-1])))
    return orders
