"""The tiny model of a family in this process, and what it says to a fixed prompt."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from tests.families import family as family_of
from zmlx_bench.catalog.variants import plain
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured.apply import Patch, apply
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.host import Host
from zmlx_bench.schema.variant import ResolvedVariant

PROMPT = tuple(range(5, 13))  # long enough for stock to sort Qwen's experts, too short for GLM's
STEPS = 4
FEW_LAYERS = 2
"""Among these first ones is each kind of a family's, and one after the other."""


@dataclass
class Tiny:
    """A loaded tiny model."""

    family: Family
    model: Any
    layers: int
    moe_layers: int

    @classmethod
    def load(cls, name: str, layers: int | None = None, checkpoint: Path | None = None) -> Tiny:
        """Load the tiny model, or another checkpoint of the family; whole, or its first layers."""
        mx.set_default_device(mx.cpu)
        model, _ = load_model(checkpoint or TINY / f"tiny_{name}")
        model.model.layers = model.model.layers[:layers]
        family = family_of(name)
        blocks = sum(host.offers(("combine",)) for host in family.hosts(model))
        return cls(family, model, len(model.layers), blocks)

    @property
    def adds(self) -> int:
        """Adds to the residual stream: after attention and after the MLP."""
        return 2 * self.layers

    @property
    def name(self) -> str:
        return self.family.name

    def hosts(self) -> Sequence[Host]:
        return self.family.hosts(self.model)

    def logits(self, prompt: Sequence[int] = PROMPT, steps: int = STEPS, batch: int = 1) -> list[mx.array]:
        """Logits of a prefill and of greedy decode steps after it."""
        cache = make_prompt_cache(self.model)
        out = self.model(mx.array([list(prompt)] * batch), cache=cache)
        found = [out]
        for _ in range(steps):
            token = mx.argmax(found[-1][:, -1:], axis=-1)
            found.append(self.model(token, cache=cache))
        mx.eval(found)
        return found

    def patch(self, variant: ResolvedVariant, kernels: Path, limits: dict[str, int | None] | None = None) -> Patch:
        default: dict[str, int | None] = {kernel.kernel: None for kernel in variant.kernels}
        return apply(plain(variant, default | (limits or {})), self.hosts(), "cpu", kernels)

    def state(self) -> dict[str, Any]:
        """All that a patch could change: the class of every module, and every parameter's bytes."""
        classes = {path: type(module) for path, module in self.model.named_modules()}
        arrays = {
            path: (value.shape, value.dtype, bytes(memoryview(value.view(mx.uint8))))
            for path, value in tree_flatten(self.model.parameters())
        }
        names = {path: sorted(module) for path, module in self.model.named_modules()}
        return {"classes": classes, "arrays": arrays, "names": names}


def equal(a: Sequence[mx.array], b: Sequence[mx.array]) -> bool:
    """Whether all logits are bit for bit the same (no NaN anywhere)."""
    return len(a) == len(b) and all(mx.array_equal(x, y).item() for x, y in zip(a, b, strict=True))


def resting_memory() -> int:
    """Bytes that MLX holds once nothing is left over; a patched class is a cycle that only the collector frees."""
    gc.collect()
    mx.clear_cache()
    return int(mx.get_active_memory())
