"""What the exact norm and rotation have to know of an attention: its heads, norms and rotation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Unavailable, require_parts

from .._lib.gpu.settle import bits

LANES = 32
Template = list[tuple[str, mx.Dtype | int | bool]]


def check_rope(attention: Any) -> None:
    """Raise Unavailable unless the rotation is the one that the sources have."""
    require_parts("qk_norm_rope", attention, "rope", "q_norm", "k_norm", "n_heads", "n_kv_heads")
    rope, size = attention.rope, attention.q_norm.weight.size
    if not isinstance(rope, nn.RoPE) or rope.traditional or rope.scale != 1.0 or rope.dims != size:
        raise Unavailable("qk_norm_rope serves nn.RoPE over whole heads, unscaled and not traditional")


@dataclass(frozen=True)
class Heads:
    """`of_q` and `of_k` heads of `size` elements each."""

    of_q: int
    of_k: int
    size: int
    reads: int
    """Neighbouring elements that a lane squares in MLX's norm."""
    weights: tuple[mx.array, mx.array]
    eps: tuple[float, float]
    base: float

    @classmethod
    def of(cls, attention: Any, backend: str) -> Heads:
        """Read an attention; raise Unavailable for a rotation or head size that one simdgroup does not serve."""
        check_rope(attention)
        weights = (attention.q_norm.weight, attention.k_norm.weight)
        size = weights[0].size
        reads = 4 if backend == "metal" else 16 // weights[0].dtype.size
        # MLX gives a longer head more than one simdgroup.
        if size % reads or size > LANES * reads:
            raise Unavailable(f"heads of {size} elements; multiples of {reads} up to {LANES * reads} are served")
        eps = (attention.q_norm.eps, attention.k_norm.eps)
        return cls(attention.n_heads, attention.n_kv_heads, size, reads, weights, eps, attention.rope.base)

    def template(self, length: int, offsets: int) -> Template:
        """Return the constants of the sources for `length` tokens a sequence and 1 or B offsets."""
        return [
            ("T", self.weights[0].dtype),
            ("HQ", self.of_q),
            ("HK", self.of_k),
            ("HD", self.size),
            ("L", length),
            ("READS", self.reads),
            ("OFFSETS", offsets),
            ("Q_EPS", bits(self.eps[0])),
            ("K_EPS", bits(self.eps[1])),
            ("LOG2_BASE", bits(math.log2(self.base))),
        ]


class Offsets:
    """Positions as arrays: every layer of a token asks for the same one, which is made once."""

    def __init__(self) -> None:
        self._last = (-1, mx.array([-1]))

    def array(self, offset: int | mx.array) -> mx.array:
        """Return `offset` as int32 (1,) or (B,)."""
        if isinstance(offset, mx.array):
            return offset.reshape(-1).astype(mx.int32)
        known, array = self._last
        if known != offset:
            array = mx.array([offset], mx.int32)
            self._last = (offset, array)
        return array


OFFSETS = Offsets()
