"""The launch that serves a mode on a GPU. One source for Metal and CUDA."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch, read_source

_FOLDER = Path(__file__).resolve().parent
COMBINE = read_source(_FOLDER, "combine", ("y", "scores"), ("out",))
STAGED = read_source(_FOLDER, "combine_staged", ("y", "scores"), ("out",))

THREADS = 256
MODES = ("stock", "bf16_rounded", "fp32", "fp32_no_fma", "fp32_no_fma_staged")


def plan(mode: str, y: mx.array, scores: mx.array) -> Launch:
    """Return the launch for y (B, L, k, D) and scores (B, L, k); its output is (B, L, D) in y's dtype.

    `stock` rounds to the dtype that multiplying y by scores has in MLX: y's own where the scores have
    it, float32 where they are float32. Raises ValueError for more experts than a threadgroup has lanes.
    """
    b, length, k, d = y.shape
    if k > THREADS:
        raise ValueError(f"{k} experts a token; at most {THREADS} are served")
    template: list[tuple[str, mx.Dtype | int | bool]] = [("T", y.dtype), ("K", k), ("D", d)]
    source = STAGED
    if mode != "fp32_no_fma_staged":
        source = COMBINE
        rounds_to_y = mode == "bf16_rounded" or (mode == "stock" and scores.dtype == y.dtype)
        template += [("P", y.dtype if rounds_to_y else mx.float32), ("FUSED", mode == "fp32")]
    threads = (d + THREADS - 1) // THREADS * THREADS
    return Launch(source, [y, scores], [(b, length, d)], [y.dtype], (threads, b * length, 1), (THREADS, 1, 1), template)
