"""The lowering itself: types, places, threadgroup memory, function constants and fmuladd become what Metal says."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from tests.air import lower, stock
from tests.air.ours import differing
from tests.air.run import Mac, Out, assembly, link, run_stock
from tests.air.values import cancelling_pairs, values
from tests.kernels.bf16 import read, rounded
from tests.shim.run import ShimError, execute

pytest.importorskip("llvmlite")
KERNEL = """
target triple = "air64_v26-apple-macosx14.0.0"
{globals}
{declared}
define void @k(ptr addrspace(1) %a, ptr addrspace(1) %b, ptr addrspace(1) %out, <3 x i16> %at, i32 %n) {{
  %x = extractelement <3 x i16> %at, i64 0
  %i = zext i16 %x to i64
  %pa = getelementptr {type}, ptr addrspace(1) %a, i64 %i
  %pb = getelementptr {type}, ptr addrspace(1) %b, i64 %i
  %po = getelementptr {type}, ptr addrspace(1) %out, i64 %i
  %va = load {type}, ptr addrspace(1) %pa
  %vb = load {type}, ptr addrspace(1) %pb
{steps}
  store {type} %r, ptr addrspace(1) %po
  ret void
}}
!air.kernel = !{{!0}}
!0 = !{{ptr @k, !1, !2, !9}}
!1 = !{{}}
!2 = !{{!3, !4, !5, !6, !7}}
!3 = !{{i32 0, !"air.buffer", !"air.location_index", i32 0, i32 1, !"air.read"}}
!4 = !{{i32 1, !"air.buffer", !"air.location_index", i32 1, i32 1, !"air.read"}}
!5 = !{{i32 2, !"air.buffer", !"air.location_index", i32 7, i32 1, !"air.read_write"}}
!6 = !{{i32 3, !"air.thread_position_in_grid"}}
!7 = !{{i32 4, !"air.threads_per_grid"}}
!9 = !{{!"air.max_work_group_size", i32 1024}}
"""


def run(steps: str, a: mx.array, b: mx.array, *, contraction: lower.Contraction = "fused", **parts: str) -> mx.array:
    type_ = {mx.bfloat16: "bfloat", mx.float16: "half", mx.float32: "float"}[a.dtype]
    text = KERNEL.format(**{"globals": "", "declared": "", "type": type_, "steps": steps, **parts})
    program = link(lower.lowered(text, {0: "a", 1: "b", 7: "out"}, {}, contraction, "k"))
    return execute(program, [(a, a), (b, b)], [(a.shape, a.dtype)], (a.size, 1, 1), (32, 1, 1))[0]


A, B = (values("spread", 4096, dtype=mx.float32, seed=seed) for seed in (1, 2))


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_half_types_round_every_step(dtype: mx.Dtype) -> None:
    type_ = {mx.bfloat16: "bfloat", mx.float16: "half"}[dtype]
    a, b = (mx.clip(x, -9, 9).astype(dtype) for x in (A, B))
    steps = f"  %p = fmul {type_} %va, %vb\n  %q = fadd {type_} %p, %va\n  %r = fdiv {type_} %q, %vb"
    to = rounded if dtype == mx.bfloat16 else lambda x: np.asarray(x).astype(np.float16).astype(np.float32)
    b = mx.where(mx.abs(b) < 0.1, mx.ones_like(b), b)
    expected = to(to(to(read(a) * read(b)) + read(a)) / read(b))
    np.testing.assert_array_equal(read(run(steps, a, b)), expected)


def test_fmuladd_is_one_rounding_or_two() -> None:
    parts = {"declared": "declare float @llvm.fmuladd.f32(float, float, float)"}
    steps = "  %r = tail call float @llvm.fmuladd.f32(float %va, float %vb, float %vb)"
    a, b = np.array(A), np.array(B)
    separate = run(steps, A, B, contraction="separate", **parts)
    np.testing.assert_array_equal(np.array(separate), a * b + b)
    fused = run(steps, A, B, **parts)
    np.testing.assert_array_equal(np.array(fused), (np.float64(a) * b + b).astype(np.float32))
    assert differing(fused, separate) > 100


def test_fmuladd_of_other_types_is_refused_and_not_left_to_llvm() -> None:
    a, b = A.astype(mx.float16), B.astype(mx.float16)
    steps = "  %r = tail call half @llvm.fmuladd.f16(half %va, half %vb, half %vb)"
    with pytest.raises(ValueError, match="k has fmuladd of a type not known here"):
        run(steps, a, b, declared="declare half @llvm.fmuladd.f16(half, half, half)")


def test_what_is_written_as_two_steps_is_never_fused() -> None:
    got = run("  %p = fmul float %va, %vb\n  %r = fadd float %p, %vb", A, B)
    np.testing.assert_array_equal(np.array(got), np.array(A) * np.array(B) + np.array(B))


def test_a_shipped_rotation_depends_on_how_fmuladd_is_lowered_and_a_norm_does_not() -> None:
    """A norm's products are squares of 2-byte numbers, which float32 holds exactly."""
    x = cancelling_pairs(64, 256, 777, 1e4, traditional=True, dtype=mx.bfloat16).reshape(1, 64, 1, 256)
    weight, at = values("spread", 256, seed=3), mx.array([777], mx.int32)
    ways = [Mac(contraction=way) for way in ("fused", "separate")]
    assert differing(*(stock.rms_norm(mac, x, weight, 1e-6) for mac in ways)) == 0
    assert differing(*(stock.rope(mac, x, at, traditional=True, base=1e4) for mac in ways)) > 20


