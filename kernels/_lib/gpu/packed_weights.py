"""The weights of the kernels that take many packings: which of them, and their arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from zmlx_bench.measured.api import Unavailable, require_parts

from ..packings import Packing, packing_of, packings
from .moe_block import check_block
from .settle import bits

SERVED = (mx.bfloat16, mx.float16)
ON_GPU = packings((4, 8))
"""What the kernels of many packings serve. The kernel.toml of each says the same."""


class Weights(NamedTuple):
    """Words (E, N, K * bits / 32) uint32, scales and biases (E, N, K / group_size).

    Of floats the scales are uint8, and stand in the place of the biases, which they do not have.
    """

    w: mx.array
    scales: mx.array
    biases: mx.array


class Form(NamedTuple):
    """What of a launch's text follows from the experts: packing, whether rows have a bias, and the clamp."""

    packing: Packing
    biased: bool = False
    clamp: tuple[float, float] | None = None
    """(alpha, limit) of mlx-lm's swiglu_oai in the place of SwiGLU."""

    def constants(self, dtype: mx.Dtype) -> list[tuple[str, int | bool]]:
        """Return the constants of biases and activation; alpha and limit as the bits of their values in `dtype`."""
        rounded = mx.array(self.clamp or (0.0, 0.0), dtype).astype(mx.float32)
        alpha, limit = (bits(float(each)) for each in np.array(rounded))
        return [
            ("BIASED", self.biased),
            ("CLAMPED", self.clamp is not None),
            ("ALPHA", alpha),
            ("LIMIT", limit),
        ]


def clamp_of(block: Any) -> tuple[float, float] | None:
    """Return the clamp of a MoE block's experts, None for SwiGLU; raise Unavailable for another activation or a sharded
    model."""
    from mlx_lm.models import activations

    require_parts("a kernel of quantised experts", block, "switch_mlp")
    activation = block.switch_mlp.activation
    if type(activation) is getattr(activations, "SwigluOAI", None) and getattr(block, "sharding_group", None) is None:
        return activation._alpha, activation._limit
    check_block(block)
    return None


def biases_of(kernel: str, backend: str, *projections: Any) -> list[mx.array]:
    """Return the biases of the projections' rows (E, N), none where they have none.

    Raises Unavailable where only some have one, and for biases of another dtype than the weights' scales.
    """
    biases: list[mx.array] = [each["bias"] for each in projections if "bias" in each]
    if len(biases) not in (0, len(projections)):
        raise Unavailable("some of the experts' projections have a bias and others have none")
    for bias, each in zip(biases, projections, strict=False):
        if bias.dtype not in SERVED or (each.get("biases") is not None and bias.dtype != each.scales.dtype):
            raise Unavailable(f"{kernel} on {backend} does not serve a bias of {bias.dtype}")
    return biases


def packed(kernel: str, backend: str, *projections: Any) -> tuple[Packing, list[Weights]]:
    """Return how the projections are packed, all in one way, and their arrays.

    Raises Unavailable, naming `kernel` and `backend`, for what is not in ON_GPU, for projections that differ in it, and
    for a global scale of their own. Biases of their rows are `biases_of`.
    """
    packings = {packing_of(projection, "a projection of the experts") for projection in projections}
    if len(packings) != 1:
        raise Unavailable(
            f"the projections are packed in {len(packings)} ways: {'; '.join(sorted(map(str, packings)))}"
        )
    (packing,) = packings
    if packing not in ON_GPU:
        raise Unavailable(f"weights are {packing}, which {kernel} does not serve on {backend}")
    return packing, [_arrays(projection) for projection in projections]


def _arrays(projection: Any) -> Weights:
    if projection.get("global_scale") is not None:
        raise Unavailable("a global scale of the weights is not served")
    biases = projection.get("biases")
    if biases is not None and projection.scales.dtype not in SERVED:
        raise Unavailable(f"scales are {projection.scales.dtype}; bfloat16 and float16 are served")
    return Weights(projection.weight, projection.scales, projection.scales if biases is None else biases)


def stays(x: mx.array, weights: Weights, biases: Sequence[mx.array] = ()) -> bool:
    """Whether MLX's own call has to take `x`: one of another dtype than the kernels are made for."""
    affine = weights.scales.dtype != mx.uint8
    other = x.dtype != weights.scales.dtype if affine else x.dtype not in SERVED
    return other or any(bias.dtype != x.dtype for bias in biases)
