"""The stock steps of a decoder layer by site, with what each takes, gives and reads: the table of `kernels bench`.

A step is named by its site; a line is a run of steps in the order of the data flow. A kernel fused over several
steps of a line takes what the line makes outside them and gives what the last of them gives, so that a new fusion
needs no entry unless it gives something else: then it has a line of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache

Values = dict[str, Any]


@dataclass(frozen=True)
class Filled:
    """A cache with something in it, as an input: each sample gets one of its own, because a call changes it."""

    keys: mx.array
    values: mx.array

    @property
    def nbytes(self) -> int:
        """Bytes that are filled."""
        return int(self.keys.nbytes + self.values.nbytes)

    def cache(self) -> Any:
        """Return an mlx-lm cache that holds the keys and values."""
        made = KVCache()
        made.update_and_fetch(self.keys, self.values)
        mx.eval(made.keys, made.values)
        return made

    def astype(self, dtype: mx.Dtype) -> Filled:
        """Return the same in another dtype."""
        return replace(self, keys=self.keys.astype(dtype), values=self.values.astype(dtype))


def ready(inputs: Values) -> Values:
    """Return the inputs of a call: caches in place of what fills them."""
    return {name: value.cache() if isinstance(value, Filled) else value for name, value in inputs.items()}


@dataclass(frozen=True)
class Sizes:
    """What the shapes of a step's inputs depend on."""

    config: Mapping[str, Any]
    """Sizes of the model, under the names of its config.json."""
    batch: int
    context: int
    """Positions that are in the cache already."""
    dtype: mx.Dtype = mx.bfloat16

    def normal(self, *shape: int) -> mx.array:
        """Return random numbers of the model's dtype."""
        return mx.random.normal(shape).astype(self.dtype)


@dataclass(frozen=True)
class Step:
    """What the unpatched model does at one site: `run(module, values)` gives `outputs` in order."""

    site: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    run: Callable[[Any, Values], tuple[Any, ...]]
    weight_bytes: Callable[[Any, Values], float]
    """Bytes of weights that a call has to read."""


@dataclass(frozen=True)
class Line:
    """Steps in order, with what draws the inputs that no step makes."""

    steps: tuple[Step, ...]
    sources: Mapping[str, Callable[[Any, Sizes], Any]]


@dataclass(frozen=True)
class Span:
    """The steps that one kernel covers, and those before them."""

    line: Line
    first: int
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def draw(self, module: Any, sizes: Sizes) -> Values:
        """Return random inputs; what the steps before would have made is made by them."""
        values = {name: source(module, sizes) for name, source in self.line.sources.items()}
        missing = set(self.inputs) - set(values)
        for step in self.line.steps[: self.first]:
            if not missing:
                break
            values.update(zip(step.outputs, step.run(module, values), strict=True))
            missing -= set(step.outputs)
        chosen = {name: values[name] for name in self.inputs}
        mx.eval([value for value in chosen.values() if isinstance(value, mx.array)])
        return chosen

    def stock(self, module: Any) -> Callable[..., tuple[Any, ...]]:
        """Return call(**inputs) -> outputs: the unpatched model's steps."""

        def call(**inputs: Any) -> tuple[Any, ...]:
            values = dict(inputs)
            for step in self.steps:
                values.update(zip(step.outputs, step.run(module, values), strict=True))
            return tuple(values[name] for name in self.outputs)

        return call

    def weight_bytes(self, module: Any, inputs: Values) -> float:
        """Return the bytes of weights that one call with these inputs has to read."""
        values, total = ready(inputs), 0.0
        for step in self.steps:
            values.update(zip(step.outputs, step.run(module, values), strict=True))
            total += step.weight_bytes(module, values)
        return total


def span(lines: tuple[Line, ...], sites: tuple[str, ...]) -> Span | None:
    """Return the steps of exactly these sites, or None where no line has them in a row.

    A line that is nothing but these sites goes before one of which they are a part.
    """
    for line in sorted(lines, key=lambda line: tuple(step.site for step in line.steps) != sites):
        names = tuple(step.site for step in line.steps)
        for first in range(len(names) - len(sites) + 1):
            if names[first : first + len(sites)] == sites:
                steps = line.steps[first : first + len(sites)]
                return Span(line, first, steps, _outer_inputs(steps), steps[-1].outputs)
    return None


def _outer_inputs(steps: tuple[Step, ...]) -> tuple[str, ...]:
    made: set[str] = set()
    needed: dict[str, None] = {}
    for step in steps:
        needed.update({name: None for name in step.inputs if name not in made})
        made.update(step.outputs)
    return tuple(needed)


def all_bytes(*names: str) -> Callable[[Any, Values], float]:
    """Return what counts every parameter of the named children, of the module itself where none is named."""

    def count(module: Any, _: Values) -> float:
        parts = [module[name] for name in names] if names else [module]
        return float(sum(value.nbytes for part in parts for _, value in tree_flatten(part.parameters())))

    return count


def expert_bytes(*names: str) -> Callable[[Any, Values], float]:
    """Return what counts the named projections of the experts that the call selects, each expert once."""

    def count(block: Any, values: Values) -> float:
        selected = len(set(values["inds"].flatten().tolist()))
        whole = all_bytes(*names)(block.switch_mlp, values)
        return whole * selected / float(block.switch_mlp.gate_proj.weight.shape[0])

    return count


def no_bytes(_: Any, __: Values) -> float:
    """Count nothing: the step reads no weights."""
    return 0.0


def cached(sizes: Sizes, heads: int, width: int) -> mx.array:
    """Return (B, heads, context + 1, width) as mlx-lm's cache gives it: a slice of a buffer that grows by 256."""
    length = sizes.context + 1
    return sizes.normal(sizes.batch, heads, 256 * math.ceil(length / 256), width)[..., :length, :]
