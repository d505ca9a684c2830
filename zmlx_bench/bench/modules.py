"""The modules that a kernel is bound to: one decoder layer of a family, random weights, and copies of its parts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

from zmlx_bench.bench.weights import drawn
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.host import Host
from zmlx_bench.measured.steps import Span

_FEW_WORDS = 1024
"""Vocabulary of a layer whose output projection is not measured; the published one takes most of the time."""


@dataclass(frozen=True)
class Place:
    """A module to which a kernel can be bound."""

    name: str
    module: Any
    span: Span | None
    """The steps that the kernel covers; None where they are no run of steps of one module."""
    kinds: Mapping[str, str]


@dataclass(frozen=True)
class Layer:
    """A decoder layer in a model of its own."""

    model: Any
    config: Mapping[str, Any]
    hosts: Sequence[Host]
    names: Mapping[int, str]
    """Last part of a module's path, by its id()."""

    def places(self, sites: tuple[str, ...]) -> list[Place]:
        """Return every different module to which a kernel over `sites` is bound."""
        found: dict[tuple[Any, ...], Place] = {}
        for host in self.hosts:
            if host.offers(sites):
                for module in host.modules(sites):
                    # A stand-in for a block's parts is no module of the model: it goes by the block's name.
                    name = self.names[id(module) if id(module) in self.names else id(host.module)]
                    key = (name, type(module), *sorted((path, value.shape) for path, value in _arrays(module)))
                    found.setdefault(key, Place(name, module, host.block.span(sites), host.kinds(sites)))
        return list(found.values())


def build(family: Family, seed: int, sizes: Mapping[str, Any], *, whole_vocabulary: bool) -> Layer:
    """Return the layer with experts; `sizes` replaces entries of the published configuration."""
    config = {**family.facts["config"], **sizes, **family.facts.get("one_layer", {})}
    if not whole_vocabulary:
        config["vocab_size"] = min(_FEW_WORDS, config["vocab_size"])
    model = synthetic.build(family, seed, 1, sizes=config, quantise=drawn)
    names = {id(module): path.rpartition(".")[2] for path, module in model.named_modules()}
    return Layer(model, config, family.hosts(model), names)


def held(module: Any) -> int:
    """Return the bytes of the module's parameters."""
    return sum(value.nbytes for _, value in _arrays(module))


def clone(module: Any) -> Any:
    """Return a copy of the module whose parameters lie elsewhere in memory."""
    other = copy.deepcopy(module)
    other.update(tree_map(lambda value: value * 1 if isinstance(value, mx.array) else value, module.parameters()))
    mx.eval(other.parameters())
    return other


def _arrays(module: Any) -> list[tuple[str, mx.array]]:
    return [(path, value) for path, value in tree_flatten(module.parameters()) if isinstance(value, mx.array)]
