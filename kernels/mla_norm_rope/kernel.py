"""Latent attention from x to the cache for one token a sequence.

x (B, 1, D), offset int or (B,) -> q_nope (B, H, 1, nope), q_pe (B, H, 1, rope), kv_latent (B, 1, 1, rank),
k_pe (B, 1, 1, rope): one quantised matmul for q_a and kv_a, one launch for both norms and the key's rotation,
q_b, one launch for the heads and q's rotation; in the mode `stock_with_q_b` the last three are one launch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_parts

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.settle import Call, Settle, settler
from ..qkv_joined.kernel import PARTS, join, separate
from .gpu import COPIES, LARGEST, READS, Front, Sizes

WITH_Q_B = "stock_with_q_b"
"""The mode that makes both norms, q_b, the rotations and the heads one launch."""
Between = Callable[[mx.array, Any], tuple[mx.array, mx.array, mx.array, mx.array]]


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a latent attention; raise Unavailable for one that the launches do not serve."""
    require("mla_norm_rope", request)
    between = norm_rope(module, request.backend, settler(request.backend), with_q_b=request.mode == WITH_Q_B)
    matmul, undo = joined_projection(module)

    def call(x: mx.array, offset: Any) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        return between(matmul(x), offset)

    return Binding(call, undo)


def joined_projection(attention: Any) -> tuple[Callable[[mx.array], mx.array], Callable[[], None]]:
    """Join q_a and kv_a: return x (B, 1, D) -> (B, 1, q_rank + rank + rope), and what undoes the joining."""
    layers = [attention.q_a_proj, attention.kv_a_proj_with_mqa]
    if any(not isinstance(layer, nn.QuantizedLinear) or layer.mode != "affine" for layer in layers):
        raise Unavailable("mla_norm_rope needs affine quantised projections")
    bits, group_size = layers[0].bits, layers[0].group_size
    if (bits, group_size) != (layers[1].bits, layers[1].group_size) or any("bias" in layer for layer in layers):
        raise Unavailable("mla_norm_rope needs projections of one bit width and group size without bias")
    joined = join(layers)
    weight, scales, biases = (joined[part] for part in PARTS)

    def matmul(x: mx.array) -> mx.array:
        return mx.quantized_matmul(x, weight, scales, biases, True, group_size, bits)

    return matmul, lambda: separate(layers)


def front_of(attention: Any, backend: str) -> Front:
    """Read a latent attention; raise Unavailable where the launches would not do what it does."""
    require_parts("mla_norm_rope", attention, "rope", "kv_a_layernorm", "kv_lora_rank")
    if getattr(attention, "q_lora_rank", None) is None:
        raise Unavailable("mla_norm_rope needs a q of low rank")
    rope, norms = attention.rope, (attention.q_a_layernorm, attention.kv_a_layernorm)
    if not isinstance(rope, nn.RoPE) or not rope.traditional or rope.scale != 1.0:
        raise Unavailable("mla_norm_rope serves the traditional nn.RoPE, unscaled")
    sizes = Sizes(
        attention.q_lora_rank,
        attention.kv_lora_rank,
        attention.num_heads,
        attention.qk_nope_head_dim,
        attention.qk_rope_head_dim,
    )
    if rope.dims != sizes.rope or sizes.nope % COPIES or sizes.nope // COPIES + sizes.rope // 2 > 1024:
        raise Unavailable(f"mla_norm_rope does not serve heads of {sizes.nope} and {sizes.rope} elements")
    if sizes.q_rank % READS[backend] or sizes.rank % READS[backend]:
        raise Unavailable(f"ranks of {sizes.q_rank} and {sizes.rank}; multiples of {READS[backend]} are served")
    longest = max(sizes.q_rank, sizes.rank)
    if longest > LARGEST[backend]:
        raise Unavailable(f"rows of {longest} elements; at most {LARGEST[backend]} are served on {backend}")
    dtypes = {norm.weight.dtype for norm in norms}
    if len(dtypes) != 1 or norms[0].weight.dtype.size != 2:
        raise Unavailable("mla_norm_rope serves activations of one 2-byte type")
    return Front(sizes, norms[0].weight.dtype, READS[backend], (norms[0].eps, norms[1].eps), rope.base)


def _rounded(scale: float, dtype: mx.Dtype) -> float:
    value: Any = mx.array(scale, dtype).item()
    return float(value)


def norm_rope(
    attention: Any,
    backend: str,
    settle: Settle,
    *,
    nope_scale: float = 1.0,
    pe_scale: float = 1.0,
    rows: bool = False,
    with_q_b: bool = False,
) -> Between:
    """Return norm_rope(projected (B, 1, q_rank + rank + rope), offset) -> q_nope, q_pe, kv_latent, k_pe.

    q_nope and q_pe come multiplied by their scales, rounded to their dtype as everything else; with `rows` the q_pe
    of one sequence comes as (1, 1, H, rope); `with_q_b`, on CUDA only, makes all of it one launch.
    """
    front = front_of(attention, backend)
    weights = attention.q_a_layernorm.weight, attention.kv_a_layernorm.weight
    nope, pe = (_rounded(scale, front.dtype) for scale in (nope_scale, pe_scale))
    if with_q_b:
        from .cuda import norms_q_b_heads

        launch = norms_q_b_heads(front, attention, (nope, pe), rows=rows)
        return lambda projected, offset: launch(projected, positions(offset))
    q_b_proj = attention.q_b_proj
    settled: dict[tuple[int, int], tuple[Call, Call]] = {}

    def first(b: int, offsets: int) -> tuple[Call, Call]:
        heads = front.heads(b, offsets, (nope, pe), rows=rows and b == 1)
        found = settled[b, offsets] = settle(front.norms(b, offsets)), settle(heads)
        return found

    def call(projected: mx.array, offset: Any) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        offsets = positions(offset)
        key = projected.shape[0], offsets.size
        norms, heads = settled.get(key) or first(*key)
        q_normed, kv_latent, k_pe = norms(inputs=[projected, *weights, offsets])
        q_nope, q_pe = heads(inputs=[q_b_proj(q_normed), offsets])
        return q_nope, q_pe, kv_latent, k_pe

    return call


_latest: dict[int, mx.array] = {}


def positions(offset: Any) -> mx.array:
    """Return a cache's offset as int32 (1,) or (B,); every layer of a token gets the same array."""
    if isinstance(offset, mx.array):
        return offset.reshape(-1).astype(mx.int32)
    found = _latest.get(offset)
    if found is None:
        _latest.clear()
        found = _latest[offset] = mx.array([offset], mx.int32)
    return found
