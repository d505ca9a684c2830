"""The weights of the kernels that take many packings: which of them, and their arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from ..packings import Packing, packing_of, served

SERVED = (mx.bfloat16, mx.float16)


class Weights(NamedTuple):
    """Words (E, N, K * bits / 32) uint32, scales and biases (E, N, K / group_size).

    Of floats the scales are uint8, and stand in the place of the biases, which they do not have.
    """

    w: mx.array
    scales: mx.array
    biases: mx.array


def packed(kernel: str, backend: str, *projections: Any) -> tuple[Packing, list[Weights]]:
    """Return how the projections are packed, all in one way, and their arrays.

    Raises Unavailable for what `kernel` does not declare for `backend`, for projections that differ in it, and for a
    bias or a global scale of their own.
    """
    packings = {packing_of(projection, "a projection of the experts") for projection in projections}
    if len(packings) != 1:
        raise Unavailable(
            f"the projections are packed in {len(packings)} ways: {'; '.join(sorted(map(str, packings)))}"
        )
    (packing,) = packings
    if packing not in served(kernel, backend):
        raise Unavailable(f"weights are {packing}, which {kernel} does not serve on {backend}")
    return packing, [_arrays(projection) for projection in projections]


def _arrays(projection: Any) -> Weights:
    if "bias" in projection:
        raise Unavailable("a projection with a bias of its own is not served")
    if projection.get("global_scale") is not None:
        raise Unavailable("a global scale of the weights is not served")
    biases = projection.get("biases")
    if biases is not None and projection.scales.dtype not in SERVED:
        raise Unavailable(f"scales are {projection.scales.dtype}; bfloat16 and float16 are served")
    return Weights(projection.weight, projection.scales, projection.scales if biases is None else biases)


def stays(x: mx.array, weights: Weights) -> bool:
    """Whether MLX's own call has to take `x`: one of another dtype than the kernels are made for."""
    affine = weights.scales.dtype != mx.uint8
    return x.dtype != weights.scales.dtype if affine else x.dtype not in SERVED
