"""mlx-lm's caches as conditions ask for them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_lm.models.cache import CacheList, make_prompt_cache

from zmlx_bench.measured.conditions.asked import Asked
from zmlx_bench.measured.messages import CacheKind

GROUP_SIZES = (64, 32)
"""Values that share a scale in a quantised cache: mlx-lm's default, then what heads of half its size need."""


@dataclass(frozen=True)
class Caching:
    """How caches are made, and what mlx-lm's loop is told of them."""

    asked: Asked
    group_size: int = GROUP_SIZES[0]

    def make(self, model: Any) -> list[Any]:
        """Return an empty cache of one sequence, an element a layer."""
        made: list[Any] = make_prompt_cache(model, self.asked.max_kv_size)
        return made

    @property
    def options(self) -> dict[str, Any]:
        """The options of `generate_step`: quantised from the first token on, where at all."""
        if self.asked.kv_bits is None:
            return {}
        return {"kv_bits": self.asked.kv_bits, "kv_group_size": self.group_size, "quantized_kv_start": 0}


class Before:
    """What stands in the cache before every prompt; each answer takes it anew, the last one without a copy."""

    def __init__(self, cache: list[Any], answers: int | None) -> None:
        """`answers` is how many will take it; None: nobody knows, and each takes a copy."""
        self._cache: list[Any] | None = cache
        self._left = answers

    def take(self) -> list[Any]:
        """Return a cache to go on with; RuntimeError where all answers have theirs."""
        if self._cache is None:
            raise RuntimeError("the context's cache was taken more often than there are prompts")
        if self._left is not None:
            self._left -= 1
        if self._left != 0:
            return copy.deepcopy(self._cache)
        taken, self._cache = self._cache, None
        return taken


def kinds(caches: Sequence[Any]) -> tuple[CacheKind, ...]:
    """Return which classes the caches are of, and how many of each."""
    found = Counter(
        (type(c).__name__, getattr(c, "bits", None), getattr(c, "group_size", None), getattr(c, "max_size", None))
        for c in _each(caches)
    )
    return tuple(
        CacheKind(name=name, layers=count, bits=bits, group_size=group, max_size=most)
        for (name, bits, group, most), count in found.items()
    )


def _each(caches: Sequence[Any]) -> Iterator[Any]:
    for cache in caches:
        if isinstance(cache, CacheList):
            yield from _each(cache.caches)
        else:
            yield cache
