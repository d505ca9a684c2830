"""How a layer's weights are packed, and whether a kernel declares in its kernel.toml that it multiplies by such."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from zmlx_bench.measured.api import Unavailable

_KERNELS = Path(__file__).resolve().parents[1]
FIXED = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}
"""Group size and bits of the modes that have one of each."""


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


@cache
def served(kernel: str, backend: str) -> frozenset[Packing]:
    """Return the packings that kernels/<kernel>/kernel.toml declares for `backend`."""
    declared = tomllib.loads((_KERNELS / kernel / "kernel.toml").read_text(encoding="utf-8")).get("weights", [])
    found: set[Packing] = set()
    for each in declared:
        if backend not in each["backends"]:
            continue
        if each["mode"] in FIXED:
            found.add(Packing(*FIXED[each["mode"]], each["mode"]))
        found |= {
            Packing(group, bits, each["mode"]) for group in each.get("groups", ()) for bits in each.get("bits", ())
        }
    return frozenset(found)
