"""The CUDA sources over packed floats, in the shim, bit for bit against MLX's chain of roundings in NumPy.

The chain is what the sources and the binaries of MLX 0.32.4 say; that a GPU's own MLX has these bits is what
test_on_gpu_packed.py asks.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, gpu
from tests.kernels.bf16 import Floats, read
from tests.kernels.cuda_launch import changed, run
from tests.kernels.float_chain import Packed, cancelling, chosen, dense_of_4, mirrored_rows, nearest, swiglu

pytestmark = pytest.mark.process

plan_swiglu, plan_down = gpu.module("packed_experts.cuda").plan, gpu.module("packed_down_combine.cuda").plan
together = gpu.module("packed_moe.cuda")
Form = gpu.module("_lib.gpu.packed_weights").Form
Packing = gpu.module("_lib.packings").Packing

MXFP4, MXFP8, NVFP4 = Packing(32, 4, "mxfp4"), Packing(32, 8, "mxfp8"), Packing(16, 4, "nvfp4")
EXPERTS, TOP, ROWS = 3, 4, 8
TOKENS = (1, 2)
"""Four slots and eight, from which on MLX takes other packings to the tensor cores."""


def width(packing: Any) -> int:
    """Weights of a row: a whole step of the warp, and two groups or four after it."""
    return 32 * 128 // packing.bits + 64


def routes(tokens: int) -> mx.array:
    return mx.array(np.random.default_rng(3).integers(0, EXPERTS, size=(tokens, 1, TOP)).astype(np.uint32))


def sums(x: Floats, rows: Packed, inds: mx.array, packing: Any) -> Floats:
    """(slots, ROWS) of x (slots, K) times the rows of each slot's expert."""
    picked = np.array(inds).reshape(-1)
    return np.stack([chosen(x[i], rows.values[e], rows.scales[e], packing) for i, e in enumerate(picked)])


def combined(y: Floats, scores: Floats, dtype: mx.Dtype) -> Floats:
    """(tokens, ROWS) of y (tokens, k, ROWS) times scores in float32, added in order."""
    total = np.zeros((len(y), y.shape[-1]), np.float32)
    for e in range(y.shape[1]):
        total = total + nearest(y[:, e], dtype) * scores[:, e, None]
    return nearest(total, dtype)


def down(packing: Any, tokens: int, dtype: mx.Dtype, *planted: str) -> tuple[Floats, Floats]:
    """What the launch of down and combine gives, and what MLX gives."""
    k, inds = width(packing), routes(tokens)
    rows = mirrored_rows(packing, EXPERTS, ROWS, k=k, seed=1)
    h = cancelling(tokens, 1, TOP, k, dtype=dtype)
    scores = experts.weights((tokens, 1), TOP, mx.float32)
    launch = plan_down(Form(packing), inds.shape, ROWS, k, dtype, mx.float32)
    launch = changed(launch, *planted) if planted else launch
    scale = rows.codes_of_scales
    (out,) = run(launch, h, inds, scores, rows.words, scale, scale, scale)
    y = sums(read(h).reshape(-1, k), rows, inds, packing).reshape(tokens, TOP, ROWS)
    return read(out).reshape(tokens, ROWS), combined(y, read(scores).reshape(tokens, TOP), dtype)


EACH = [(MXFP4, mx.bfloat16), (MXFP8, mx.float16), (NVFP4, mx.bfloat16)]


@pytest.mark.parametrize(("packing", "dtype"), EACH, ids=lambda part: getattr(part, "mode", None))
def test_down_and_combine_have_the_chains_bits(packing: Any, dtype: mx.Dtype) -> None:
    for tokens in TOKENS:
        ours, right = down(packing, tokens, dtype)
        np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize(("packing", "dtype"), EACH[:1], ids=lambda part: getattr(part, "mode", None))
def test_gate_and_up_have_the_chains_bits(packing: Any, dtype: mx.Dtype) -> None:
    k = width(packing)
    gate, up = (mirrored_rows(packing, EXPERTS, ROWS, k=k, seed=seed) for seed in (1, 2))
    for tokens in TOKENS:
        inds = routes(tokens)
        x = cancelling(tokens, 1, k, dtype=dtype)
        scales = gate.codes_of_scales, up.codes_of_scales
        arrays = (gate.words, scales[0], scales[0], up.words, scales[1], scales[1], *scales)
        (h,) = run(plan_swiglu(Form(packing), inds.shape, k, ROWS, dtype), x, inds, *arrays)
        of_slots = np.repeat(read(x).reshape(tokens, k), TOP, axis=0)
        right = swiglu(*(sums(of_slots, rows, inds, packing) for rows in (gate, up)), dtype)
        np.testing.assert_array_equal(read(h).reshape(-1, ROWS), right)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            "fmaf(__fadd_rn(sums[0], sums[1]), scale[step][group], sum)",
            "__fadd_rn(__fmul_rn(__fadd_rn(sums[0], sums[1]), scale[step][group]), sum)",
        ),
        pytest.param(
            "float_scale<GROUP>(scales[group + i])", "float_scale<GROUP>(scales[group])", marks=pytest.mark.slow
        ),
    ],
)
def test_another_chain_has_other_bits(right: str, wrong: str) -> None:
    ours, stocks = down(NVFP4, 1, mx.bfloat16, right, wrong)
    assert (ours != stocks).any()


def test_the_shared_expert_is_multiplied_as_no_chosen_one_is() -> None:
    """Below compute capability 10, as the shim is."""
    packing, dtype, k = MXFP4, mx.bfloat16, width(MXFP4)
    inds = routes(1)
    gate, up = (mirrored_rows(packing, EXPERTS, ROWS, k=k, seed=seed) for seed in (1, 2))
    x = cancelling(1, 1, k, dtype=dtype)
    routed = [(rows.words, rows.codes_of_scales, rows.codes_of_scales) for rows in (gate, up)]
    every = [*routed[0], *routed[1], *(part[0] for rows in routed for part in rows)]
    (h,) = run(together.plan_experts(packing, TOP, k, ROWS, dtype), x, inds, *every)
    values, of_slots = read(x).reshape(k), np.repeat(read(x).reshape(1, k), TOP, axis=0)
    chosen_ones = swiglu(*(sums(of_slots, rows, inds, packing) for rows in (gate, up)), dtype)
    first = [(rows.values[0], rows.scales[0]) for rows in (gate, up)]
    shared = swiglu(*(dense_of_4(values, *rows, dtype) for rows in first), dtype)
    np.testing.assert_array_equal(read(h)[:TOP], chosen_ones)
    np.testing.assert_array_equal(read(h)[TOP], shared)
    assert (shared != swiglu(*(chosen(values, *rows, packing) for rows in first), dtype)).any()
