"""What the stock modes rest on that no text shows: how the device's compiler rounds. Asked before anything else.

On the CPU and on CUDA the compilers' behaviour is documented and held by the kernels' own words; on Metal it is not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx

from zmlx_bench.printable import one_line
from zmlx_bench.schema.verification import Probe

MULTIPLY_ADD = """#pragma METAL fp contract({file})
METAL_FUNC float probe(float a, float b, float c) {{
{block}return a * b + c;
}}
#pragma METAL fp contract(off)
"""
SUM_BODY = "o[0] = probe(a[0], a[1], a[2]);"
# (1 + 2^-23)^2 is 1 + 2^-22 + 2^-46, whose last part only a contracted product keeps.
SUM_INPUT = (1.0 + 2.0**-23, 1.0 + 2.0**-23, -(1.0 + 2.0**-22), 0.0, 0.0, 0.0, 0.0, 0.0)
CONTRACTED, SEPARATE = "one rounding", "a rounding each"
STEPS_BODY = """const T product = T(a[0]) * T(a[1]);
const T sum = product + T(a[2]);
o[0] = float(sum);
"""
# The product of the first two lies half-way between two numbers of either dtype, so that a product kept whole shows.
STEPS_INPUT = (1.0078125, 1.015625, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
TYPES = {"bfloat16": "bfloat16_t", "float16": "half"}
SUBNORMAL = {"bfloat16": 2.0**-130, "float16": 2.0**-20}
TINY_BODY = "o[0] = float(T(a[0]) * T(a[1]));"


def ask(backend: str) -> Iterator[Probe]:
    """Yield the answers of `backend`'s compiler; none where nothing needs to be asked."""
    if backend != "metal":
        return
    for switch, expected in (("off", SEPARATE), ("on", CONTRACTED)):
        header = MULTIPLY_ADD.format(file=switch, block="")
        yield _answered(f"contraction {switch} at file scope", _contraction(f"probe_file_{switch}", header), expected)
    header = MULTIPLY_ADD.format(file="off", block="#pragma METAL fp contract(on)\n")
    yield _answered("contraction on in a block", _contraction("probe_block_on", header), None)
    for name, dtype in TYPES.items():
        yield _answered(f"{name} steps", functools.partial(_steps, dtype), repr(in_steps(name)))
    for name, small in SUBNORMAL.items():
        yield _answered(f"{name} subnormals", functools.partial(_subnormal, TYPES[name], small), None)


def _answered(name: str, ask: Callable[[], str], expected: str | None) -> Probe:
    """Return what `ask` says; a text that the compiler refuses is an answer too, and the next one is asked."""
    try:
        found = ask()
    except (RuntimeError, ValueError) as error:
        found = one_line(f"no answer: {type(error).__name__}: {error}")
    return Probe(name=name, found=found, expected=expected)


def _contraction(name: str, header: str) -> Callable[[], str]:
    return lambda: rounding(_run(name, header, SUM_BODY, SUM_INPUT))


def _steps(dtype: str) -> str:
    return repr(_run(f"probe_steps_{dtype}", "", f"using T = {dtype};\n{STEPS_BODY}", STEPS_INPUT))


def _subnormal(dtype: str, small: float) -> str:
    kept = _run(f"probe_tiny_{dtype}", "", f"using T = {dtype};\n{TINY_BODY}", (small, 1.0, *[0.0] * 6))
    return "kept" if kept else "flushed to zero"


def rounding(value: float) -> str:
    """Return in words how the product and the sum of `SUM_INPUT` were rounded."""
    return {0.0: SEPARATE, 2.0**-46: CONTRACTED}.get(value, f"neither: {value!r}")


def in_steps(name: str) -> float:
    """Return the sum of `STEPS_BODY` with a rounding to the dtype after each operation, by MLX on the CPU."""
    dtype = {"bfloat16": mx.bfloat16, "float16": mx.float16}[name]
    with mx.stream(mx.cpu):
        a, b, c = (mx.array(value, mx.float32).astype(dtype).astype(mx.float32) for value in STEPS_INPUT[:3])
        product = (a * b).astype(dtype).astype(mx.float32)
        total: Any = (product + c).astype(dtype).astype(mx.float32)
        return float(total.item())


def _run(name: str, header: str, body: str, values: tuple[float, ...]) -> float:
    kernel: Any = mx.fast.metal_kernel(name=name, input_names=["a"], output_names=["o"], header=header, source=body)
    (out,) = kernel(
        inputs=[mx.array(values, mx.float32)],
        grid=(1, 1, 1),
        threadgroup=(1, 1, 1),
        output_shapes=[(1,)],
        output_dtypes=[mx.float32],
    )
    return float(out.item())
