"""The launches of norm and rotation. Each source serves Metal and CUDA."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch, read_source
from .heads import LANES, Heads

_FOLDER = Path(__file__).resolve().parent
SOURCE = read_source(
    _FOLDER,
    "qk_norm_rope",
    ("q", "k", "q_weight", "k_weight", "eps", "frequencies", "offsets"),
    ("q_out", "k_out"),
)
TURN_HEAD = (_FOLDER / "turn_head.h").read_text()
STOCK = read_source(
    _FOLDER,
    "qk_norm_rope_stock",
    ("q", "k", "q_weight", "k_weight", "offsets"),
    ("q_out", "k_out"),
    header=TURN_HEAD,
)


def plan(
    q: mx.array,
    k: mx.array,
    weights: tuple[mx.array, mx.array],
    eps: mx.array,
    frequencies: mx.array,
    offsets: mx.array,
) -> Launch:
    """Return the launch for q (B, L, Hq * hd) and k (B, L, Hk * hd), the raw projections.

    `weights` are q's and k's norm (hd,), `eps` (2,) theirs in float32, `frequencies` (hd / 2,) float32 radians a
    position, `offsets` int32 (1,) or (B,): the first token's position. hd is a multiple of 32. Outputs:
    q (B, Hq, L, hd), k (B, Hk, L, hd).
    """
    b, length, _ = q.shape
    hd = weights[0].size
    hq, hk = q.shape[-1] // hd, k.shape[-1] // hd
    template: list[tuple[str, mx.Dtype | int | bool]] = [
        ("T", q.dtype),
        ("HQ", hq),
        ("HK", hk),
        ("HD", hd),
        ("L", length),
        ("READS", hd // LANES),
        ("OFFSETS", offsets.size),
    ]
    return Launch(
        SOURCE,
        [q, k, *weights, eps, frequencies, offsets],
        [(b, hq, length, hd), (b, hk, length, hd)],
        [q.dtype, k.dtype],
        (LANES, hq + hk, b * length),
        (LANES, 1, 1),
        template,
    )


def plan_stock(heads: Heads, q: mx.array, k: mx.array, offsets: mx.array) -> Launch:
    """Return the launch for q (B, L, Hq * hd) and k (B, L, Hk * hd), raw, with `offsets` int32 (1,) or (B,).

    Outputs: q (B, Hq, L, hd), k (B, Hk, L, hd).
    """
    b, length, _ = q.shape
    hq, hk, hd = heads.of_q, heads.of_k, heads.size
    return Launch(
        STOCK,
        [q, k, *heads.weights, offsets],
        [(b, hq, length, hd), (b, hk, length, hd)],
        [q.dtype, k.dtype],
        (LANES, hq + hk, b * length),
        (LANES, 1, 1),
        heads.template(length, offsets.size),
    )
