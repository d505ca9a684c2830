"""The sizes of a stack with latent attention, and the arrays that its launches hand over to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.gpu.packed import Weights, weights_of
from .._lib.graph.launches import Parameter, array
from ..mla_norm_rope.kernel import front_of


@dataclass(frozen=True)
class Shape:
    """The sizes of a stack: hidden size, layers, heads, ranks of q and of the latent, a head's parts and its values,
    and the dtype of everything."""

    d: int
    layers: int
    heads: int
    q_rank: int
    rank: int
    nope: int
    rope: int
    v: int
    experts: int
    top: int
    inner: int
    """Rows of an expert, or the largest dense MLP's."""
    dtype: mx.Dtype


def shape_of(stack: Any) -> Shape:
    """Return the sizes of a stack; raise Unavailable for one that the launches do not serve."""
    layers = stack.pipeline_layers
    fronts = {front_of(each.self_attn, "cuda") for each in layers}
    if len(fronts) != 1:
        raise Unavailable("mla_graph needs layers with the same attention")
    (front,), attention = fronts, layers[0].self_attn
    d, dtype, of = stack.norm.weight.size, stack.norm.weight.dtype, front.sizes
    if dtype != mx.bfloat16:
        raise Unavailable(f"the model is {dtype}; mla_graph has been compared with stock in bfloat16 only")
    blocks = [each.mlp for each in layers if "switch_mlp" in each.mlp]
    if not blocks:
        raise Unavailable("mla_graph needs a layer with experts")
    tops = {block.gate.top_k for block in blocks}
    if len(tops) != 1:
        raise Unavailable("mla_graph needs layers that choose as many experts")
    inner = max(_rows_of_mlp(each.mlp) for each in layers)
    experts = weights_of(blocks[0].switch_mlp.gate_proj).w.shape[0]
    return Shape(
        d,
        len(layers),
        of.heads,
        of.q_rank,
        of.rank,
        of.nope,
        of.rope,
        attention.v_head_dim,
        experts,
        tops.pop(),
        inner,
        dtype,
    )


def _rows_of_mlp(mlp: Any) -> int:
    if "switch_mlp" in mlp:
        return int((mlp.gate.top_k + 1) * mlp.switch_mlp.gate_proj.weight.shape[1])
    return int(mlp.gate_proj.weight.shape[0])


class Between:
    """The arrays that launches hand over to each other; one set, since steps follow each other."""

    def __init__(self, s: Shape) -> None:
        def room(name: str, size: int, dtype: mx.Dtype = s.dtype) -> Parameter:
            # MLX keeps 8 bytes and less with the host.
            return Parameter(name, mx.zeros((max(size, 64),), dtype), dtype)

        # An add reads one residual stream and writes the other.
        self.x = (room("x", s.d), room("x", s.d))
        self.r, self.normed = room("r", s.d), room("normed", s.d)
        self.projected = room("projected", s.q_rank + s.rank + s.rope)
        self.q_nope, self.q_pe = room("q_nope", s.heads * s.nope), room("q_pe", s.heads * s.rope)
        self.q_latent, self.attended = room("q_latent", s.heads * s.rank), room("attended", s.heads * s.rank)
        self.out = room("out", s.heads * s.v)
        self.gates, self.inner = room("all_gates", s.experts), room("h", s.inner)
        self.chosen, self.scores = room("chosen", s.top, mx.uint32), room("weights", s.top, mx.float32)
        self.offsets = room("offsets", 2, mx.int32)
        rooms = [*self.x, *(each for each in vars(self).values() if isinstance(each, Parameter))]
        mx.eval([each.value for each in rooms])


def packed(prefix: str, weights: Weights) -> list[Parameter]:
    """Return the parameters of packed weights: `<prefix>w`, `<prefix>s`, `<prefix>b`."""
    return [array(f"{prefix}{part}", each) for part, each in zip("wsb", weights, strict=True)]
