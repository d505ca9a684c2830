"""Down projection of many packings and weighted sum in one launch; what the experts give is never stored.

h (B, L, k, I), inds (B, L, k) uint32, scores (B, L, k) -> out (B, L, D). h and out are bfloat16 or float16, scores that
or float32; kernel.toml lists the packings. Rows of down may have biases.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.gathered import down as stock_down
from .._lib.gpu.gathered import most_rows
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
    """Bind to a MoE block; raise Unavailable for other weights or a sharded model."""
    require("packed_down_combine", request)
    clamp_of(module)

    def run(form: Form) -> Run:
        if request.backend == "cuda":
            from . import cuda

            return cuda.run(form, module.switch_mlp.down_proj.weight.shape)
        return by_shape(settler("metal"), functools.partial(plan, form))

    return Binding(down_combine(module.switch_mlp, request.backend, run))


def down_combine(
    switch: Any, backend: str, run: Callable[[Form], Run]
) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    """Return down_combine(h, inds, scores) over the SwitchGLU's packed weights, which what `run` returns takes last.

    More experts, counted over the tokens, than the backend's launches serve stay with MLX.
    """
    packing, (down,) = packed("packed_down_combine", backend, switch.down_proj)
    biases = biases_of("packed_down_combine", backend, switch.down_proj)
    launch = run(Form(packing, bool(biases)))
    most = most_rows(packing, down.w.shape[1], backend)

    def call(h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        if inds.size > most or stays(h, down, biases):
            y = stock_down(switch, h, inds)
            out: mx.array = (y * scores[..., None]).sum(axis=-2).astype(y.dtype)
            return out
        return launch(h, inds, scores, *down, *(biases or (down.scales,)))[0]

    return call
