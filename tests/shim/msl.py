"""Compiles a launch's whole text, as MLX puts it together for Metal's compiler, with clang's OpenCL C++.

There `thread`, `threadgroup`, `device` and `constant` are address spaces that do not convert into each other. Metal's
own compiler runs nowhere but on a Mac. What clang.py lets pass is refused here: a pointer or reference without an
address space, a variable of the program's scope, a lambda, a position in the grid that MLX does not hand over.

bfloat is taken for half; that a text makes one of a float only where it says so, the shim's own compiler sees. OpenCL
keeps words that Metal does not (`local`, `global`): a variable called so is refused for nothing. Nothing is run.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx

from tests.shim.clang import CLANG, FEWER_ARE_CONSTANT, ClangError

TYPES = {
    mx.float32: "float", mx.bfloat16: "bfloat16_t", mx.float16: "float16_t", mx.uint32: "uint32_t",
    mx.int32: "int32_t", mx.uint8: "uint8_t",
}  # fmt: skip
_SCALARS = (
    "dispatch_quadgroups_per_threadgroup", "dispatch_simdgroups_per_threadgroup", "quadgroup_index_in_threadgroup",
    "quadgroups_per_threadgroup", "simdgroup_index_in_threadgroup", "simdgroups_per_threadgroup",
    "thread_execution_width", "thread_index_in_quadgroup", "thread_index_in_simdgroup", "thread_index_in_threadgroup",
    "threads_per_simdgroup",
)  # fmt: skip
_TRIPLES = (
    "dispatch_threads_per_threadgroup", "grid_origin", "grid_size", "thread_position_in_grid",
    "thread_position_in_threadgroup", "threadgroup_position_in_grid", "threadgroups_per_grid", "threads_per_grid",
    "threads_per_threadgroup",
)  # fmt: skip
ATTRIBUTES = {**dict.fromkeys(_SCALARS, "uint"), **dict.fromkeys(_TRIPLES, "uint3")}
"""What MLX hands to a body that names it."""
INFORMATION = {"shape": "int*", "strides": "int64_t*", "ndim": "int&"}
WORDS = """
#define device __global
#define constant __constant
#define threadgroup __local
#define thread __private
#define METAL_FUNC inline __attribute__((always_inline))
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
using uint32_t = uint; using int32_t = int; using uint8_t = uchar; using int64_t = long; using float16_t = half;
using bfloat16_t = half;
enum class mem_flags { mem_none, mem_device, mem_threadgroup };
namespace metal {
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);
template <typename T> T simd_sum(T);
template <typename T> T simd_max(T);
template <typename T> T simd_min(T);
template <typename T> T simd_broadcast(T, ushort);
template <typename T> T simd_shuffle(T, ushort);
template <typename T> T simd_shuffle_xor(T, ushort);
float fma(float, float, float);
namespace precise { float exp(float); float exp2(float); float log(float); float rsqrt(float); float sin(float); }
namespace precise { float cos(float); }
namespace fast { float exp(float); float sin(float); float cos(float); }
}
using namespace metal;
template <typename To, typename From> To as_type(From);
"""
_OPTIONS = ("-x", "clcpp", "-cl-std=CLC++2021", "-target", "spir64-unknown-unknown", "-w", "-fsyntax-only")
_TREE = ("-fno-color-diagnostics", "-Xclang", "-ast-dump")
_OWN = re.compile(r"^[|`]-NamespaceDecl .* kernel_(\d+)$", re.MULTILINE)
_NAMED = re.compile(r"(?:VarDecl|FieldDecl) .*?\b([A-Za-z_]\w*) '([^']*)'")
_CAST = re.compile(r"\bC(?:Style|XXStatic|XXReinterpret|XXFunctional)CastExpr [^']*'([^']*__generic[^']*\*)'")
_OF_PROGRAM = re.compile(r"^[| ] [|`]-VarDecl .*?\b([A-Za-z_]\w*) '(?!const __constant )", re.MULTILINE)
_ARRAY = re.compile(r"__local (\w+) ?\[(\d+)\]")
_BYTES = {"float": 4, "uint": 4, "int": 4, "half": 2, "ushort": 2}


class Compiled(NamedTuple):
    """What the text says of a launch."""

    text: str
    buffers: int
    threadgroup_bytes: int


def text(launch: Any, settle: Any) -> tuple[str, int]:
    """Return what MLX 0.32.4 compiles for a settled launch but for its preamble, and how many buffers it binds.

    `settle` is `_lib.gpu.settle`. MLX's order: the header; inputs, each with the shape, strides and dimensions that the
    body names; outputs; the positions that the body names; the body.
    """
    source = launch.source
    short, words = settle.short, settle.WORDS["metal"]
    body = settle.constants(tuple(launch.template), "metal") + short(source.body)
    buffers = []
    for name, array in zip(source.inputs, launch.inputs, strict=True):
        space = "constant" if array.size < FEWER_ARE_CONSTANT else "device"
        buffers.append(f"const {space} {TYPES[array.dtype]}{'*' if array.ndim else '&'} {name}")
        if array.ndim:
            asked = [what for what in INFORMATION if f"{name}_{what}" in body]
            buffers += [f"const constant {INFORMATION[what]} {name}_{what}" for what in asked]
    for name, dtype in zip(source.outputs, launch.output_dtypes, strict=True):
        buffers.append(f"device {TYPES[dtype]}* {name}")
    places = [f"{kind} {name}" for name, kind in ATTRIBUTES.items() if name in body]
    arguments = ",\n".join([*buffers, *places])
    return f"{short(words + source.header)}[[kernel]] void custom_kernel(\n{arguments}) {{\n{body}\n}}\n", len(buffers)


def compiled(launches: Sequence[Any], settle: Any) -> list[Compiled]:
    """Compile the launches' texts, by one process; raises ClangError with what is wrong with the first that is."""
    texts = [text(launch, settle) for launch in launches]
    given = [
        f'namespace kernel_{at} {{\n#line 1 "{launch.source.name}"\n{_named(whole, at)}}}'
        for at, (launch, (whole, _)) in enumerate(zip(launches, texts, strict=True))
    ]
    done = subprocess.run(
        [CLANG, *_OPTIONS, *_TREE, "-"], input="\n".join([WORDS, *given]), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClangError(done.stderr)
    _, *trees = _OWN.split(done.stdout)
    return [
        Compiled(whole, buffers, _threadgroup_bytes(launch.source.name, tree))
        for launch, (whole, buffers), tree in zip(launches, texts, trees[1::2], strict=True)
    ]


def _named(whole: str, at: int) -> str:
    return whole.replace("[[kernel]] void custom_kernel", f"__kernel void custom_kernel_{at}")


def _threadgroup_bytes(name: str, tree: str) -> int:
    """Return the size of a kernel's arrays; raises ClangError for what Metal would refuse in the compiler's tree."""
    if found := _OF_PROGRAM.findall(tree):
        raise ClangError(f"{name}: variables of the program's scope that are not constant: {', '.join(found)}")
    if "LambdaExpr" in tree:
        raise ClangError(f"{name}: a lambda")
    if found := _CAST.findall(tree):
        raise ClangError(f"{name}: a cast to a pointer without an address space: {found[0]}")
    size = 0
    for variable, kind in _NAMED.findall(tree):
        if "__generic" in kind and variable != "used":  # a nameless one is the compiler's own
            raise ClangError(f"{name}: {variable} has no address space: {kind}")
        if array := _ARRAY.fullmatch(kind):
            size += _BYTES[array[1]] * int(array[2])
    return size
