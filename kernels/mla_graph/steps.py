"""Steps through the chain, and the caches that it writes in place."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from zmlx_bench.measured.api import Unavailable

from .._lib.graph.launches import Planned, machine_code, make_chain, program
from .plan import HEADERS, Plan
from .shape import Shape, shape_of

_submit: Any = mx.async_eval
SPARES = 4
"""Buffers for outputs; more than steps that are under way at once."""
SCORES = 3
"""Arrays of a score for each head and key: by latent, by place, and the weights."""


class Held(NamedTuple):
    """The arrays of a sequence's caches as the last step left them."""

    latents: list[mx.array]
    places: list[mx.array]
    buffers: Any
    end: int
    capacity: int


class ChainSteps:
    """call(h (1, 1, D), caches, ...) -> the last norm (1, 1, D), as `Steps` is called.

    A cache's arrays are written in place only where this object made them, for this very cache, and left off at its
    offset. Any other cache's rows are copied first: a trimmed one, a copy, one that stock wrote to.
    """

    def __init__(self, stack: Any, extension: ModuleType, *, ahead: bool) -> None:
        """Put the chain together; raise Unavailable where the compiler fails. `ahead`: each step has the next one
        captured."""
        self._stack, self._extension, self._shape, self._ahead = stack, extension, shape_of(stack), ahead
        links = Plan(stack, self._shape, extension).links()
        spares = [mx.zeros((1, 1, self._shape.d), self._shape.dtype) for _ in range(SPARES)]
        mx.eval(spares)
        try:
            text = program(HEADERS, [each for each in links if isinstance(each, Planned)])
            code = machine_code(extension, text)
        except RuntimeError as error:
            raise Unavailable(f"mla_graph: {error}") from error
        self.chain = make_chain(extension, code, links, spares)
        self._held: weakref.WeakKeyDictionary[Any, Held] = weakref.WeakKeyDictionary()

    def __call__(self, h: mx.array, caches: Sequence[Any], **_: Any) -> Any:
        """Do a step; append to every cache."""
        if not self._serves(h, caches):
            return self._stock(h, caches)
        held = self._held.get(caches[0])
        if held is None or not _is_held(held, caches):
            held = hold(self._shape, self._extension, caches)
        end = held.end + 1
        out = self._extension.step(h, self.chain, held.buffers, [held.end, end])
        if self._ahead and end < held.capacity:
            self.chain.prepare(held.buffers, [end, end + 1])
        for each in caches:
            each.offset = end
        self._held[caches[0]] = held._replace(end=end)
        return out

    def _stock(self, h: mx.array, caches: Sequence[Any]) -> Any:
        for layer, cache in zip(self._stack.pipeline_layers, caches, strict=True):
            h = layer(h, None, cache)
        return self._stack.norm(h)

    def _serves(self, h: mx.array, caches: Sequence[Any]) -> bool:
        s = self._shape
        if h.shape != (1, 1, s.d) or h.dtype != s.dtype or len(caches) != s.layers:
            return False
        start = caches[0].offset
        # MLX multiplies one key by another kernel.
        if start == 0 or not all(type(each) is KVCache and each.offset == start for each in caches):
            return False
        return all(
            kept.shape[:2] == (1, 1) and kept.shape[3] == width and kept.dtype == s.dtype
            for each in (caches[0], caches[-1])
            for kept, width in ((each.keys, s.rank), (each.values, s.rope))
        )


def hold(s: Shape, extension: ModuleType, caches: Sequence[Any]) -> Held:
    """Give every cache arrays of its own with room for more rows."""
    end = caches[0].offset
    capacity = (end // KVCache.step + 1) * KVCache.step

    def with_room(rows: mx.array) -> mx.array:
        room = mx.zeros((1, 1, capacity - end, rows.shape[3]), s.dtype)
        return mx.concatenate([rows[..., :end, :], room], axis=2)

    latents = [with_room(each.keys) for each in caches]
    places = [with_room(each.values) for each in caches]
    scores = [mx.zeros((s.heads, capacity), s.dtype) for _ in range(SCORES)]
    _submit(latents, places, scores)
    for each, own_latents, own_places in zip(caches, latents, places, strict=True):
        each.keys, each.values = own_latents, own_places
    arrays = [one for both in zip(latents, places, strict=True) for one in both]
    return Held(latents, places, extension.Buffers([*arrays, *scores]), end, capacity)


def _is_held(held: Held, caches: Sequence[Any]) -> bool:
    if held.end == held.capacity:
        return False
    end = held.end
    return all(
        each.keys is latents and each.values is places and each.offset == end
        for each, latents, places in zip(caches, held.latents, held.places, strict=True)
    )
