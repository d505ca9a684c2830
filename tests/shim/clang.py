"""Compiles the Metal text of a launch with clang, which has address spaces: what the shim's compiler cannot see.

A pointer into the wrong address space does not compile, and the LLVM text shows where the compiler may contract.
bfloat is taken for half, which clang has; nothing is run. Tests that import this are skipped without clang.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import mlx.core as mx
import pytest

from tests.shim.source import constant

_NAMES = ("clang++", *(f"clang++-{version}" for version in range(21, 13, -1)))
CLANG = next((found for name in _NAMES if (found := shutil.which(name))), None)
if CLANG is None:
    pytest.skip("needs clang", allow_module_level=True)

FEWER_ARE_CONSTANT = 8
"""MLX passes inputs with fewer elements in the address space `constant`."""
TYPES = {
    mx.float32: "float",
    mx.bfloat16: "half",
    mx.float16: "half",
    mx.uint32: "uint32_t",
    mx.int32: "int32_t",
    mx.uint8: "uint8_t",
}
WORDS = """
#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup static __attribute__((address_space(3)))
#define thread
#define METAL_FUNC inline __attribute__((always_inline))
using uint = unsigned; using ushort = unsigned short; using size_t = unsigned long;
using uint32_t = unsigned; using int32_t = int; using uint8_t = unsigned char; using half = _Float16;
struct uint3 { uint x, y, z; };
enum class mem_flags { mem_none, mem_device, mem_threadgroup };
void threadgroup_barrier(mem_flags); void simdgroup_barrier(mem_flags);
template <typename T> T simd_sum(T); template <typename T> T simd_max(T);
template <typename T> T simd_shuffle_xor(T, ushort); template <typename T> T simd_broadcast(T, ushort);
template <typename To, typename From> To as_type(From);
namespace metal {
float fma(float, float, float);
namespace precise { float exp(float); float exp2(float); float log(float); float rsqrt(float); }
namespace precise { float sin(float); float cos(float); }
namespace fast { using namespace precise; }
}
using namespace metal;
"""
ATTRIBUTES = (
    "const uint3 threadgroup_position_in_grid, const uint3 thread_position_in_grid, "
    "const uint3 thread_position_in_threadgroup, const uint thread_index_in_threadgroup, "
    "const uint thread_index_in_simdgroup, const uint simdgroup_index_in_threadgroup"
)


class ClangError(Exception):
    """The text does not compile."""


def llvm(launch: Any, words: str) -> str:
    """Return the LLVM text of a launch's kernel, with `words` before its header; raises ClangError."""
    source = launch.source
    parameters = [
        f"const {'constant' if array.size < FEWER_ARE_CONSTANT else 'device'} {TYPES[array.dtype]}* {name}"
        for name, array in zip(source.inputs, launch.inputs, strict=True)
    ]
    parameters += [
        f"const constant {kind}* {name}_{what}"
        for name in source.inputs
        for what, kind in (("shape", "int"), ("strides", "long"))
        if f"{name}_{what}" in source.body
    ]
    parameters += [
        f"device {TYPES[dtype]}* {name}" for name, dtype in zip(source.outputs, launch.output_dtypes, strict=True)
    ]
    text = "\n".join(
        [
            WORDS,
            (words + source.header).replace("METAL fp", "clang fp"),
            f"void kernel_body({', '.join(parameters)}, {ATTRIBUTES}) {{",
            *(
                f"using {name} = {TYPES[value]};" if isinstance(value, mx.Dtype) else constant(name, value)
                for name, value in launch.template
            ),
            source.body,
            "}",
        ]
    )
    # Metal's mode `safe` contracts within a statement; of clang's targets this one has _Float16 in every version.
    options = ["-std=c++17", "-target", "aarch64-linux-gnu", "-ffp-contract=on", "-O1", "-w", "-S", "-emit-llvm"]
    assert CLANG is not None
    done = subprocess.run(
        [CLANG, *options, "-x", "c++", "-", "-o", "-"], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClangError(done.stderr)
    return done.stdout
