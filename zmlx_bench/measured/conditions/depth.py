"""Memory as a cache grows: at each power of two of its length."""

from __future__ import annotations

import mlx.core as mx

from zmlx_bench.measured.messages import Depth


class Depths:
    """Takes memory at each power of two that a length reaches, and at its last one."""

    def __init__(self, length: int = 0) -> None:
        """`length` is that from which on it grows."""
        self._length = length
        self._next = next_power(length)
        self._found: list[Depth] = []

    def grown(self, length: int) -> None:
        """Note that the cache holds `length` tokens now."""
        self._length = length
        if length >= self._next:
            self._take()
            self._next = next_power(length)

    def end(self) -> tuple[Depth, ...]:
        """Return what was found; the last length is among it."""
        if self._length and (not self._found or self._found[-1].length != self._length):
            self._take()
        return tuple(self._found)

    def _take(self) -> None:
        active, cache, peak = mx.get_active_memory(), mx.get_cache_memory(), mx.get_peak_memory()
        self._found.append(Depth(self._length, active / 1e9, cache / 1e9, peak / 1e9))


def next_power(length: int) -> int:
    """Return the smallest power of two above a length."""
    return 1 << length.bit_length()
