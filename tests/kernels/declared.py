"""The packings that a kernel's kernel.toml declares, which its own code never reads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tests.kernels import gpu

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
_packings = gpu.module("_lib.packings")


def served(kernel: str, backend: str) -> frozenset[Any]:
    """Return the packings that kernels/<kernel>/kernel.toml declares for `backend`."""
    declared = tomllib.loads((KERNELS / kernel / "kernel.toml").read_text(encoding="utf-8")).get("weights", [])
    found: set[Any] = set()
    for each in declared:
        if backend not in each["backends"]:
            continue
        if (size := _packings.FIXED.get(each["mode"])) is not None:
            found.add(_packings.Packing(*size, each["mode"]))
        found |= {
            _packings.Packing(group, bits, each["mode"])
            for group in each.get("groups", ())
            for bits in each.get("bits", ())
        }
    return frozenset(found)
