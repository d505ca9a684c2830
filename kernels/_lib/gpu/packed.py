"""The packed weights that the quantised kernels serve: affine, 4 bit, in groups of 64."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

GROUP = 64
SERVED = (mx.bfloat16, mx.float16)


class Weights(NamedTuple):
    """Packed weights (E, N, K / 8) uint32 or (N, K / 8), scales and biases (E, N, K / 64) or (N, K / 64)."""

    w: mx.array
    scales: mx.array
    biases: mx.array


def weights_of(projection: Any) -> Weights:
    """Return a projection's packed weights; raise Unavailable unless they are affine, 4 bit, in groups of 64."""
    found = tuple(getattr(projection, name, None) for name in ("mode", "bits", "group_size"))
    if found != ("affine", 4, GROUP):
        given = f"{found[0]}, {found[1]} bit in groups of {found[2]}"
        raise Unavailable(f"weights are {given}; affine 4 bit in groups of {GROUP} are served")
    if "bias" in projection:
        raise Unavailable("a projection with a bias of its own is not served")
    if projection.scales.dtype not in SERVED:
        raise Unavailable(f"scales are {projection.scales.dtype}; bfloat16 and float16 are served")
    return Weights(projection.weight, projection.scales, projection.biases)
