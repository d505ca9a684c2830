"""Every Metal text as MLX gives it to Metal's compiler: whether that would take it, and whether its launch is legal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core
import mlx.core as mx
import pytest

from tests.kernels import gpu, metal_launches
from tests.shim import msl
from tests.shim.clang import ClangError
from zmlx_bench.measured.api import Unavailable

pytestmark = pytest.mark.process

SETTLE = gpu.module("_lib.gpu.settle")
KERNELS = Path(__file__).resolve().parents[2] / "kernels"
ON_CUDA_ALONE = {"softmax_online"}
"""A body in Metal's words that no launch on Metal takes."""
MOST_THREADS, LANES, MOST_BUFFERS, MOST_BYTES = 1024, 32, 31, 32 << 10
"""Of Apple's GPUs from the M1 on: threads of a threadgroup, and of a simdgroup; buffers and threadgroup memory."""
PREAMBLE = ("bf16.h", "bf16_math.h", "complex.h", "defines.h", "logging.h", "utils.h")
"""What MLX puts before every text that it compiles as it runs: its own headers, which its wheels hold."""
WORD = re.compile(r"[A-Za-z_]\w*")
RESERVED = set(
    WORD.findall(
        """
        bfloat constant device fragment half intersection kernel matrix mesh metal object object_data
        patch_control_point ray_data sampler stage_in thread threadgroup threadgroup_imageblock vec vertex
        visible
        """
    )
)
IN_METAL = set(
    WORD.findall(
        """
        abs absdiff acos acosh addsat all any as_type asin asinh atan atan2 atanh ceil clamp clz copysign
        cos cosh cospi cross ctz determinant distance distance_squared divide dot exp exp10 exp2
        extract_bits fabs faceforward fdim floor fma fmax fmax3 fmedian3 fmin fmin3 fmod fract frexp hadd
        ilogb insert_bits isfinite isinf isnan isnormal isordered isunordered ldexp length length_squared
        log log10 log2 mad24 madhi madsat max max3 median3 min min3 mix modf mul24 mulhi nextafter normalize
        not popcount pow powr quad_broadcast quad_sum reflect refract reverse_bits rhadd rint rotate round
        rsqrt saturate select sign signbit simd_all simd_any simd_ballot simd_broadcast simd_max simd_min
        simd_product simd_shuffle simd_shuffle_down simd_shuffle_up simd_shuffle_xor simd_sum sin sincos
        sinh sinpi smoothstep sqrt step subsat tan tanh tanpi transpose trunc
        """
    )
)
"""Functions that `using namespace metal` brings to every text: one of ours by such a name could be meant or not."""
# Of the file's scope: what a struct holds is indented.
DECLARED = re.compile(r"^(?:METAL_FUNC [\w<>, ]+?|struct) (\w+)(?=[({ ])", re.MULTILINE)


class Found(NamedTuple):
    launch: Any
    compiled: msl.Compiled


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


@pytest.fixture(scope="module")
def every(_cpu: None) -> list[Found]:
    """A launch of each text, compiled."""
    launches = list({msl.text(each, SETTLE)[0]: each for each in metal_launches.every()}.values())
    return [Found(*pair) for pair in zip(launches, msl.compiled(launches, SETTLE), strict=True)]


def sources() -> Iterator[Any]:
    """Yield every source that a kernel's module of launches holds."""
    kind = gpu.module("_lib.gpu.launch").Source
    for path in sorted(KERNELS.glob("*/gpu.py")):
        for value in vars(gpu.module(f"{path.parent.name}.gpu")).values():
            yield from (each for each in (value.values() if isinstance(value, dict) else [value]) if type(each) is kind)


def test_every_source_is_among_them(every: list[Found]) -> None:
    known = {source.name: source for source in sources()}
    assert set(known) - {found.launch.source.name for found in every} == ON_CUDA_ALONE
    folders = {path.parent.name for kind in ("gpu", "metal") for path in KERNELS.glob(f"*/*.{kind}")}
    assert folders == {path.parent.name for path in KERNELS.glob("*/gpu.py")}


