"""A projection to many outputs in the shim, next to float64; test_on_gpu_graph.py compares its bits with MLX's."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, gpu
from tests.kernels.cuda_launch import ERROR, changed, error, run
from tests.kernels.experts import activations, doubles
from tests.shim.run import ShimError

pytestmark = pytest.mark.process
kernel = gpu.module("many_rows.kernel")
N, K = 256, 2048
dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])


def case(dtype: mx.Dtype) -> tuple[mx.array, list[mx.array]]:
    return activations("normal", 1, 1, K, dtype=dtype), list(
        experts.packed(np.random.default_rng(3), N, K, dtype=dtype)
    )


@dtypes
def test_rows_are_near_to_float64(dtype: mx.Dtype) -> None:
    x, weights = case(dtype)
    (ours,) = run(kernel.plan(N, K, dtype), x, *weights)
    w, s, z = weights
    exact = doubles(mx.dequantize(w, s.astype(mx.float32), z.astype(mx.float32), 64, 4)) @ doubles(x).reshape(-1)
    assert error(ours, exact) < ERROR["slots"]


PLANTED = {
    "a warp's rows": ("threadIdx.x / 32) * ROWS", "threadIdx.x / 32) * FEW"),
    "the next few": ("first + row + FEW + i", "first + row + i"),
    "where they go": ("out[first + row + i]", "out[first + i]"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_is_found(planted: str) -> None:
    x, weights = case(mx.bfloat16)
    launch = kernel.plan(N, K, mx.bfloat16)
    (sound,) = run(launch, x, *weights)
    try:
        (ours,) = run(changed(launch, *PLANTED[planted]), x, *weights)
    except ShimError:
        return
    assert not gpu.same(ours, sound)
