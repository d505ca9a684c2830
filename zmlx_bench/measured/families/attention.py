"""Grouped-query attention with a norm on every head of q and k: its steps up to the cache, and its composition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import scaled_dot_product_attention

from zmlx_bench.measured.families.decode import append, projection
from zmlx_bench.measured.host import Halves, Host
from zmlx_bench.measured.inputs import all_bytes, hidden, offset
from zmlx_bench.measured.steps import Block, Call, Calls, Step

_attend: Any = scaled_dot_product_attention
RAW = {"q": "(B, L, Hq * hd)", "k": "(B, L, Hk * hd)", "v": "(B, L, Hk * hd)"}
TURNED = {"q": "(B, Hq, L, hd)", "k": "(B, Hk, L, hd)"}


def _stock_qkv(attention: Any) -> Call:
    q_proj, k_proj, v_proj = attention.q_proj, attention.k_proj, attention.v_proj

    def qkv(x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        return q_proj(x), k_proj(x), v_proj(x)

    return qkv


def _stock_values(attention: Any) -> Call:
    heads = attention.n_kv_heads

    def values(v: mx.array) -> mx.array:
        B, L, _ = v.shape
        return v.reshape(B, L, heads, -1).transpose(0, 2, 1, 3)

    return values


@dataclass(frozen=True)
class GroupedQuery:
    """What such an attention calls its parts."""

    q_norm: str = "q_norm"
    k_norm: str = "k_norm"
    out: str = "o_proj"

    @property
    def block(self) -> Block:
        """The steps from x to the cache."""
        return Block(
            "attention",
            (
                Step("qkv", {"x": "(B, L, D)"}, RAW, _stock_qkv, all_bytes("q_proj", "k_proj", "v_proj")),
                Step("", {"v": RAW["v"]}, {"v": "(B, Hk, L, hd)"}, _stock_values),
                Step(
                    "qk_norm_rope",
                    {"q": RAW["q"], "k": RAW["k"], "offset": "int or int32 (1,) or (B,)"},
                    TURNED,
                    self._stock_norm_rope,
                    all_bytes(self.q_norm, self.k_norm),
                ),
            ),
            {"x": hidden, "offset": offset},
            results=("q", "k", "v"),
        )

    def host(self, attention: Any) -> Host:
        """Return the host of one attention."""
        return Host(attention, self.block, self._compose)

    def _stock_norm_rope(self, attention: Any) -> Call:
        q_norm, k_norm, rope = attention[self.q_norm], attention[self.k_norm], attention.rope
        of_q, of_k = attention.n_heads, attention.n_kv_heads

        def norm_rope(q: mx.array, k: mx.array, offset: Any) -> tuple[mx.array, mx.array]:
            B, L, _ = q.shape
            q = q_norm(q.reshape(B, L, of_q, -1)).transpose(0, 2, 1, 3)
            k = k_norm(k.reshape(B, L, of_k, -1)).transpose(0, 2, 1, 3)
            return rope(q, offset=offset), rope(k, offset=offset)

        return norm_rope

    def _compose(self, attention: Any, calls: Calls) -> Halves:
        out_proj = projection(attention[self.out])

        def after(out: mx.array) -> Any:
            B, _, L, _ = out.shape
            if L > 1:
                out = out.transpose(0, 2, 1, 3)
            return out_proj(out.reshape(B, L, -1))

        return Halves(self.block.compose(attention, calls), attend_with(attention.scale), after)


def attend_with(scale: float) -> Callable[[Sequence[mx.array], Any, Any], Any]:
    """Return attend((q, k, v), mask, cache) -> (B, Hq, L, hd), which appends k and v to the cache."""

    def attend(parts: Sequence[mx.array], mask: Any, cache: Any) -> Any:
        q, k, v = parts
        if cache is not None:
            k, v = append(cache, k, v)
        return _attend(q, k, v, cache=cache, scale=scale, mask=mask)

    return attend
