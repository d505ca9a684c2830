"""Times calls as decode makes them: many in one evaluation, each waiting for the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import mlx.core as mx
import numpy as np

from zmlx_bench.bench.figures import calls_per_sample
from zmlx_bench.measured.inputs import Values, ready

Call = Callable[[int, Values], tuple[Any, ...]]
"""call(copy, inputs) -> outputs."""
MOST_CALLS = 512
_COPIES = 6


class Chain:
    """Rotates over `inputs`; `first` is the input by which a call waits for the one before."""

    def __init__(self, inputs: Sequence[Values], first: str) -> None:
        self._inputs = inputs
        self._first = first
        self._always = mx.array(True)
        self._next = count()
        mx.eval(self._always)

    def link(self, value: mx.array, waits_for: mx.array) -> mx.array:
        """Return `value` unchanged, not to be had before `waits_for` is computed: two views and a selection.

        mx.depends would be cheaper, but a GPU's scheduler sees buffers and not that edge.
        """
        if waits_for.dtype != value.dtype:
            waits_for = waits_for.astype(value.dtype)
        seen = mx.as_strided(waits_for, value.shape, [0] * value.ndim)
        return mx.where(self._always, value, seen)

    def sample(self, call: Call, calls: int) -> float:
        """Return microseconds a call over one evaluation of `calls` calls."""
        made: list[Any] = []
        prepared = [ready(inputs) for inputs in self._inputs]
        last: mx.array | None = None
        start = time.perf_counter()
        for _ in range(calls):
            copy = next(self._next) % len(prepared)
            inputs = prepared[copy]
            if last is not None:
                inputs = {**inputs, self._first: self.link(inputs[self._first], last)}
            outputs = call(copy, inputs)
            last = outputs[-1]
            made.extend(outputs)
        mx.eval(made)
        mx.synchronize()
        return (time.perf_counter() - start) * 1e6 / calls

    def calls_for(self, call: Call, wanted_s: float) -> int:
        """Return how many calls make a sample of about `wanted_s` seconds; runs a few, which also compiles."""
        self.sample(call, 2)
        return calls_per_sample(self.sample(call, 2), wanted_s, 2, MOST_CALLS)

    def sample_link(self, calls: int) -> float:
        """Return microseconds a link over one evaluation of a chain that is nothing but links."""
        value = self._inputs[0][self._first]
        start = time.perf_counter()
        last = value
        for _ in range(calls):
            last = self.link(value, last)
        mx.eval(last)
        mx.synchronize()
        return (time.perf_counter() - start) * 1e6 / calls


def copy_gb_s(on_gpu: bool) -> float:
    """Return the bandwidth of a large copy, bytes read and written, GB/s: the best of some samples.

    On a GPU one pass of MLX over the array (a negation: a plain copy would only make a second view); on a CPU the
    system's own memory copy, which MLX's passes do not come near.
    """
    move = _pass_of_mlx() if on_gpu else _memory_copy()
    best = 0.0
    for _ in range(_COPIES):
        start = time.perf_counter()
        moved = move()
        best = max(best, moved / (time.perf_counter() - start) / 1e9)
    mx.clear_cache()
    return best


def _pass_of_mlx() -> Callable[[], int]:
    array = mx.ones((1 << 29,), mx.float32)
    mx.eval(array)

    def move() -> int:
        mx.eval(-array)
        mx.synchronize()
        return 2 * int(array.nbytes)

    return move


def _memory_copy() -> Callable[[], int]:
    array = np.ones(1 << 25, np.float32)
    target = np.empty_like(array)

    def move() -> int:
        np.copyto(target, array)
        return 2 * array.nbytes

    return move
