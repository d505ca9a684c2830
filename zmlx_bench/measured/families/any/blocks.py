"""Blocks of routed experts of a form that is recognised: router, experts, weighted sum, and what is added to it.

A form is supposed from a block's parts, and taken where its steps give the bits of every call that the block had while
the model answered random tokens; x alone decides what a block gives. A block of no such form keeps the sites of its
SwitchGLU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import SwitchGLU

from zmlx_bench.measured.api import SOFTMAX_ROUTER, Block, Call, Calls, Host, Step, all_bytes, moe_block, router

from .experts import Routed
from .trial import digest, recorded, stock_line, structure

GATES = ("gate", "router")
TOP_K = ("top_k", "num_experts_per_tok", "k")
SHARED = ("shared_experts", "shared_expert", "shared_mlp")
SHARED_GATE = "shared_expert_gate"


def _given(block: Any) -> Call:
    gate = block.gate
    return lambda x: gate(x)


def _chosen_first(block: Any, weigh: Callable[[mx.array], mx.array], after: Callable[[mx.array], mx.array]) -> Call:
    gate, k = block.gate, block.top_k

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        gates = weigh(gate(x))
        inds = mx.argpartition(-gates, kth=k - 1, axis=-1)[..., :k]
        return inds, after(mx.take_along_axis(gates, inds, axis=-1))

    return call


def _softmax(values: mx.array) -> mx.array:
    return mx.softmax(values, axis=-1, precise=True)


def _descending(block: Any) -> Call:
    def after(scores: mx.array) -> mx.array:
        return scores / scores.sum(axis=-1, keepdims=True) if block.norm_topk_prob else scores

    return _chosen_first(block, _softmax, after)


def _of_chosen(block: Any) -> Call:
    return _chosen_first(block, lambda gates: gates, _softmax)


ROUTERS = (
    SOFTMAX_ROUTER,
    router("softmax_descending", _descending),
    router("softmax_of_chosen", _of_chosen),
)
"""Of a gate that is a projection. Kernels know the first; the others order or weigh the chosen in another way."""
GIVEN = router("given", _given)
"""Of a gate that gives indices and scores itself."""


def _add(block: Any) -> Call:
    shared = block.shared_experts
    return lambda out, x: out + shared(x)


def _add_gated(block: Any) -> Call:
    shared, gate = block.shared_experts, block[SHARED_GATE]
    return lambda out, x: out + mx.sigmoid(gate(x)) * shared(x)


_NAMES = {"out": "(B, L, D)", "x": "(B, L, D)"}


def _tail(stock: Callable[[Any], Call], *parts: str) -> Step:
    return Step("", _NAMES, {"out": "(B, L, D)"}, stock, all_bytes(*parts))


TAILS = ((), (_tail(_add, "shared_experts"),), (_tail(_add_gated, "shared_experts", SHARED_GATE),))
FORMS: dict[tuple[int, int], Block] = {
    (first, last): moe_block(each, *tail)
    for first, each in enumerate((*ROUTERS, GIVEN))
    for last, tail in enumerate(TAILS)
}
"""By router and by what is added to the sum."""


class Seen(Routed):
    """What a kernel is bound to: the block's parts, under the names that blocks of known families give them."""

    def __init__(self, switch: Any, gate: Any, top_k: Any, norm_topk_prob: Any) -> None:
        super().__init__(switch)
        self.gate = gate
        self.top_k = top_k
        self.norm_topk_prob = norm_topk_prob


def hosts(model: Any) -> Iterator[tuple[str, Host]]:
    """Yield the path and the host of every block whose form is recognised."""
    found = {path: guesses for path, module in model.named_modules() if (guesses := list(_guesses(module)))}
    if not found:
        return
    first: dict[Hashable, tuple[str, list[Host]]] = {}
    for path, guesses in found.items():
        first.setdefault(structure(guesses[0]), (path, guesses))
    calls = recorded(model, {path: guesses[0].module for path, guesses in first.values()})
    right = {key: _right(guesses, calls[path]) for key, (path, guesses) in first.items()}
    for path, guesses in found.items():
        if (index := right[structure(guesses[0])]) is not None:
            yield path, guesses[index]


def _right(guesses: Sequence[Host], calls: Sequence[tuple[mx.array, str]]) -> int | None:
    """Return which guess gives what the block gave; None where none does, or it was not called."""
    for index, host in enumerate(guesses):
        try:
            if calls and all(digest(stock_line(host)(x)) == said for x, said in calls):
                return index
        except Exception:  # noqa: BLE001 - a form that was only supposed may fail in any way
            continue
    return None


def _guesses(block: Any) -> Iterator[Host]:
    """Yield the hosts of every form that a module's parts allow."""
    switches = [part for part in block.children().values() if isinstance(part, SwitchGLU)]
    gate = next((block[name] for name in GATES if isinstance(block.get(name), nn.Module)), None)
    if len(switches) != 1 or gate is None:
        return
    shared = next((block[name] for name in SHARED if isinstance(block.get(name), nn.Module)), None)
    tails = [0] if shared is None else [2, 1] if SHARED_GATE in block else [1]
    projects = isinstance(gate, nn.Linear | nn.QuantizedLinear)
    top_k = next((vars(block)[name] for name in TOP_K if isinstance(vars(block).get(name), int)), None)
    if projects and top_k is None:
        return
    firsts, norms = (range(len(ROUTERS)), (True, False)) if projects else ([len(ROUTERS)], (None,))
    for form, norm in itertools.product(itertools.product(firsts, tails), norms):
        seen = Seen(switches[0], gate, top_k, norm)
        if shared is not None:
            seen.shared_experts = shared
        if SHARED_GATE in block:
            seen[SHARED_GATE] = block[SHARED_GATE]
        seen.sharding_group = getattr(block, "sharding_group", None)
        known = FORMS[form]
        yield Host(block, known, _composer(known, seen), {step.site: (seen,) for step in known.steps if step.site})


def _composer(known: Block, seen: Seen) -> Callable[[Any, Calls], Call]:
    return lambda _, calls: known.compose(seen, {sites: places[0] for sites, places in calls.items()})
