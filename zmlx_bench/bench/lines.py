"""The lines of each family: the stock steps of mlx-lm 0.32.2, held to the unpatched model by a test."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.base import scaled_dot_product_attention

from zmlx_bench.measured.families import moe
from zmlx_bench.measured.steps import Filled, Line, Sizes, Step, Values, all_bytes, cached, expert_bytes, no_bytes

_attend: Any = scaled_dot_product_attention


def _hidden(_: Any, sizes: Sizes) -> mx.array:
    return sizes.normal(sizes.batch, 1, sizes.config["hidden_size"])


def _offset(_: Any, sizes: Sizes) -> int:
    return sizes.context


def _experts(block: Any, v: Values) -> tuple[Any, ...]:
    return (moe.stock_experts(block)(x=v["x"], inds=v["inds"]),)


def _down(block: Any, v: Values) -> tuple[Any, ...]:
    return (moe.stock_down(block)(h=v["h"], inds=v["inds"]),)


def _combine(_: Any, v: Values) -> tuple[Any, ...]:
    return (moe.stock_combine(v["y"], v["scores"]),)


def _softmax_router(block: Any, v: Values) -> tuple[Any, ...]:
    gates = mx.softmax(block.gate(v["x"]), axis=-1, precise=True)
    k = block.top_k
    inds = mx.argpartition(gates, kth=-k, axis=-1)[..., -k:]
    scores = mx.take_along_axis(gates, inds, axis=-1)
    if block.norm_topk_prob:
        scores = scores / mx.sum(scores, axis=-1, keepdims=True)
    return inds, scores


def _sigmoid_router(block: Any, v: Values) -> tuple[Any, ...]:
    inds, scores = block.gate(v["x"])
    return inds, scores


def _moe_line(router: Any, *more: Step) -> Line:
    return Line(
        (
            Step("router", ("x",), ("inds", "scores"), router, all_bytes("gate")),
            Step("experts", ("x", "inds"), ("h",), _experts, expert_bytes("gate_proj", "up_proj")),
            Step("down", ("h", "inds"), ("y",), _down, expert_bytes("down_proj")),
            Step("combine", ("y", "scores"), ("out",), _combine, no_bytes),
            *more,
        ),
        {"x": _hidden},
    )


def _add_shared(block: Any, v: Values) -> tuple[Any, ...]:
    return (v["out"] + block.shared_experts(v["x"]),)


def _residual_norm(norm: Any, v: Values) -> tuple[Any, ...]:
    h = v["x"] + v["r"]
    return h, norm(h)


def _linear_input(module: Any, sizes: Sizes) -> mx.array:
    width = module.scales.shape[-1] * module.group_size
    heads = module.weight.shape[:-2]
    # A matrix a head stands for MLA's layers, whose input has the heads before the sequence.
    return sizes.normal(sizes.batch, *heads, 1, width)


_RESIDUAL_NORM = Line(
    (Step("residual_norm", ("x", "r"), ("h", "normed"), _residual_norm, all_bytes()),),
    {"x": _hidden, "r": _hidden},
)
_LINEAR = Line(
    (Step("linear", ("x",), ("y",), lambda module, v: (module(v["x"]),), all_bytes()),), {"x": _linear_input}
)


def _qwen_qkv(attention: Any, v: Values) -> tuple[Any, ...]:
    x = v["x"]
    return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)


def _qwen_norm_rope(attention: Any, v: Values) -> tuple[Any, ...]:
    B, L, _ = v["q"].shape
    q = attention.q_norm(v["q"].reshape(B, L, attention.n_heads, -1)).transpose(0, 2, 1, 3)
    k = attention.k_norm(v["k"].reshape(B, L, attention.n_kv_heads, -1)).transpose(0, 2, 1, 3)
    return attention.rope(q, offset=v["offset"]), attention.rope(k, offset=v["offset"])


def _qwen_heads(attention: Any, v: Values) -> tuple[Any, ...]:
    B, L, _ = v["v"].shape
    return *_qwen_norm_rope(attention, v), v["v"].reshape(B, L, attention.n_kv_heads, -1).transpose(0, 2, 1, 3)


_QKV = ("q", "k", "v")
_QWEN_QKV = Step("qkv", ("x",), _QKV, _qwen_qkv, all_bytes("q_proj", "k_proj", "v_proj"))


def _projected(heads: str) -> Any:
    return lambda _, s: s.normal(s.batch, 1, s.config[heads] * s.config["head_dim"])


def _glm_qkv(attention: Any, v: Values) -> tuple[Any, ...]:
    return attention.q_a_proj(v["x"]), attention.kv_a_proj_with_mqa(v["x"])


def _glm_norm_rope(attention: Any, v: Values) -> tuple[Any, ...]:
    cache = v.get("cache")
    offset = cache.offset if cache is not None else v["offset"]
    B, L, _ = v["q_a"].shape
    q = attention.q_b_proj(attention.q_a_layernorm(v["q_a"]))
    q = q.reshape(B, L, attention.num_heads, attention.q_head_dim).transpose(0, 2, 1, 3)
    q_nope, q_pe = mx.split(q, [attention.qk_nope_head_dim], axis=-1)
    latent, k_pe = mx.split(v["compressed_kv"], [attention.kv_lora_rank], axis=-1)
    k_pe = k_pe.reshape(B, L, 1, attention.qk_rope_head_dim).transpose(0, 2, 1, 3)
    kv_latent = mx.expand_dims(attention.kv_a_layernorm(latent), axis=1)
    return q_nope, attention.rope(q_pe, offset), kv_latent, attention.rope(k_pe, offset)


def _glm_attention(attention: Any, v: Values) -> tuple[Any, ...]:
    scores = (v["q_pe"] * attention.scale) @ v["k_pe"].swapaxes(-1, -2)
    out = _attend(v["q_nope"], v["kv_latent"], v["kv_latent"], cache=None, scale=attention.scale, mask=scores)
    return (out,)


def _glm_cached_attention(attention: Any, v: Values) -> tuple[Any, ...]:
    kv_latent, k_pe = v["cache"].update_and_fetch(v["kv_latent"], v["k_pe"])
    q_nope = attention.embed_q(v["q_nope"])
    return _glm_attention(attention, {"q_nope": q_nope, "q_pe": v["q_pe"], "kv_latent": kv_latent, "k_pe": k_pe})


def _queries(size: str) -> Any:
    return lambda _, s: s.normal(s.batch, s.config["num_attention_heads"], 1, s.config[size])


def _latents(_: Any, s: Sizes) -> Filled:
    def rows(width: int) -> mx.array:
        return s.normal(s.batch, 1, s.context, width)

    return Filled(rows(s.config["kv_lora_rank"]), rows(s.config["qk_rope_head_dim"]))


_HEADS = ("q_nope", "q_pe", "kv_latent", "k_pe")
_GLM_QKV = Step("qkv", ("x",), ("q_a", "compressed_kv"), _glm_qkv, all_bytes("q_a_proj", "kv_a_proj_with_mqa"))
_GLM_NORM_ROPE_BYTES = all_bytes("q_a_layernorm", "q_b_proj", "kv_a_layernorm")


def _glm_norm_rope_step(place: str) -> Step:
    """`place` is the input that tells the position: `offset`, or `cache`."""
    return Step("qk_norm_rope", ("q_a", "compressed_kv", place), _HEADS, _glm_norm_rope, _GLM_NORM_ROPE_BYTES)


LINES: dict[str, tuple[Line, ...]] = {
    "qwen3": (
        _moe_line(_softmax_router),
        Line(
            (Step("qk_norm_rope", ("q", "k", "offset"), ("q", "k"), _qwen_norm_rope, all_bytes("q_norm", "k_norm")),),
            {"q": _projected("num_attention_heads"), "k": _projected("num_key_value_heads"), "offset": _offset},
        ),
        # Fused with the projections it gives the values too, with the heads before the sequence.
        Line(
            (_QWEN_QKV, Step("qk_norm_rope", (*_QKV, "offset"), _QKV, _qwen_heads, all_bytes("q_norm", "k_norm"))),
            {"x": _hidden, "offset": _offset},
        ),
        _RESIDUAL_NORM,
        _LINEAR,
    ),
    "glm47": (
        _moe_line(_sigmoid_router),
        Line(
            (Step("shared_experts", ("x",), ("s",), lambda mlp, v: (mlp(v["x"]),), all_bytes()),),
            {"x": _hidden},
        ),
        # Fused with the routed experts, the shared ones are part of the MoE block.
        _moe_line(
            _sigmoid_router,
            Step("shared_experts", ("out", "x"), ("out",), _add_shared, all_bytes("shared_experts")),
        ),
        Line((_GLM_QKV, _glm_norm_rope_step("offset")), {"x": _hidden, "offset": _offset}),
        Line(
            (Step("attention", _HEADS, ("out",), _glm_attention, no_bytes),),
            {
                "q_nope": _queries("kv_lora_rank"),
                "q_pe": _queries("qk_rope_head_dim"),
                "kv_latent": lambda _, s: cached(s, 1, s.config["kv_lora_rank"]),
                "k_pe": lambda _, s: cached(s, 1, s.config["qk_rope_head_dim"]),
            },
        ),
        # With the cache inside, the position and the keys before it come from the cache.
        Line(
            (
                _GLM_QKV,
                _glm_norm_rope_step("cache"),
                Step("attention", (*_HEADS, "cache"), ("out",), _glm_cached_attention, all_bytes("embed_q")),
            ),
            {"x": _hidden, "cache": _latents},
        ),
        _RESIDUAL_NORM,
        _LINEAR,
    ),
}
