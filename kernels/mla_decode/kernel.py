"""Latent attention for one token a sequence.

q_nope (B, H, 1, rank), q_pe (B, H, 1, rope), kv_latent (B, 1, S, rank), k_pe (B, 1, S, rope) -> (B, H, 1, rank).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_parts

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.settle import Call, Settle, settler
from .gpu import LONGEST_SOFTMAX, SPLITS, UNSPLIT, Sizes, attend, join, softmax, softmax_threads

Attend = Callable[[mx.array, mx.array, mx.array, mx.array], mx.array]
FUSED_RANKS = {"cuda": (), "metal": (64, 96, 128, 256)}
"""Ranks for which MLX's own attention is one kernel, with another order, where the mask is an array."""
FUSES_512 = "MLX_SDPA_D512_MIN_KL"
"""With 0 in this variable MLX 0.32.4 on Metal attends to latents of 512 elements in one kernel, masked or not."""


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a latent attention; raise Unavailable for one that the launches do not serve."""
    require("mla_decode", request)
    sizes, settle = sizes_of(module), settler(request.backend)
    if request.mode == "fp32":
        call = in_float32(sizes, module.scale, settle, request.backend)
    else:
        scaled, factor = as_stock(sizes, settle, request.backend), module.scale

        def call(q_nope: mx.array, q_pe: mx.array, kv_latent: mx.array, k_pe: mx.array) -> mx.array:
            return scaled(q_nope * factor, q_pe * factor, kv_latent, k_pe)

    return Binding(call)


def sizes_of(attention: Any) -> Sizes:
    """Return the sizes of a latent attention; raise Unavailable where the launches do not serve them."""
    require_parts("mla_decode", attention, "num_heads", "kv_lora_rank", "qk_rope_head_dim", "kv_a_layernorm", "scale")
    sizes = Sizes(attention.num_heads, attention.kv_lora_rank, attention.qk_rope_head_dim)
    if sizes.rank % 2 or sizes.rope % 2:
        raise Unavailable(f"mla_decode does not serve latents of {sizes.rank} and positions of {sizes.rope} elements")
    if attention.kv_a_layernorm.weight.dtype != mx.bfloat16:
        raise Unavailable("mla_decode serves bfloat16")
    return sizes


def as_stock(sizes: Sizes, settle: Settle, backend: str) -> Attend:
    """Return attend(q_nope, q_pe, kv_latent, k_pe) with queries that were scaled already, bit for bit stock's.

    q_pe may also be (1, 1, H, rope): MLX on CUDA multiplies one sequence's heads as the rows of one matrix anyway.
    """
    if sizes.rank in FUSED_RANKS[backend]:
        raise Unavailable(f"MLX attends to latents of {sizes.rank} elements in a kernel of its own on {backend}")
    if backend == "metal" and sizes.rank == 512 and os.environ.get(FUSES_512, "").strip() == "0":
        raise Unavailable(f"{FUSES_512}=0 makes MLX attend to latents of 512 elements in a kernel of its own")
    longest = LONGEST_SOFTMAX[backend]
    settled: dict[tuple[int, ...], Call] = {}

    def call(q_nope: mx.array, q_pe: mx.array, kv_latent: mx.array, k_pe: mx.array) -> mx.array:
        by_latent = q_nope @ kv_latent.swapaxes(-1, -2)
        by_place = q_pe @ k_pe.swapaxes(-1, -2)
        shape = by_latent.shape
        if shape[3] > longest:
            return mx.softmax(by_latent + by_place, axis=-1, precise=True) @ kv_latent
        key = (*shape[:3], softmax_threads(shape[3], backend))
        launch = settled.get(key)
        if launch is None:
            launch = settled[key] = settle(softmax(shape, q_nope.dtype, backend))
        (weights,) = launch(inputs=[by_latent, by_place], output_shapes=[shape])
        return weights @ kv_latent

    return call


def in_float32(sizes: Sizes, scale: float, settle: Settle, backend: str) -> Attend:
    """Return attend(q_nope, q_pe, kv_latent, k_pe) in float32, rounded once: one launch, or two for many keys."""
    unsplit = UNSPLIT[backend]
    settled: dict[int, tuple[Call, Call, Call]] = {}

    def first(b: int) -> tuple[Call, Call, Call]:
        found = settled[b] = (
            settle(attend(sizes, b, scale, backend, 1)),
            settle(attend(sizes, b, scale, backend, SPLITS)),
            settle(join(sizes, b, SPLITS)),
        )
        return found

    def call(q_nope: mx.array, q_pe: mx.array, kv_latent: mx.array, k_pe: mx.array) -> mx.array:
        b, _, length, _ = kv_latent.shape
        whole, split, joined = settled.get(b) or first(b)
        inputs = [q_nope, q_pe, kv_latent, k_pe]
        if length <= unsplit:
            return whole(inputs=inputs)[0]
        return joined(inputs=split(inputs=inputs))[0]

    return call
