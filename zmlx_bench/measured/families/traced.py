"""Decode steps traced by mx.compile: all that lies between the caches of two layers is put together once.

In every token of a decode the same launches are made with the same weights; only the cache grows. Python puts a traced
step together in one call instead of one for each launch. mx.compile also joins neighbouring elementwise operations,
which changes their roundings: a variant that keeps such operations has to show that its tokens stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.contract import Steps
from zmlx_bench.measured.host import Halves, halves_of

Layer = tuple[Any, Callable[..., Any], Callable[..., Any], Callable[..., Any]]
"""Attention, add and norm after it, MLP, add and norm after that."""
Traced = Callable[[mx.array, Sequence[Any]], Any]


def trace(first_norm: Callable[..., Any], layers: Sequence[Layer]) -> Traced | None:
    """Return traced(h (B, 1, D), caches) -> the last norm's output, or None where an attention is not in halves."""
    halves = [halves_of(attention) for attention, *_ in layers]
    known = [each for each in halves if each is not None]
    if len(known) != len(layers):
        return None
    between = [
        _between(here, layer, there) for here, layer, there in zip(known[:-1], layers[:-1], known[1:], strict=True)
    ]
    steps = Steps(_head(first_norm, known[0]), between, _tail(known[-1], layers[-1]))
    return run(traced(steps), [each.attend for each in known])


def traced(steps: Steps) -> Steps:
    """Return the same steps, each put together once."""
    return Steps(mx.compile(steps.head), [mx.compile(each) for each in steps.between], mx.compile(steps.tail))


def run(steps: Callable[..., Any], attends: Sequence[Callable[..., Any]]) -> Traced:
    """Return run(h (B, 1, D), caches) -> the last norm's output, of `Steps` or what stands for them."""

    def call(h: mx.array, caches: Sequence[Any]) -> Any:
        offset = caches[0].offset
        if not isinstance(offset, mx.array):
            offset = mx.array([offset], mx.int32)
        return steps(h=h, offset=offset, attends=attends, caches=caches)

    return call


def _head(first_norm: Callable[..., Any], there: Halves) -> Callable[..., Any]:
    return lambda h, offset: there.before(x=first_norm(h), offset=offset)


def _between(here: Halves, layer: Layer, there: Halves) -> Callable[..., Any]:
    _, after_attention, mlp, after_layer = layer

    def between(out: mx.array, h: mx.array, offset: mx.array) -> tuple[mx.array, ...]:
        h, normed = after_attention(x=h, r=here.after(out))
        h, normed = after_layer(x=h, r=mlp(normed))
        return (h, *there.before(x=normed, offset=offset))

    return between


def _tail(here: Halves, layer: Layer) -> Callable[..., Any]:
    _, after_attention, mlp, after_layer = layer

    def tail(out: mx.array, h: mx.array) -> Any:
        h, normed = after_attention(x=h, r=here.after(out))
        return after_layer(x=h, r=mlp(normed))[1]

    return tail
