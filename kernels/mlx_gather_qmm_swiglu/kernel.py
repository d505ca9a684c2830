"""The experts' gate, up and SwiGLU as MLX's own `gather_qmm_swiglu`, where its build has one: x (B, L, D), inds
(B, L, k) uint32 -> h (B, L, k, I) in x's dtype.

No released MLX has it. The predecessor of this project patched it in, beside `gather_qmm` and called in its manner:

    gather_qmm_swiglu(x, gate_w, gate_scales, gate_biases, up_w, up_scales, up_biases, *, lhs_indices=None,
                      rhs_indices=None, transpose=True, group_size=64, bits=4)

with x (..., M, D) and rhs_indices giving each row's expert. Its Metal source takes D in multiples of 512, I in
multiples of 8.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_primitive

from .._lib.gpu.moe_block import check_block

Packed = tuple[mx.array, mx.array, mx.array]


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block; raise Unavailable for weights that the primitive does not take."""
    del request
    operation = require_primitive("mlx_gather_qmm_swiglu", "gather_qmm_swiglu")
    check_block(module)
    gate, up = module.switch_mlp.gate_proj, module.switch_mlp.up_proj
    packed = (*_packed(gate), *_packed(up))
    if (gate.group_size, gate.bits) != (up.group_size, up.bits):
        raise Unavailable("gate and up are quantised in different ways")
    group_size, bits = gate.group_size, gate.bits

    def call(x: mx.array, inds: mx.array) -> mx.array:
        rows = mx.expand_dims(x, (-2, -3))
        h: mx.array = operation(rows, *packed, rhs_indices=inds, transpose=True, group_size=group_size, bits=bits)
        return h.squeeze(-2)

    return Binding(call)


def _packed(projection: Any) -> Packed:
    """Return weights (E, I, D * bits / 32) uint32, scales and biases (E, I, D / group_size)."""
    found = tuple(getattr(projection, name, None) for name in ("mode", "bits", "group_size"))
    if found[0] != "affine" or found[1] not in (4, 8) or found[2] not in (32, 64, 128):
        given = f"{found[0]}, {found[1]} bit in groups of {found[2]}"
        raise Unavailable(f"weights are {given}; affine ones of 4 or 8 bit in groups of 32, 64 or 128 are served")
    if "bias" in projection:
        raise Unavailable("a projection with a bias of its own is not served")
    return projection.weight, projection.scales, projection.biases
