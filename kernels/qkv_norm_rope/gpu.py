"""The launch after the joined projection. One source for Metal and CUDA."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch, read_source
from ..qk_norm_rope.gpu import TURN_HEAD
from ..qk_norm_rope.heads import LANES, Heads

SOURCE = read_source(
    Path(__file__).resolve().parent,
    "qkv_norm_rope",
    ("joined", "q_weight", "k_weight", "offsets"),
    ("q", "k", "v"),
    header=TURN_HEAD,
)


def plan(heads: Heads, joined: mx.array, offsets: mx.array) -> Launch:
    """Return the launch for joined (B, L, (Hq + 2 Hk) * hd), raw, with `offsets` int32 (1,) or (B,).

    Outputs: q (B, Hq, L, hd), k and v (B, Hk, L, hd).
    """
    b, length, _ = joined.shape
    hq, hk, hd = heads.of_q, heads.of_k, heads.size
    return Launch(
        SOURCE,
        [joined, *heads.weights, offsets],
        [(b, hq, length, hd), (b, hk, length, hd), (b, hk, length, hd)],
        [joined.dtype] * 3,
        (LANES, hq + 2 * hk, b * length),
        (LANES, 1, 1),
        heads.template(length, offsets.size),
    )