def test_every_launch_is_legal_on_every_apple_gpu(every: list[Found]) -> None:
    for launch, compiled in every:
        name, threads = launch.source.name, launch.threadgroup[0] * launch.threadgroup[1] * launch.threadgroup[2]
        assert threads <= MOST_THREADS, name
        assert launch.threadgroup[0] % LANES == 0, f"{name}: a row of threads is cut by simdgroups"
        # Groups that the grid cuts have other lanes than `simd_sum` and the barriers count on.
        assert [n % of for n, of in zip(launch.grid, launch.threadgroup, strict=True)] == [0, 0, 0], name
        assert all(0 < n < 2**31 for n in launch.grid), name
        assert compiled.buffers <= MOST_BUFFERS, name
        assert compiled.threadgroup_bytes <= MOST_BYTES, name
        numbers = [value for _, value in launch.template if not isinstance(value, mx.Dtype)]
        assert all(-(2**31) <= int(value) < 2**31 for value in numbers), name


def test_no_text_uses_a_word_of_the_language_or_of_mlxs_preamble_for_something_else(every: list[Found]) -> None:
    folder = Path(mlx.core.__file__).parent / "include/mlx/backend/metal/kernels"
    preamble = "\n".join((folder / name).read_text() for name in PREAMBLE)
    macros = set(re.findall(r"#define (\w+)", preamble)) - {"METAL_FUNC"}
    assert {"bfloat16_t", "MTL_CONST"} <= set(WORD.findall(preamble))
    for launch, compiled in every:
        assert not set(WORD.findall(compiled.text)) & macros, launch.source.name
        ours = set(DECLARED.findall(SETTLE.WORDS["metal"] + launch.source.header))
        assert "mul_rn" in ours
        assert not ours & (set(WORD.findall(preamble)) | IN_METAL | RESERVED), launch.source.name
        body = SETTLE.short(launch.source.body)
        named = {word for kind in ("uint", "float", "int", "bool", "size_t") for word in
                 re.findall(rf"\b{kind} (\w+)\b", body)}  # fmt: skip
        assert not named & RESERVED, launch.source.name


def test_activations_of_another_type_than_the_weights_have_are_refused_before_the_compiler_sees_them() -> None:
    inds, rows = mx.zeros((1, 1, 4), mx.uint32), metal_launches.packed(9, 64, 512)
    plan = gpu.module("gather_qmm_swiglu.gpu").plan
    assert plan("stock", mx.zeros((1, 1, 512), mx.bfloat16), inds, *rows, *rows)
    with pytest.raises(Unavailable, match="bfloat16 and float16 are served on Metal"):
        plan("stock", mx.zeros((1, 1, 512)), inds, *rows, *rows)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("float* own = totals;", "own has no address space"),
        ("thread float* own = y;", "cannot initialize"),
        ("const device float* own = (const device float*)y;", "address"),
        ("auto twice = [](float x) { return x + x; };", "a lambda"),
        ("const uint own = quadgroup_of_thread;", "undeclared"),
        ("const float own = h_shape;", "cannot initialize"),
    ],
)
def test_what_metal_would_refuse_is_refused(wrong: str, message: str) -> None:
    right = gpu.module("gather_qmm_down_combine.gpu").plan(
        "stock", mx.zeros((1, 1, 4, 512), mx.bfloat16), mx.zeros((1, 1, 4), mx.uint32), mx.zeros((1, 1, 4)),
        *metal_launches.packed(9, 64, 512),
    )  # fmt: skip
    with pytest.raises(ClangError, match=message):
        msl.compiled([gpu.mutated(right, "float totals[ROWS];", f"float totals[ROWS];\n{wrong}")], SETTLE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("float kept = 1.0f;\n", "kept"),
        ("METAL_FUNC float first(float* x) { return x[0]; }\n", "x has no address space"),
        ("METAL_FUNC float first(const float& x) { return x; }\n", "x has no address space"),
    ],
)
def test_what_metal_would_refuse_in_a_header_is_refused(wrong: str, message: str) -> None:
    right = gpu.module("moe_combine.gpu").plan("stock", mx.zeros((1, 1, 4, 64)), mx.zeros((1, 1, 4)))
    source = right.source
    assert msl.compiled([right], SETTLE)
    with pytest.raises(ClangError, match=message):
        msl.compiled([right._replace(source=type(source)(**{**vars(source), "header": wrong}))], SETTLE)
    fine = "constant constexpr float KEPT = 1.0f;\n"
    assert msl.compiled([right._replace(source=type(source)(**{**vars(source), "header": fine}))], SETTLE)
