"""The lab's `gather_qmm_swiglu` with our native extension inside: what a patched MLX brings, for an MLX without it.

Environments of tests get this file as a package of their own, so it imports nothing of the project.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import mlx.core as mx


def load(library: str) -> ModuleType:
    """Return the native extension that lies at `library`."""
    spec = importlib.util.spec_from_file_location("_zmlx_native", library)
    assert spec is not None
    assert spec.loader is not None
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    return native


def primitive(native: ModuleType) -> Any:
    """Return the function as the lab's patch has it: in the manner of `gather_qmm`."""

    def gather_qmm_swiglu(
        x: mx.array,
        gate_w: mx.array,
        gate_scales: mx.array,
        gate_biases: mx.array,
        up_w: mx.array,
        up_scales: mx.array,
        up_biases: mx.array,
        *,
        lhs_indices: mx.array | None = None,
        rhs_indices: mx.array | None = None,
        transpose: bool = True,
        group_size: int = 64,
        bits: int = 4,
    ) -> mx.array:
        assert (lhs_indices, transpose, x.shape[-3:-1]) == (None, True, (1, 1))
        gate, up = (gate_w, gate_scales, gate_biases), (up_w, up_scales, up_biases)
        h = native.gather_qmm_swiglu(x.squeeze((-3, -2)), gate, up, rhs_indices, group_size=group_size, bits=bits)
        return mx.expand_dims(h, -2)

    return gather_qmm_swiglu
