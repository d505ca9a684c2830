"""The residual stream with a kernel at `residual_norm`: every add of a decoder layer with the norm that follows it.

The norm after a layer's last add is the next layer's first, so the host is the whole stack, which hands the sum and its
norm from layer to layer. What the modules are called, and how many kinds of mask there are, a family says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_attention_mask

from zmlx_bench.measured.contract import Steps
from zmlx_bench.measured.families.traced import Traced, run, trace, traced
from zmlx_bench.measured.host import Host, stock_call
from zmlx_bench.measured.inputs import all_bytes, hidden
from zmlx_bench.measured.steps import Block, Call, Calls, Step

SITE = "residual_norm"
TRACE = "ZMLX_TRACE"
"""A variant's environment may set it to 1: decode steps are traced between the caches."""


def _stock(norm: Any) -> Call:
    call = stock_call(norm)

    def add_norm(x: mx.array, r: mx.array) -> tuple[mx.array, mx.array]:
        h = x + r
        return h, call(h)

    return add_norm


_HIDDEN = "(B, L, D)"
RESIDUAL_NORM = Step(SITE, {"x": _HIDDEN, "r": _HIDDEN}, {"h": "= x + r", "normed": "= norm(h)"}, _stock, all_bytes())
NORM_BLOCK = Block("each RMSNorm after an add, the last included", (RESIDUAL_NORM,), {"x": hidden, "r": hidden})


@dataclass(frozen=True)
class Layer:
    """The modules of a decoder layer: h += mixer(norm(h)), then h += mlp(mlp_norm(h))."""

    norm: Any
    mixer: Any
    """Attention, or what stands in its place; called with (x, mask, cache)."""
    mlp_norm: Any
    mlp: Any
    mask: int = 0
    """Which of the stack's masks the mixer takes."""


Masks = Callable[[mx.array, Sequence[Any]], tuple[Any, ...]]
"""masks(h, caches) -> one mask for each kind of mixer; None where it needs none."""


def attention_mask(*, as_array: bool) -> Masks:
    """Return the masks of a stack that is attention throughout: one, of the first cache."""
    return lambda h, caches: (create_attention_mask(h, caches[0], return_array=as_array),)


@dataclass(frozen=True)
class Stack:
    """A model's stack of decoder layers; it embeds with `embed_tokens`."""

    module: Any
    layers: Sequence[Layer]
    last_norm: Any
    masks: Masks
    whole: tuple[Step, ...] = ()
    """What one kernel may cover between the layers' `attends`: see `contract.Steps`."""
    attends: Sequence[Callable[..., Any]] = ()

    def host(self) -> Host:
        """Return the host: its norms in the order of the adds, after the mixer, then the next layer's first."""
        after_layer = [*(layer.norm for layer in self.layers[1:]), self.last_norm]
        norms = [norm for layer, last in zip(self.layers, after_layer, strict=True) for norm in (layer.mlp_norm, last)]
        return Host(self.module, NORM_BLOCK, self._compose, {SITE: tuple(norms)}, self.whole)

    def _compose(self, _: Any, calls: Calls) -> Call:
        whole = tuple(step.site for step in self.whole if step.site)
        if whole in calls:
            return self._compose_whole(calls[whole])
        return self._compose_norms(calls[(SITE,)])

    def _compose_whole(self, steps: Any) -> Call:
        stock, embed, masks = stock_call(self.module), self.module.embed_tokens, self.masks
        to_trace = isinstance(steps, Steps) and os.environ.get(TRACE) == "1"
        decode = run(traced(steps) if to_trace else steps, self.attends)

        def call(inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
            if cache is None or cache[0] is None or hasattr(cache[0], "bits"):
                return stock(inputs, cache, input_embeddings)
            h = embed(inputs) if input_embeddings is None else input_embeddings
            if any(mask is not None for mask in masks(h, cache)):
                return stock(inputs, cache, input_embeddings)
            return decode(h, cache)

        return call

    def _compose_norms(self, add_norms: tuple[Callable[..., Any], ...]) -> Call:
        stack, masks = self.module, self.masks
        stock, embed, first_norm = stock_call(stack), stack.embed_tokens, self.layers[0].norm
        pairs = list(zip(self.layers, add_norms[::2], add_norms[1::2], strict=True))
        steps = [(layer.mixer, layer.mask, mid, layer.mlp, last) for layer, mid, last in pairs]
        to_trace = [(layer.mixer, mid, layer.mlp, last) for layer, mid, last in pairs]
        no_cache = [None] * len(steps)
        wanted = os.environ.get(TRACE) == "1" and not any(hasattr(call, "is_counted") for call in add_norms)
        once: list[Traced | None] = []

        def call(inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
            if getattr(stack, "pipeline_size", 1) > 1:
                return stock(inputs, cache)
            h = embed(inputs) if input_embeddings is None else input_embeddings
            if cache is None:
                cache = no_cache
            each = masks(h, cache)
            if wanted and cache[0] is not None and not hasattr(cache[0], "bits"):
                if not once:
                    once.append(trace(first_norm, to_trace))
                if once[0] is not None and all(mask is None for mask in each):
                    return once[0](h, cache)
            normed = first_norm(h)
            for (mixer, mask, after_mixer, mlp, after_layer), c in zip(steps, cache, strict=True):
                h, normed = after_mixer(x=h, r=mixer(normed, each[mask], c))
                h, normed = after_layer(x=h, r=mlp(normed))
            return normed

        return call
