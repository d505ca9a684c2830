"""Runs MLX's shipped Metal kernels on this machine, in the lanes of the shim, so that `stock` texts are held to them.

A kernel comes by its name out of `mlx.metallib` of the Mac wheel as LLVM code (AIR), which LLVM compiles for this
processor; barriers, simd operations and functions are the shim's, as for our own texts. Both run on the same buffers
between guard pages, in two orders of lanes, and every bit of their outputs must be equal.

What stays unseen: how Apple's driver lowers AIR to a GPU (whether it fuses `fmuladd`, how it flushes subnormals); the
order inside `simd_sum` and inside a product of matrices, and the last bits of exp, sin, cos and rsqrt, for which both
sides have one stand-in; whether MLX's host code launches what stock.py and stock_qmv.py say, which is from its public
sources and, where those are older, from what was read in 0.32.4's binaries; what it compiles as it runs (`mx.compile`,
gathers of scores), and the matmuls that both sides leave to it; races, occupancy and speed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import mlx.core as mx

from tests.air import library, lower
from tests.shim.run import LINKER, Three, compile_with, execute, folder, runtime

Build = Literal["macos14", "macos26"]


class Mac(NamedTuple):
    """What a shipped kernel runs under: the wheel it is from, and how fmuladd is lowered."""

    build: Build = "macos14"
    contraction: lower.Contraction = "fused"


class Out(NamedTuple):
    """A buffer that the kernel writes."""

    shape: Sequence[int]
    dtype: mx.Dtype


def run_stock(
    mac: Mac,
    name: str,
    buffers: Mapping[int, mx.array | Out],
    *,
    grid: Three,
    threadgroup: Three,
    constants: Mapping[str, bool] | None = None,
) -> list[mx.array]:
    """Run the kernel `name` on `buffers` by their indices; return the outputs in the order of theirs.

    `grid` counts threads. An input of no elements stands for a buffer that the kernel does not read. Raises ShimError
    as the shim does for our own kernels: indices, barriers, elements not written.
    """
    inputs = {index: array for index, array in sorted(buffers.items()) if isinstance(array, mx.array)}
    outputs = {index: out for index, out in sorted(buffers.items()) if isinstance(out, Out)}
    program = _program(mac, name, (*inputs, *outputs), tuple(sorted((constants or {}).items())))
    given = [(array, array) for array in inputs.values()]
    return execute(program, given, list(outputs.values()), grid, threadgroup, fast_apart=True)


@functools.cache
def assembly(build: Build, name: str) -> str:
    """Return a shipped kernel's assembly."""
    return lower.assembly(library.bitcode(build, name))


@functools.cache
def _program(mac: Mac, name: str, buffers: tuple[int, ...], constants: tuple[tuple[str, bool], ...]) -> Path:
    names = {index: f"buffer {index} of {name}" for index in buffers}
    return link(lower.lowered(assembly(mac.build, name), names, dict(constants), mac.contraction, name))


def link(object_file: bytes) -> Path:
    """Link a lowered kernel with the runtime and what it calls."""
    program = folder() / f"air-{hashlib.sha256(object_file).hexdigest()[:16]}"
    program.with_suffix(".o").write_bytes(object_file)
    compile_with(*LINKER, program.with_suffix(".o"), _calls(), runtime(), "-o", program)
    return program


@functools.cache
def _calls() -> Path:
    built = folder() / "air.o"
    compile_with("-O2", "-c", Path(__file__).with_name("air.cpp"), "-o", built)
    return built
