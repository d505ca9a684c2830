"""The text that a context is filled with: sentences in an order drawn anew each time round, cut at its length.

A shorter context is the beginning of a longer one. Pure: a check draws it again from what a session recorded.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count


def context_ids(pieces: Sequence[Sequence[int]], tokens: int) -> tuple[int, ...]:
    """Return exactly `tokens` token ids, drawn from sentences as token ids, of which there is at least one."""
    ids: list[int] = []
    for round_ in count():
        order = list(pieces)
        random.Random(f"context/{round_}").shuffle(order)
        for piece in order:
            ids += piece
            if len(ids) >= tokens:
                return tuple(ids[:tokens])
    raise AssertionError("unreachable")
