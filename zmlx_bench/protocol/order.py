"""The order of arms in each block: what changes evenly, and what comes at regular times, must not fall on one arm.

Each is a prefix of the same with more blocks, so that a session that stops early ran the plan of one that did not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def block_orders(arms: Sequence[str], blocks: int, seed: str) -> list[tuple[str, ...]]:
    """Return the order of `arms` in each of `blocks` blocks: drawn anew for each pair, reversed in its second (ABBA).

    Over a pair every arm has the same mean position, so a drift that is linear in time cancels in the pair. The same
    seed gives the same orders.
    """
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


def placed_orders(arms: Sequence[str], blocks: int, seed: str) -> list[tuple[str, ...]]:
    """Return the order of `arms` in each of `blocks` blocks: three in every place equally often, others as
    `block_orders` draws them. The same seed gives the same orders.

    Of three, one stands in the middle of an order and of its reverse, where whatever slows one process in three may
    meet it twice. They take turns instead: in a Latin square, abc bca cab, and then in its orders reversed, cba acb
    bac. Six blocks hold every order once and each arm after each other one equally often (Williams 1949); a drift that
    is linear in time cancels in each three, and what slows every second process meets every arm equally often in six.
    The square that turns the other way, abc cab bca, would let one process in four meet one arm in all three blocks.
    """
    if len(arms) != 3:
        return block_orders(arms, blocks, seed)
    generator = random.Random(seed)
    orders: list[tuple[str, ...]] = []
    while len(orders) < blocks:
        drawn = list(arms)
        generator.shuffle(drawn)
        square = [(*drawn[first:], *drawn[:first]) for first in range(3)]
        orders += [*square, *(order[::-1] for order in square)]
    return orders[:blocks]
