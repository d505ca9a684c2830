"""Which prompts are decoded at once: each prompt of a session leads a batch, and those after it in the set follow."""

from __future__ import annotations

from collections.abc import Sequence


def members(prompts: Sequence[str], leader: str, batch: int) -> tuple[str, ...]:
    """Return the prompts of the batch that `leader` leads, itself first; a batch larger than the set goes round."""
    first = list(prompts).index(leader)
    return tuple(prompts[(first + index) % len(prompts)] for index in range(batch))
