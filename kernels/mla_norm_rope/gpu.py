"""The two launches between the projections of x and the cache. One source each for Metal and CUDA."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx

from .._lib.gpu.launch import Launch, read_source
from .._lib.gpu.settle import bits

_HERE = Path(__file__).resolve().parent
_ROTATION = (_HERE.parent / "_lib" / "gpu" / "mla_words.h").read_text()
NORMS = read_source(
    _HERE,
    "mla_norms",
    ("projected", "q_weight", "kv_weight", "offsets"),
    ("q_normed", "kv_latent", "k_pe"),
    header=_ROTATION,
)
HEADS = read_source(_HERE, "mla_heads", ("q", "offsets"), ("q_nope", "q_pe"), header=_ROTATION)
LANES = 32
READS = {"cuda": 8, "metal": 4}
"""Neighbouring elements a thread in MLX's norm of 2-byte values."""
COPIES = 8
"""Elements that a thread copies of a head's part without position."""
LARGEST = {"cuda": 128 * 8, "metal": 1024 * 4}
"""Elements of the longest row that MLX's norm reads once, in the order of `mla_norms.gpu`."""


class Sizes(NamedTuple):
    """Sizes of one attention: ranks of q and of the latent, heads, and elements a head without and with position."""

    q_rank: int
    rank: int
    heads: int
    nope: int
    rope: int


@dataclass(frozen=True)
class Front:
    """What the launches have to know of an attention."""

    sizes: Sizes
    dtype: mx.Dtype
    reads: int
    eps: tuple[float, float]
    """Of the norms of q_a and of the latent."""
    base: float
    """Of the rotation."""

    def norms(self, b: int, offsets: int) -> Launch:
        """Return the launch for b sequences and 1 or b offsets.

        Inputs: `projected` (b, 1, q_rank + rank + rope), q_a, the latent and k_pe side by side; the norms' weights
        (q_rank,) and (rank,); int32 (1,) or (b,). Outputs: q_a normed (b, 1, q_rank), the latent normed
        (b, 1, 1, rank), k_pe rotated (b, 1, 1, rope).
        """
        sizes = self.sizes
        threads = -(-max(sizes.q_rank, sizes.rank) // (self.reads * LANES)) * LANES
        return Launch(
            NORMS,
            [],
            [(b, 1, sizes.q_rank), (b, 1, 1, sizes.rank), (b, 1, 1, sizes.rope)],
            [self.dtype] * 3,
            (threads, 3, b),
            (threads, 1, 1),
            [
                ("T", self.dtype),
                ("Q_RANK", sizes.q_rank),
                ("RANK", sizes.rank),
                ("ROPE", sizes.rope),
                ("READS", self.reads),
                ("THREADS", threads),
                ("OFFSETS", offsets),
                ("Q_EPS", bits(self.eps[0])),
                ("KV_EPS", bits(self.eps[1])),
                ("LOG2_BASE", bits(math.log2(self.base))),
            ],
        )

    def heads(self, b: int, offsets: int, scales: tuple[float, float], *, rows: bool) -> Launch:
        """Return the launch for b sequences and 1 or b offsets.

        Inputs: q (b, 1, heads * (nope + rope)), the second projection of q; int32 (1,) or (b,). `scales` are
        numbers of q's dtype that multiply the outputs: q_nope (b, heads, 1, nope), and after its rotation q_pe
        (b, heads, 1, rope), or with `rows` (b, 1, heads, rope).
        """
        sizes = self.sizes
        threads = -(-(sizes.nope // COPIES + sizes.rope // 2) // LANES) * LANES
        q_pe = (b, 1, sizes.heads, sizes.rope) if rows else (b, sizes.heads, 1, sizes.rope)
        return Launch(
            HEADS,
            [],
            [(b, sizes.heads, 1, sizes.nope), q_pe],
            [self.dtype] * 2,
            (threads, sizes.heads, b),
            (threads, 1, 1),
            [
                ("T", self.dtype),
                ("H", sizes.heads),
                ("NOPE", sizes.nope),
                ("ROPE", sizes.rope),
                ("OFFSETS", offsets),
                ("LOG2_BASE", bits(math.log2(self.base))),
                ("NOPE_SCALE", bits(scales[0])),
                ("PE_SCALE", bits(scales[1])),
            ],
        )
