"""How a layer's weights are packed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from zmlx_bench.measured.api import Unavailable

FIXED = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}
"""Group size and bits of the modes that have one of each."""
GROUPS = (32, 64, 128)
"""Group sizes of the affine mode."""


class Packing(NamedTuple):
    """Group size, bits and mode, as MLX names them."""

    group_size: int
    bits: int
    mode: str

    def __str__(self) -> str:
        """Return it in words; a mode that says it all stands alone."""
        if FIXED.get(self.mode) == (self.group_size, self.bits):
            return self.mode
        return f"{self.mode}, {self.bits} bit in groups of {self.group_size}"


def packing_of(layer: Any, name: str) -> Packing:
    """Return how `layer` is packed; raise Unavailable, calling it `name`, where it is not quantised."""
    if "scales" not in layer:
        raise Unavailable(f"{name} is not quantised")
    return Packing(layer.group_size, layer.bits, getattr(layer, "mode", "affine"))


def packings(bits: Iterable[int]) -> frozenset[Packing]:
    """Return every group size of the affine mode with each of `bits`, and the modes that have one of each."""
    fixed = {Packing(*size, mode) for mode, size in FIXED.items()}
    return frozenset(fixed | {Packing(group, each, "affine") for group in GROUPS for each in bits})
