"""The shim itself: what it computes, and that it finds what it says it finds."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.bf16 import rounded
from tests.shim.run import ShimError, run_kernel

GROUP = (64, 1, 1)


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def run(
    source: str, x: np.ndarray | mx.array, *, threads: int = 64, size: int | None = None, **kwargs: object
) -> np.ndarray:
    group = kwargs.pop("group", GROUP)
    (out,) = run_kernel(
        source,
        inputs={"x": x},
        outputs={"out": ((size or threads,), mx.float32)},
        grid=(threads, 1, 1),
        threadgroup=group,
        **kwargs,
    )
    return np.array(out)


X = np.random.default_rng(0).normal(size=64).astype(np.float32)
HEAD = "uint i = thread_position_in_grid.x; uint lane = thread_index_in_simdgroup;\n"


def test_threads_see_their_position_and_the_inputs_shape_and_strides() -> None:
    source = "uint i = thread_position_in_grid.x; out[i] = x[i] + x_shape[1] * 10 + x_strides[0] * 100 + x_ndim * 1000;"
    got = run(source, np.arange(64, dtype=np.float32).reshape(32, 2))
    np.testing.assert_array_equal(got, np.arange(64) + 20 + 200 + 2000)


def test_strided_inputs_become_contiguous() -> None:
    x = mx.arange(128).astype(mx.float32).reshape(64, 2)[:, 1]
    np.testing.assert_array_equal(run(HEAD + "out[i] = x[i];", x), np.arange(64) * 2 + 1)


def test_a_view_of_a_buffer_comes_with_the_buffers_strides() -> None:
    whole = mx.arange(128).astype(mx.float32).reshape(32, 4)
    source = "uint i = thread_position_in_grid.x; out[i] = x[(i / x_shape[1]) * x_strides[0] + i % x_shape[1]];"
    got = run(source, whole[:, :2], buffers={"x": whole})
    np.testing.assert_array_equal(got, np.array(whole)[:, :2].reshape(-1))


def test_template_gives_types_numbers_and_switches() -> None:
    source = HEAD + "out[i] = float(T(x[i])) * N + (ADD ? 1.0f : 0.0f);"
    got = run(source, X, template=[("T", mx.bfloat16), ("N", 2), ("ADD", True)])
    np.testing.assert_array_equal(got, rounded(X) * 2 + 1)


def test_bfloat_arithmetic_rounds_every_step_to_nearest_even() -> None:
    source = HEAD + "bfloat16_t a = bfloat16_t(x[i]); bfloat16_t b = bfloat16_t(x[63 - i]); out[i] = a * b + a / b;"
    a, b = rounded(X), rounded(X[::-1])
    np.testing.assert_array_equal(run(source, X), rounded(rounded(a * b) + rounded(a / b)))
    assert run(HEAD + "out[i] = float(bfloat16_t(x[i]));", np.full(64, 1 + 2.0**-8, np.float32))[0] == 1.0
    assert np.isnan(run(HEAD + "out[i] = float(bfloat16_t(x[i]));", np.full(64, np.nan, np.float32))).all()


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("simd_max(x[i])", np.repeat(X.reshape(2, 32).max(1), 32)),
        ("simd_min(x[i])", np.repeat(X.reshape(2, 32).min(1), 32)),
        ("simd_broadcast(x[i], 5)", np.repeat(X.reshape(2, 32)[:, 5], 32)),
        ("simd_shuffle(x[i], 31 - lane)", X.reshape(2, 32)[:, ::-1].reshape(-1)),
        ("simd_shuffle_xor(x[i], 3)", X[np.arange(64) ^ 3]),
        ("lane == 31 ? 0.0f : 1.0f * simd_max(lane)", None),
    ],
)
def test_simd_operations(operation: str, expected: np.ndarray | None) -> None:
    if expected is None:
        with pytest.raises(ShimError, match="diverging simd_max: lane 31"):
            run(HEAD + f"out[i] = {operation};", X)
    else:
        np.testing.assert_array_equal(run(HEAD + f"out[i] = {operation};", X), expected)


def test_simd_sum_adds_every_lane_of_whole_and_of_partial_simdgroups() -> None:
    whole = run(HEAD + "out[i] = simd_sum(x[i]);", X)
    np.testing.assert_allclose(whole, np.repeat(X.reshape(2, 32).sum(1), 32), rtol=1e-5)
    part = run(HEAD + "out[i] = simd_sum(x[i]) + 0 * simd_max(x[i]);", X[:40], threads=40, group=(40, 1, 1))
    np.testing.assert_allclose(part, np.repeat([X[:32].sum(), X[32:40].sum()], [32, 8]), rtol=1e-5)


def test_metal_cuts_the_last_group_and_cuda_rounds_it_up() -> None:
    assert run(HEAD + "out[i] = threads_per_grid.x;", X, threads=40)[39] == 40
    source = "unsigned i = blockIdx.x * blockDim.x + threadIdx.x; out[i] = x[i];"
    with pytest.raises(ShimError, match="out of bounds"):
        run(source, X[:40], threads=40, words="cuda")
    assert (
        run(f"if (blockIdx.x * blockDim.x + threadIdx.x < 40) {{ {source} }}", X, threads=40, words="cuda")[7] == X[7]
    )


def test_cudas_shuffles_and_rounded_arithmetic() -> None:
    source = """
    float v = x[threadIdx.x];
    for (int s = 16; s > 0; s /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, s));
    out[threadIdx.x] = __fadd_rn(__fmul_rn(v, 2.0f), 1.0f);
    """
    np.testing.assert_array_equal(run(source, X, words="cuda"), np.repeat(X.reshape(2, 32).max(1), 32) * 2 + 1)
    with pytest.raises(ShimError, match="only some lanes"):
        run("out[threadIdx.x] = __shfl_xor_sync(1u, x[threadIdx.x], 1);", X, words="cuda")


REVERSE = """
uint i = thread_position_in_threadgroup.x;
threadgroup float shared[64];
shared[i] = x[i];
BARRIER
out[i] = shared[63 - i];
"""
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


def test_barriers_make_threadgroup_memory_visible() -> None:
    np.testing.assert_array_equal(run(REVERSE.replace("BARRIER", BARRIER), X), X[::-1])


def test_more_threads_or_threadgroup_memory_than_there_are_is_found() -> None:
    source = REVERSE.replace("BARRIER", BARRIER).replace("shared[64]", "shared[{}]")
    np.testing.assert_array_equal(run(source.format((8 << 10) - 16), X), X[::-1])
    with pytest.raises(ShimError, match="bytes of threadgroup memory; a GPU has 32768"):
        run(source.format((8 << 10) + 16), X)
    with pytest.raises(ShimError, match="2048 threads a threadgroup"):
        run(HEAD + "out[i] = x[i % 64];", X, threads=2048, group=(2048, 1, 1))


def test_a_missing_barrier_is_found() -> None:
    with pytest.raises(ShimError, match="depends on the order"):
        run(REVERSE.replace("BARRIER", ""), X)


@pytest.mark.parametrize(
    ("barriers", "message"),
    [
        (f"if (i < 32) {BARRIER}", "diverging barrier"),
        (f"if (i < 32) {{\n{BARRIER} }} else {{\n\n{BARRIER} }}", "is at line"),
        (f"if (i == 5) return; {BARRIER}", "lane 5 is not there"),
    ],
)
def test_a_barrier_that_lanes_miss_is_found(barriers: str, message: str) -> None:
    with pytest.raises(ShimError, match=message):
        run(REVERSE.replace("BARRIER", barriers), X)


@pytest.mark.parametrize("index", ["i + 1", "int(i) - 1", "i * 4096", "-1 - 2048 * int(i)"])
@pytest.mark.parametrize("access", ["out[i] = x[{}];", "out[i] = 0; out[{}] = x[i];"])
def test_an_index_past_either_end_of_a_buffer_is_found(access: str, index: str) -> None:
    with pytest.raises(ShimError, match="out of bounds"):
        run(HEAD + access.format(index), X)


def test_an_element_that_nobody_wrote_is_found() -> None:
    with pytest.raises(ShimError, match="was never written"):
        run(HEAD + "if (i != 9) out[i] = x[i];", X)


def test_threadgroup_memory_starts_as_rubbish_in_every_group() -> None:
    source = "threadgroup float sum[1]; uint i = thread_position_in_grid.x; if (i % 64 == 0) out[i / 64] = sum[0];"
    with pytest.raises(ShimError, match="was never written"):
        run(source, X, threads=128, size=2)


def test_text_that_does_not_compile_names_its_line() -> None:
    with pytest.raises(ShimError, match="source:2"):
        run(HEAD + "out[i] = nothing;", X)


def test_products_and_sums_are_not_contracted() -> None:
    x = np.full(64, 1 + 2.0**-12, np.float32)
    assert run(HEAD + "float p = x[i] * x[i]; out[i] = p - (1 + 2 * 0.000244140625f);", x)[0] == 0
    assert run(HEAD + "out[i] = metal::fma(x[i], x[i], -(1 + 2 * 0.000244140625f));", x)[0] == 2.0**-24
