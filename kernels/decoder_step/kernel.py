"""A decode step of a stack of MoE layers for one sequence: between two caches the output projection and four launches.

Add, norm, projections, head norms and rotation are one launch, four blocks a head; add, norm and gate another; the
router runs in every block of the experts. Every rounding is meant to be the unpatched model's, which
test_on_gpu_step.py shows or refutes. CUDA only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Binding, BindRequest, Steps, Unavailable, projection, require_kind, require_parts

from .._lib.gpu.cuda import CudaLaunch, prepare
from .._lib.gpu.launch import require, why_not
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import settler
from ..gather_qmm_down_combine.cuda import plan as plan_down
from ..qk_norm_rope.heads import Heads
from ..qkv_joined.kernel import PARTS, join, projections, separate
from ..residual_norm import kernel as residual_norm
from . import cuda

Front = Callable[[mx.array, mx.array, mx.array, mx.array], Any]
Mlp = Callable[[mx.array, mx.array], tuple[mx.array, mx.array, mx.array]]


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to the stack of decoder layers; raise Unavailable where a layer is not served."""
    require("decoder_step", request)
    require_kind("decoder_step", request, "router", "softmax")
    return decoder_step(module)


def decoder_step(stack: Any) -> Binding:
    """Return the steps of a stack of layers; join the projections of all its attentions."""
    require_parts("decoder_step", stack, "pipeline_layers", "pipeline_size", "norm")
    layers = stack.pipeline_layers
    for each in layers:
        require_parts("decoder_step", each, "input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
    if stack.pipeline_size > 1 or any("switch_mlp" not in each.mlp for each in layers):
        raise Unavailable("decoder_step needs a whole stack of MoE layers")
    if any(getattr(each.mlp, "sharding_group", None) is not None for each in layers):
        raise Unavailable("the model is sharded")
    if len({(_first_ticket(each), _tickets(each)) for each in layers}) > 1:
        raise Unavailable("decoder_step needs layers with the same heads and as many experts a token")
    mlps = [_mlp(each) for each in layers]
    last_norm = residual_norm.stock(stack.norm, "cuda", settler("cuda"))
    launches = [_plan(each, add=i > 0) for i, each in enumerate(layers)]
    # Weights are joined last: whatever may be unavailable has been asked for.
    fronts = [_front(each, launch) for each, launch in zip(layers, launches, strict=True)]

    def undo() -> None:
        for each in layers:
            separate(_projections(each))

    tickets = _first_ticket(layers[0]) + _tickets(layers[0])

    def head(h: mx.array, offset: mx.array) -> Any:
        return fronts[0](h, h, offset, mx.zeros((tickets,), mx.uint32))[1:]

    between = [_between(mlp, front) for mlp, front in zip(mlps[:-1], fronts[1:], strict=True)]

    def tail(out: mx.array, h: mx.array) -> Any:
        return last_norm(*mlps[-1](out, h)[:2])[1]

    return Binding(Steps(head, between, tail), undo)


def _projections(layer: Any) -> list[Any]:
    return projections(layer.self_attn)


def _between(mlp: Mlp, front: Front) -> Callable[..., Any]:
    def between(out: mx.array, h: mx.array, offset: mx.array) -> Any:
        h, r, tickets = mlp(out, h)
        return front(h, r, offset, tickets)

    return between


def _plan(layer: Any, *, add: bool) -> CudaLaunch:
    projections = _projections(layer)
    if any(not isinstance(each, nn.QuantizedLinear) for each in projections):
        raise Unavailable("decoder_step needs quantised projections")
    packed = [weights_of(each) for each in projections]
    d, dtype = packed[0].w.shape[1] * 8, packed[0].scales.dtype
    heads = Heads.of(layer.self_attn, "cuda")
    return cuda.plan_heads(layer.input_layernorm, heads, d, dtype, add=add, first_ticket=_first_ticket(layer))


def _first_ticket(layer: Any) -> int:
    """Return where the tickets of a step's heads begin: behind the experts chosen in the layer before."""
    return int(layer.mlp.top_k)


def _tickets(layer: Any) -> int:
    """Return how many tickets the heads of a step take."""
    return int(layer.self_attn.n_heads + layer.self_attn.n_kv_heads)


def _front(layer: Any, launch: CudaLaunch) -> Front:
    joined = join(_projections(layer))
    call = prepare(launch)
    attention = layer.self_attn
    rest = (layer.input_layernorm.weight, *(joined[part] for part in PARTS))
    norms = (attention.q_norm.weight, attention.k_norm.weight)

    def front(x: mx.array, r: mx.array, offset: mx.array, tickets: mx.array) -> Any:
        return call(inputs=[x, r, *rest, *norms, offset, tickets])

    return front


def _mlp(layer: Any) -> Mlp:
    block, norm = layer.mlp, layer.post_attention_layernorm
    gate, switch = block.gate, block.switch_mlp
    gates = prepare(cuda.plan_gates(norm, gate))
    experts = prepare(cuda.plan_experts(block, _tickets(layer)))
    down = prepare(_plan_down(switch, block.top_k))
    down_arrays = weights_of(switch.down_proj)
    o_proj = projection(layer.self_attn.o_proj)
    gate_arrays = (norm.weight, gate.weight, gate.scales, gate.biases)
    expert_arrays = (*weights_of(switch.gate_proj), *weights_of(switch.up_proj))

    def mlp(out: mx.array, x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        h, normed, logits = gates(inputs=[x, o_proj(out.reshape(1, 1, -1)), *gate_arrays])
        inner, inds, scores = experts(inputs=[normed, logits, *expert_arrays])
        return h, down(inputs=[inner, inds, scores, *down_arrays])[0], inds

    return mlp


def _plan_down(switch: Any, top: int) -> CudaLaunch:
    down = weights_of(switch.down_proj)
    dtype = down.scales.dtype
    return plan_down((1, 1, top), down.w.shape[1], down.w.shape[2] * 8, dtype, dtype, "stock")
