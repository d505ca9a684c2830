"""The CUDA sources over packed weights: in the shim against float64, and through NVIDIA's compiler where it is there.

Bits against stock need a GPU: test_on_gpu_packed.py.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, gpu
from tests.kernels.cuda_launch import ERROR, changed, error, run
from tests.kernels.declared import served
from tests.kernels.experts import doubles
from tests.kernels.graph import compile_text, nvrtc
from tests.shim.run import ShimError
from zmlx_bench.measured.contract import Unavailable

pytestmark = pytest.mark.process

swiglu, down = gpu.module("packed_experts.cuda"), gpu.module("packed_down_combine.cuda")
together = gpu.module("packed_moe.cuda")
check_rows, most_slots = (getattr(gpu.module("_lib.gpu.cuda_packed"), name) for name in ("check_rows", "most_slots"))
Form = gpu.module("_lib.gpu.packed_weights").Form
Packing = gpu.module("_lib.packings").Packing
_cuda, _settle = gpu.module("_lib.gpu.cuda"), gpu.module("_lib.gpu.settle")

EIGHT, FOUR, MXFP4, MXFP8, NVFP4 = (
    Packing(64, 8, "affine"),
    Packing(32, 4, "affine"),
    Packing(32, 4, "mxfp4"),
    Packing(32, 8, "mxfp8"),
    Packing(16, 4, "nvfp4"),
)
EXPERTS, TOP, HIDDEN, INNER = 5, 4, 320, 128
Rows = tuple[mx.array, mx.array, mx.array]


def rows_of(packing: Any, n: int, k: int, dtype: mx.Dtype, seed: int) -> tuple[Rows, np.ndarray]:
    """Random rows (EXPERTS, n, k) as a kernel takes them, and their values."""
    weights = (mx.random.normal((EXPERTS, n, k), key=mx.random.key(seed)) * 0.05).astype(dtype)
    w, scales, *biases = mx.quantize(weights, **packing._asdict(), stream=mx.cpu)
    wide = [part.astype(mx.float32) for part in (scales, *biases)] if biases else [scales, None]
    values = mx.dequantize(w, *wide, **packing._asdict(), dtype=mx.float32, stream=mx.cpu)
    return (w, scales, biases[0] if biases else scales), np.array(values, np.float64)


def inputs(tokens: int, last: int, dtype: mx.Dtype, *slots: int) -> mx.array:
    return mx.random.normal((tokens, 1, *slots, last), key=mx.random.key(9)).astype(dtype)


def chosen(tokens: int) -> mx.array:
    return mx.array(np.random.default_rng(3).integers(0, EXPERTS, size=(tokens, 1, TOP)).astype(np.uint32))


@pytest.mark.parametrize(
    ("packing", "tokens", "dtype"),
    [
        (EIGHT, 1, mx.bfloat16),
        pytest.param(EIGHT, 2, mx.float16, marks=pytest.mark.slow),
        pytest.param(MXFP4, 1, mx.float16, marks=pytest.mark.slow),
        (MXFP4, 2, mx.bfloat16),
        pytest.param(MXFP8, 1, mx.bfloat16, marks=pytest.mark.slow),
        pytest.param(NVFP4, 2, mx.bfloat16, marks=pytest.mark.slow),
        pytest.param(FOUR, 1, mx.bfloat16, marks=pytest.mark.slow),
        pytest.param(Packing(32, 8, "affine"), 2, mx.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_errors_against_float64(packing: Any, tokens: int, dtype: mx.Dtype) -> None:
    """Four slots, eight of integers on tensor cores."""
    bound = ERROR["tensor cores" if tokens == 2 else "slots"]
    (gate, gates), (up, ups) = (rows_of(packing, INNER, HIDDEN, dtype, seed) for seed in (0, 1))
    x, inds = inputs(tokens, HIDDEN, dtype), chosen(tokens)
    (h,) = run(swiglu.plan(Form(packing), inds.shape, HIDDEN, INNER, dtype), x, inds, *gate, *up, gate[1], up[1])
    picked = np.array(inds)
    g, u = (np.einsum("tlk,tlenk->tlen", doubles(x), part[picked]) for part in (gates, ups))
    assert error(h, g / (1 + np.exp(-g)) * u) < bound

    rows, values = rows_of(packing, HIDDEN // 64 * 64 + 64, INNER, dtype, 2)
    h, scores = inputs(tokens, INNER, dtype, TOP), experts.weights((tokens, 1), TOP, mx.float32)
    n = values.shape[1]
    (out,) = run(down.plan(Form(packing), inds.shape, n, INNER, dtype, mx.float32), h, inds, scores, *rows, rows[1])
    y = np.einsum("tlek,tlenk->tlen", doubles(h), values[picked])
    assert error(out, (y * doubles(scores)[..., None]).sum(-2)) < bound


def test_biases_and_the_clamped_activation() -> None:
    """Of eight slots, against float64."""
    dtype, inds = mx.bfloat16, chosen(2)
    (gate, gates), (up, ups) = (rows_of(MXFP4, INNER, HIDDEN, dtype, seed) for seed in (0, 1))
    biases = [mx.random.normal((EXPERTS, INNER), key=mx.random.key(seed)).astype(dtype) for seed in (4, 5)]
    x, picked = inputs(2, HIDDEN, dtype), np.array(inds)
    launch = swiglu.plan(Form(MXFP4, True, (1.702, 1.5)), inds.shape, HIDDEN, INNER, dtype)
    (h,) = run(launch, x, inds, *gate, *up, *biases)
    g, u = (
        np.einsum("tlk,tlenk->tlen", doubles(x), part[picked]) + doubles(bias)[picked]
        for part, bias in zip((gates, ups), biases, strict=True)
    )
    g, u = np.minimum(g, 1.5), np.clip(u, -1.5, 1.5)
    assert error(h, (u + 1) * g / (1 + np.exp(-1.702 * g))) < 2 * ERROR["tensor cores"]


def test_routed_and_shared_experts_together() -> None:
    """Of integers the bits of the launches of the single sites, of which the last expert stands for the shared one."""
    packing, dtype, inds = EIGHT, mx.bfloat16, chosen(1)
    every = mx.concatenate([inds, mx.full((1, 1, 1), EXPERTS - 1, mx.uint32)], axis=-1)
    (gate, _), (up, _), (rows, _) = (rows_of(packing, INNER, INNER, dtype, seed) for seed in (0, 1, 2))
    x = inputs(1, INNER, dtype)
    (h,) = run(
        together.plan_experts(packing, TOP, INNER, INNER, dtype),
        *(x, inds, *gate, *up, *(part[-1] for part in gate), *(part[-1] for part in up)),
    )
    (each,) = run(swiglu.plan(Form(packing), every.shape, INNER, INNER, dtype), x, every, *gate, *up, gate[1], up[1])
    assert gpu.same(h, each.reshape(TOP + 1, INNER))

    scores = experts.weights((1, 1), TOP, mx.float32)
    launch = together.plan_downs(packing, TOP, INNER, INNER, dtype, mx.float32)
    (out,) = run(launch, h, inds, scores, *rows, *(part[-1] for part in rows))
    one, ones = every[..., -1:], mx.ones((1, 1, 1), mx.float32)
    plan = down.plan(Form(packing), inds.shape, INNER, INNER, dtype, mx.float32)
    (routed,) = run(plan, h[:TOP].reshape(1, 1, TOP, INNER), inds, scores, *rows, rows[1])
    plan = down.plan(Form(packing), one.shape, INNER, INNER, dtype, mx.float32)
    (shared,) = run(plan, h[TOP:].reshape(1, 1, 1, INNER), one, ones, *rows, rows[1])
    assert gpu.same(out, routed + shared)


@pytest.mark.parametrize(
    ("packing", "tokens", "right", "wrong"),
    [
        (MXFP4, 1, "((code & 7u) << 22)", "((code & 7u) << 21)"),
        (EIGHT, 2, "BITS == 8 ? row[k / 4]", "BITS == 8 ? row[k / 8]"),
        pytest.param(FOUR, 2, "row[k / 8] >> (4 * (k % 8))", "row[k / 8] >> (4 * (k % 4))", marks=pytest.mark.slow),
        pytest.param(EIGHT, 1, "scales[group]", "scales[group + 1]", marks=pytest.mark.slow),
    ],
)
def test_a_planted_error_is_seen(packing: Any, tokens: int, right: str, wrong: str) -> None:
    (gate, gates), (up, ups) = (rows_of(packing, INNER, HIDDEN, mx.bfloat16, seed) for seed in (0, 1))
    x, inds = inputs(tokens, HIDDEN, mx.bfloat16), chosen(tokens)
    launch = changed(swiglu.plan(Form(packing), inds.shape, HIDDEN, INNER, mx.bfloat16), right, wrong)
    g, u = (np.einsum("tlk,tlenk->tlen", doubles(x), part[np.array(inds)]) for part in (gates, ups))
    try:
        (h,) = run(launch, x, inds, *gate, *up, gate[1], up[1])
    except ShimError:
        return
    assert error(h, g / (1 + np.exp(-g)) * u) > 2 * ERROR["slots"]


def test_rows_that_mlx_multiplies_otherwise_are_refused() -> None:
    for n, k, says in (
        (100, 256, "100 rows of 256 weights; on CUDA multiples of 8 and 64 are served"),
        (128, 96, "128 rows of 96 weights; on CUDA multiples of 8 and 64 are served"),
        (128, 16384, "rows of 16384 weights; at most 8192 are served on CUDA"),
        (128, 448, "rows of 448 weights; of mxfp4 at least 512 are served on CUDA"),
    ):
        with pytest.raises(Unavailable) as caught:
            check_rows(MXFP4, n, k)
        assert str(caught.value) == says
    # gpt-oss has 2,880 rows: of integers MLX takes another kernel for them on tensor cores, and floats do not go there.
    check_rows(MXFP4, 2880, 2880)
    check_rows(EIGHT, 128, 448)
    assert [most_slots(*rows) for rows in ((EIGHT, 2880), (EIGHT, 2048), (MXFP4, 2880))] == [7, None, None]


def text_of(launch: Any, *types: str) -> str:
    """The launch as a program of its own, without MLX's headers."""
    source = launch.source
    names = [*source.inputs, *source.outputs]
    parameters = ", ".join(
        f"{'const ' * (at < len(source.inputs))}{kind}* {name}"
        for at, (kind, name) in enumerate(zip(types, names, strict=True))
    )
    device = _cuda.DEVICE.replace('#include "mlx/backend/cuda/device/unary_ops.cuh"', "")
    sigmoid = (
        "namespace mlx::core::cu { struct Sigmoid { template <typename T> T operator()(T x) { "
        "return T(1.0f / (1.0f + expf(-float(x)))); } }; }\n"
    )
    head = (
        "#include <cuda_bf16.h>\n#include <cuda_fp16.h>\nusing uint32_t = unsigned;\nusing uint8_t = unsigned char;\n"
    )
    constants = _settle.constants(tuple(launch.template.items()), "cuda")
    program = f"__global__ void program({parameters}) {{\n{constants}{source.body}\n}}\n"
    return f"{head}{sigmoid}{device}{source.header}{program}"


