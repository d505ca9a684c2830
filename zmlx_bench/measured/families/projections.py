"""The site `qkv` of an attention that is not known further: its projections of one input, and nothing else of it.

A kernel makes all of them at once, and the attention's own call takes each where it would have projected itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.host import Host, stock_call
from zmlx_bench.measured.inputs import all_bytes, hidden
from zmlx_bench.measured.steps import Block, Call, Calls, Step

FORMS = (
    {"q_proj": "q", "k_proj": "k", "v_proj": "v"},
    {"q_a_proj": "q_a", "kv_a_proj_with_mqa": "compressed_kv"},
)
"""What attentions call projections that may have one input, with what each gives."""


def projection_block(form: Mapping[str, str]) -> Block:
    """Return the block of projections of one input: what they are called, with what each gives."""
    names = tuple(form)

    def stock(attention: Any) -> Call:
        layers = [attention[name] for name in names]
        return lambda x: tuple(layer(x) for layer in layers)

    outputs = dict.fromkeys(form.values(), "(B, L, N)")
    step = Step("qkv", {"x": "(B, L, D)"}, outputs, stock, all_bytes(*names))
    return Block(f"each module with {', '.join(names)} of one input", (step,), {"x": hidden})


KNOWN = {tuple(form): projection_block(form) for form in FORMS}
BLOCKS = tuple(KNOWN.values())
PROJECTIONS = BLOCKS[0]
"""Of q_proj, k_proj and v_proj."""


def hosts(model: Any) -> Iterator[tuple[str, Host]]:
    """Yield the path and the host of every module that has quantised projections of these names."""
    for path, module in model.named_modules():
        for host in projection_hosts(module):
            yield path, host


def projection_hosts(module: Any, forms: Mapping[tuple[str, ...], Block] = KNOWN) -> Iterator[Host]:
    """Yield the host of a module's projections, where it has quantised ones of these names."""
    for names, block in forms.items():
        held = all(isinstance(module.get(name), nn.QuantizedLinear) for name in names)
        # Some attentions are only parts, which a layer calls by other names.
        if held and any("__call__" in vars(each) for each in type(module).__mro__):
            yield Host(module, block, _composer(names))


def _composer(names: Sequence[str]) -> Any:
    return lambda attention, calls: Joined(attention, names, calls)


class Joined:
    """The attention's own call, on a copy that shares all its parts but takes its projections from one kernel."""

    def __init__(self, attention: Any, names: Sequence[str], calls: Calls) -> None:
        self._project = calls[("qkv",)]
        self._layers = [attention[name] for name in names]
        self._of: mx.array | None = None
        self._made: dict[int, mx.array] = {}
        beside = copy.copy(attention)
        for index, name in enumerate(names):
            beside[name] = _Part(self, index)
        self._call = stock_call(beside)
        self.complete = True
        """Whether every part of the last call was of one input and taken once; asked before it is offered."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the attention does."""
        self.complete = True
        out = self._call(*args, **kwargs)
        if self._made:
            self.complete = False
            self._of, self._made = None, {}
        return out

    def part(self, index: int, x: mx.array) -> mx.array:
        """Return the projection with this index of x; of another input than the others' by its own layer."""
        if self._of is None:
            self._of, self._made = x, dict(enumerate(self._project(x=x)))
        if x is not self._of or index not in self._made:
            self.complete = False
            own: mx.array = self._layers[index](x)
            return own
        made = self._made.pop(index)
        if not self._made:
            self._of = None
        return made


class _Part:
    """Stands where the attention has a projection."""

    def __init__(self, joined: Joined, index: int) -> None:
        self._joined = joined
        self._index = index

    def __call__(self, x: mx.array) -> mx.array:
        return self._joined.part(self._index, x)
