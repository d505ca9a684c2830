"""Gather, gate and up of many packings, and SwiGLU in one launch: x (B, L, D), inds (B, L, k) -> h (B, L, k, I).

x and h are bfloat16 or float16; kernel.toml lists the packings. Gate and up are packed in the same way; their rows may
have biases, and SwiGLU may be the clamped one of gpt-oss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.gathered import gate_and_up, most_rows
from .._lib.gpu.launch import require, why_not
from .._lib.gpu.packed_weights import Form, biases_of, clamp_of, packed, stays
from .._lib.gpu.settle import by_shape, settler
from .gpu import plan

Run = Callable[..., list[mx.array]]


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    del mode
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block; raise Unavailable for other weights, another activation or a sharded model."""
    require("packed_experts", request)
    clamp = clamp_of(module)

    def run(form: Form) -> Run:
        if request.backend == "cuda":
            from . import cuda

            return cuda.run(form, module.switch_mlp.gate_proj.weight.shape)
        return by_shape(settler("metal"), functools.partial(plan, form))

    return Binding(experts(module.switch_mlp, request.backend, run, clamp))


def experts(
    switch: Any,
    backend: str,
    run: Callable[[Form], Run],
    clamp: tuple[float, float] | None = None,
) -> Callable[[mx.array, mx.array], mx.array]:
    """Return experts(x, inds) over the SwitchGLU's packed weights, which what `run` returns takes after them.

    More experts, counted over the tokens, than the backend's launches serve stay with MLX.
    """
    packing, (gate, up) = packed("packed_experts", backend, switch.gate_proj, switch.up_proj)
    biases = biases_of("packed_experts", backend, switch.gate_proj, switch.up_proj)
    launch = run(Form(packing, bool(biases), clamp))
    most = most_rows(packing, gate.w.shape[1], backend)

    def call(x: mx.array, inds: mx.array) -> mx.array:
        if inds.size > most or stays(x, gate, biases):
            return gate_and_up(switch, x, inds)
        return launch(x, inds, *gate, *up, *(biases or (gate.scales, up.scales)))[0]

    return call