def test_threadgroup_memory_holds_rubbish_until_it_is_written() -> None:
    kept = "@kept = internal addrspace(3) global [32 x float] undef, align 4"
    place = "getelementptr [32 x float], ptr addrspace(3) @kept, i64 0, i64 %lane"
    steps = f"  %lane = urem i64 %i, 32\n  %g = {place}\n  %r = load float, ptr addrspace(3) %g"
    with pytest.raises(ShimError, match="depends on the order of lanes or was never written"):
        run(steps, A, B, globals=kept)
    written = f"  %lane = urem i64 %i, 32\n  %g = {place}\n  store float %vb, ptr addrspace(3) %g\n"
    assert differing(run(f"{written}  %r = load float, ptr addrspace(3) %g", A, B, globals=kept), B) == 0


@pytest.mark.parametrize(("traditional", "rows"), [(True, 1), (False, 1)])
def test_function_constants_choose(traditional: bool, rows: int) -> None:
    x = values("spread", rows, 2, 1, 8)
    turned = stock.rope(Mac(), x, mx.array([5], mx.int32), traditional=traditional, base=1e4)
    expected = mx.fast.rope(x, 8, traditional=traditional, base=1e4, scale=1.0, offset=5)
    assert mx.allclose(turned, expected, rtol=2**-6, atol=2**-5).item()


def test_function_constants_that_are_not_given_are_named() -> None:
    text = assembly("macos14", "rope_single_bfloat16")
    with pytest.raises(ValueError, match=r"has the function constants \['forward', 'traditional'\]; given are \[\]"):
        lower.lowered(text, dict.fromkeys((0, 1, 2, 3, 4, 10), ""), {}, "fused", "rope_single_bfloat16")


def test_buffers_that_are_not_given_are_named() -> None:
    with pytest.raises(ValueError, match=r"rmsbfloat16 reads the buffers \[0, 1, 2, 3, 4, 5\]; given are \[0\]"):
        lower.lowered(assembly("macos14", "rmsbfloat16"), {0: "x"}, {}, "fused", "rmsbfloat16")


def test_an_index_past_a_buffer_names_it() -> None:
    x = values("spread", 64)
    given: dict[int, mx.array | Out] = {0: x, 1: x[:63], 2: Out((64,), mx.bfloat16), 3: mx.array([64], mx.uint32)}
    with pytest.raises(ShimError, match="out of bounds: byte 126 of buffer 1 of vv_Addbfloat16, which has 126"):
        run_stock(Mac(), "vv_Addbfloat16", given, grid=(64, 1, 1), threadgroup=(64, 1, 1))
