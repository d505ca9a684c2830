"""A decode step of a whole stack with latent attention for one sequence, started by the host as one CUDA graph.

Between the launches stand MLX's own products over the cache, made by cuBLASLt, whose algorithm follows the cache's
length: the next step's graph is captured while the GPU is at work on this one. Latents and positions' parts are
written where mlx-lm's own caches hold them; what the graph does not serve takes the model's own calls. CUDA only.
"""

from __future__ import annotations

from typing import Any

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_kind, require_parts

from .._lib.gpu.launch import require
from .._lib.gpu.moe_block import check_block
from .._lib.graph import NotBuilt, load, missing
from .._lib.graph.embedding import Embedding
from ..mla_norm_rope.kernel import joined_projection
from .steps import ChainSteps

ONE_BY_ONE = "stock_one_by_one"
"""The mode that captures nothing."""


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return missing() or None


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to the stack of decoder layers; raise Unavailable where one is not served or the extension is missing."""
    require("mla_graph", request)
    require_kind("mla_graph", request, "router", "sigmoid_bias")
    return mla_graph(module, ahead=request.mode != ONE_BY_ONE)


def mla_graph(stack: Any, *, ahead: bool = True) -> Binding:
    """Return the step of a stack of layers, captured `ahead` or not; join the first projections of its attentions."""
    try:
        extension = load()
    except NotBuilt as error:
        raise Unavailable(str(error)) from error
    check(stack)
    embedding = Embedding(stack.embed_tokens, stack.norm.weight.dtype)
    undos: list[Any] = [embedding.undo]
    try:
        for layer in stack.pipeline_layers:
            undos.append(joined_projection(layer.self_attn)[1])
        call = ChainSteps(stack, extension, embedding, ahead=ahead)
    except BaseException:
        _undo(undos)
        raise
    return Binding(call, lambda: _undo(undos))


def _undo(undos: list[Any]) -> None:
    for undo in undos:
        undo()


def check(stack: Any) -> None:
    """Raise Unavailable for a stack whose layers are made of other parts than the step's."""
    require_parts("mla_graph", stack, "pipeline_layers", "pipeline_size", "norm", "embed_tokens")
    if stack.pipeline_size > 1:
        raise Unavailable("mla_graph needs a whole stack of layers")
    for layer in stack.pipeline_layers:
        require_parts("mla_graph", layer, "input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
        attention = layer.self_attn
        require_parts("mla_graph", attention, "q_b_proj", "embed_q", "unembed_out", "o_proj", "v_head_dim", "scale")
        if "switch_mlp" not in layer.mlp:
            require_parts("mla_graph", layer.mlp, "gate_proj", "up_proj", "down_proj")
            continue
        check_block(layer.mlp)
        require_parts("mla_graph", layer.mlp, "shared_experts", "gate")
        gate = layer.mlp.gate
        require_parts("mla_graph", gate, "e_score_correction_bias", "n_group", "top_k")
        if gate.n_group != 1:
            raise Unavailable(f"the router selects among {gate.n_group} groups of experts; 1 is served")
