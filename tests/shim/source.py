"""The C++ translation unit around a kernel's text: the signature that MLX generates, in the shim's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import mlx.core as mx

Words = Literal["metal", "cuda"]
Value = mx.Dtype | int | bool

TYPES = {
    mx.float32: "float",
    mx.bfloat16: "bfloat16_t",
    mx.float16: "half",
    mx.uint32: "uint32_t",
    mx.int32: "int32_t",
    mx.uint8: "uint8_t",
    mx.uint16: "uint16_t",
    mx.int64: "int64_t",
}

ATTRIBUTES = {
    "thread_position_in_grid": "shim::where.in_grid",
    "threadgroup_position_in_grid": "shim::where.group",
    "thread_position_in_threadgroup": "shim::where.in_group",
    "threads_per_threadgroup": "shim::launch.group_size",
    "threadgroups_per_grid": "shim::launch.groups",
    "threads_per_grid": "shim::launch.threads",
}
SIMD_ATTRIBUTES = {
    "thread_index_in_threadgroup": "shim::where.index",
    "thread_index_in_simdgroup": "shim::where.index % 32",
    "simdgroup_index_in_threadgroup": "shim::where.index / 32",
}
INFORMATION = {"shape": "const int32_t*", "strides": "const int64_t*", "ndim": "const int"}


def translation_unit(
    source: str,
    header: str,
    inputs: Mapping[str, tuple[mx.Dtype, int]],
    outputs: Mapping[str, mx.Dtype],
    template: Sequence[tuple[str, Value]],
    words: Words,
) -> str:
    """Return C++ that the shim's runtime can call.

    `inputs` gives each input's dtype and number of dimensions. As MLX does it, an input's shape, strides and
    ndim are parameters only where `source` names them, and in Metal a scalar comes by reference.
    """
    parameters, arguments = [], []
    for at, (name, (dtype, ndim)) in enumerate(inputs.items()):
        scalar = ndim == 0 and words == "metal"
        parameters.append(f"const {TYPES[dtype]}{'&' if scalar else '*'} {name}")
        arguments.append(f"{'*' if scalar else ''}static_cast<const {TYPES[dtype]}*>(buffers[{at}].data)")
        for what, kind in INFORMATION.items():
            if ndim > 0 and f"{name}_{what}" in source:
                parameters.append(f"{kind} {name}_{what}")
                arguments.append(f"buffers[{at}].{what}")
    for at, (name, dtype) in enumerate(outputs.items(), start=len(inputs)):
        parameters.append(f"{TYPES[dtype]}* {name}")
        arguments.append(f"static_cast<{TYPES[dtype]}*>(buffers[{at}].data)")
    names = ", ".join(f'"{name}"' for name in (*inputs, *outputs))
    return "\n".join(
        [
            f'#include "{words}.h"',
            "using namespace metal;" if words == "metal" else "",
            '#line 1 "header"',
            header,
            f"static void kernel_body({', '.join(parameters)}) {{",
            *(constant(name, value) for name, value in template),
            *(_attributes(source) if words == "metal" else ()),
            '#line 1 "source"',
            source,
            "}",
            f'extern "C" void shim_call(const shim::Buffer* buffers) {{ kernel_body({", ".join(arguments)}); }}',
            f'extern "C" const char* const shim_names[] = {{{names}}};',
            f'extern "C" const bool shim_whole_groups = {str(words == "cuda").lower()};',
            'extern "C" const bool shim_lanes_may_leave = false;',
            "",
        ]
    )


def constant(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return f"constexpr bool {name} = {str(value).lower()};"
    if isinstance(value, int):
        return f"constexpr int {name} = {value};"
    return f"using {name} = {TYPES[value]};"


def _attributes(source: str) -> list[str]:
    return [f"const uint3 {name} = {value};" for name, value in ATTRIBUTES.items() if name in source] + [
        f"const uint {name} = {value};" for name, value in SIMD_ATTRIBUTES.items() if name in source
    ]