@pytest.mark.parametrize(
    ("packing", "tokens"),
    [
        (EIGHT, 1),
        (MXFP4, 2),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in ((EIGHT, 2), (MXFP4, 1), (MXFP8, 1), (MXFP8, 2))),
    ],
)
def test_nvidias_compiler_takes_the_text(packing: Any, tokens: int) -> None:
    nvrtc()
    scale = "__nv_bfloat16" if packing.mode == "affine" else "uint8_t"
    rows = ("uint32_t", scale, scale)
    inds = (tokens, 1, TOP)
    launch = swiglu.plan(Form(packing, True, (1.702, 7.0)), inds, 2048, 768, mx.bfloat16)
    biases = ("__nv_bfloat16", "__nv_bfloat16")
    compile_text(text_of(launch, "__nv_bfloat16", "uint32_t", *rows, *rows, *biases, "__nv_bfloat16"))
    launch = down.plan(Form(packing), inds, 2048, 768, mx.bfloat16, mx.float32)
    compile_text(text_of(launch, "__nv_bfloat16", "uint32_t", "float", *rows, scale, "__nv_bfloat16"))
    if tokens == 1:
        launch = together.plan_experts(packing, TOP, 2048, 1536, mx.bfloat16)
        compile_text(text_of(launch, "__nv_bfloat16", "uint32_t", *rows, *rows, *rows, *rows, "__nv_bfloat16"))
        launch = together.plan_downs(packing, TOP, 2048, 1536, mx.bfloat16, mx.float32)
        compile_text(text_of(launch, "__nv_bfloat16", "uint32_t", "float", *rows, *rows, "__nv_bfloat16"))


def test_what_is_declared_for_cuda_is_what_is_declared_for_metal() -> None:
    for kernel in ("packed_experts", "packed_down_combine", "packed_moe"):
        assert served(kernel, "cuda") == served(kernel, "metal")
        assert {EIGHT, MXFP4, MXFP8, NVFP4} <= served(kernel, "cuda")
