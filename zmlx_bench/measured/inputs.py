"""What `kernels bench` gives to a step: drawn inputs, filled caches, and the bytes of weights that a call reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

Values = dict[str, Any]
"""Inputs and outputs of steps by name."""


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
        # Not above: mlx-lm makes a stream as it is imported, and what applies a variant comes before the device.
        from mlx_lm.models.cache import KVCache

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


Source = Callable[[Any, Sizes], Any]
"""source(module, sizes) draws one input."""


def hidden(_: Any, sizes: Sizes) -> mx.array:
    """Draw (B, 1, D)."""
    return sizes.normal(sizes.batch, 1, sizes.config["hidden_size"])


def offset(_: Any, sizes: Sizes) -> int:
    """Return the position of the next token."""
    return sizes.context


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
