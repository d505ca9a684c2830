"""A launch of every Metal source in bfloat16 at the sizes of the published models, for one token and the most served.

Nothing is evaluated: the inputs are shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx

from tests.kernels.gpu import module

BF16, U32, F32 = mx.bfloat16, mx.uint32, mx.float32
QWEN = {"hidden": 2048, "experts": 128, "inner": 768, "k": 8}
GLM = {"hidden": 2048, "experts": 64, "inner": 1536, "k": 4}
PACKINGS = ((64, 8, "affine"), (32, 4, "affine"), (32, 4, "mxfp4"), (32, 8, "mxfp8"), (16, 4, "nvfp4"))
TOKENS = (1, 4)


def some(*shape: int, dtype: mx.Dtype = BF16) -> mx.array:
    return mx.zeros(shape, dtype)


def packed(*shape: int, packing: tuple[int, int, str] = (64, 4, "affine")) -> list[mx.array]:
    """Words, scales and biases of rows `shape`."""
    (*rows, k), (group, bits, mode) = shape, packing
    scales = mx.zeros((*rows, k // group), BF16 if mode == "affine" else mx.uint8)
    return [mx.zeros((*rows, k * bits // 32), U32), scales, scales]


def every() -> Iterator[Any]:
    """Yield the launches."""
    for tokens in TOKENS:
        yield from experts(tokens)
        yield from packed_experts(tokens)
        yield from norms_and_heads(tokens)
        yield from routers(tokens)
    yield from together()
    yield from latent()


def experts(tokens: int) -> Iterator[Any]:
    """Yield the experts of affine 4 bit, the shared ones and the combine."""
    swiglu, down, combine = (
        module(f"{name}.gpu") for name in ("gather_qmm_swiglu", "gather_qmm_down_combine", "moe_combine")
    )
    for sizes in (QWEN, GLM):
        d, e, i, k = sizes.values()
        x, inds, h = some(1, tokens, d), some(1, tokens, k, dtype=U32), some(1, tokens, k, i)
        scores = some(1, tokens, k, dtype=BF16 if sizes is QWEN else F32)
        for mode in ("stock", "fp32", "fp32_no_fma") if sizes is QWEN else ("stock",):
            yield swiglu.plan(mode, x, inds, *(2 * packed(e, i, d)))
            yield down.plan(mode, h, inds, scores, *packed(e, d, i))
        for mode in combine.MODES:
            yield combine.plan(mode, some(1, tokens, k, d), scores)
    shared = module("shared_experts.gpu")
    d, _, i, _ = GLM.values()
    for mode in ("stock", "fp32"):
        rows = packed(i, d)
        yield shared.plan(mode, "applegpu_g16s", some(1, tokens, d), *rows, *rows)


def packed_experts(tokens: int) -> Iterator[Any]:
    """Yield the experts of the other packings, with a bias and the clamp too."""
    several, down = module("packed_experts.gpu"), module("packed_down_combine.gpu")
    form, packing_of = module("_lib.gpu.packed_weights").Form, module("_lib.packings").Packing
    d, e, i, k = QWEN.values()
    x, inds, scores = some(1, tokens, d), some(1, tokens, k, dtype=U32), some(1, tokens, k)
    for packing in PACKINGS:
        rows, downs = packed(e, i, d, packing=packing), packed(e, d, i, packing=packing)
        for biased in (False, True) if packing[2] == "mxfp4" else (False,):
            how = form(packing_of(*packing), biased, (1.702, 7.0) if biased else None)
            bias, of_down = (some(e, i), some(e, d)) if biased else (rows[1], downs[1])
            yield several.plan(how, x, inds, *rows, *rows, bias, bias)
            yield down.plan(how, some(1, tokens, k, i), inds, scores, *downs, of_down)


def together() -> Iterator[Any]:
    """Yield the routed experts with the shared one, which take one token."""
    affine, many, packing_of = module("gather_qmm_moe.gpu"), module("packed_moe.gpu"), module("_lib.packings").Packing
    d, e, i, k = GLM.values()
    x, h = some(1, 1, d), some(k + 1, i)
    inds, scores = some(1, 1, k, dtype=U32), some(1, 1, k, dtype=F32)

    def rows(packing: tuple[int, int, str]) -> tuple[list[mx.array], list[mx.array]]:
        gates = [part for shape in ((e, i, d), (i, d)) for part in 2 * packed(*shape, packing=packing)]
        downs = [part for shape in ((e, d, i), (d, i)) for part in packed(*shape, packing=packing)]
        return gates, downs

    gates, downs = rows((64, 4, "affine"))
    yield affine.plan_experts(x, inds, *gates)
    yield affine.plan_downs(h, inds, scores, *downs)
    for packing in PACKINGS:
        gates, downs = rows(packing)
        yield many.plan_experts(packing_of(*packing), x, inds, *gates)
        yield many.plan_downs(packing_of(*packing), h, inds, scores, *downs)


def routers(tokens: int) -> Iterator[Any]:
    """Yield the routers."""
    plain, forms = module("moe_router.gpu"), module("router_forms.gpu")
    gates, one = some(1, tokens, 128), some(1, dtype=F32)
    yield plain.plan_softmax(gates, 8, True, "metal")
    yield plain.plan_logits(gates, 8)
    yield plain.plan_sigmoid(some(1, tokens, 64, dtype=F32), some(64, dtype=F32), one, 4, True)
    yield forms.plan_top_k_softmax(some(1, tokens, 32), some(1), 4, precise=True, scaled=False)
    yield forms.plan_top_k_softmax(gates, some(128), 8, precise=False, scaled=True)
    yield forms.plan_sigmoid_groups(
        some(1, tokens, 256, dtype=F32), some(256, dtype=F32), one, 8, F32, normalize=True, guarded=False, groups=8,
        kept=4,
    )  # fmt: skip
    for corrected in (False, True):
        correction = some(128 if corrected else 1, dtype=F32)
        yield forms.plan_sigmoid_own(gates, correction, one, 8, normalize=True, corrected=corrected)


def norms_and_heads(tokens: int) -> Iterator[Any]:
    """Yield what stands between the projections and the cache, and between the layers."""
    norm, turn, joined = module("residual_norm.gpu"), module("qk_norm_rope.gpu"), module("qkv_norm_rope.gpu")
    for d in (QWEN["hidden"], norm.LARGEST):
        x, weight = some(1, tokens, d), some(d)
        yield norm.plan(x, x, weight, some(1, dtype=F32))
        yield norm.plan_stock(x, x, weight, 1e-6, "metal")
    weights, (hq, hk, hd) = (some(128), some(128)), (32, 4, 128)
    heads = module("qk_norm_rope.heads").Heads(hq, hk, hd, 4, weights, (1e-6, 1e-6), 1e6)
    for offsets in (some(1, dtype=mx.int32), some(tokens, dtype=mx.int32)):
        b, length = (1, tokens) if offsets.size == 1 else (tokens, 1)
        q, k = some(b, length, hq * hd), some(b, length, hk * hd)
        yield turn.plan(q, k, weights, some(2, dtype=F32), some(hd // 2, dtype=F32), offsets)
        yield turn.plan_stock(heads, q, k, offsets)
        yield joined.plan(heads, some(b, length, (hq + 2 * hk) * hd), offsets)


def latent() -> Iterator[Any]:
    """Yield GLM's attention: one token of one sequence and of four, contexts short and long."""
    front, decode = module("mla_norm_rope.gpu"), module("mla_decode.gpu")
    sizes, own = front.Sizes(768, 512, 20, 192, 64), decode.Sizes(20, 512, 64)
    ours = front.Front(sizes, BF16, 4, (1e-5, 1e-5), 1e6)
    for b in TOKENS:
        offsets = some(b, dtype=mx.int32)
        yield ours.norms(b, b)._replace(inputs=[some(b, 1, 768 + 512 + 64), some(768), some(512), offsets])
        yield ours.heads(b, b, (1.0, 0.5), rows=False)._replace(inputs=[some(b, 1, 20 * 256), offsets])
        for keys in (9, 300, 4096):
            scores = some(b, 20, 1, keys)
            yield decode.softmax(scores.shape, BF16, "metal")._replace(inputs=[scores, scores])
        cache = [some(b, 20, 1, 512), some(b, 20, 1, 64), some(b, 1, 600, 512), some(b, 1, 600, 64)]
        for splits in (1, decode.SPLITS):
            yield decode.attend(own, b, 0.0625, "metal", splits)._replace(inputs=cache)
        parts = [some(b, 20, decode.SPLITS, 512, dtype=F32), some(b, 20, decode.SPLITS, 2, dtype=F32)]
        yield decode.join(own, b, decode.SPLITS)._replace(inputs=parts)
