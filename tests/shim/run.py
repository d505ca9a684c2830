"""Compiles the text of a GPU kernel, as it is given to `mx.fast`, with the system's C++ compiler, and runs it.

Metal's text runs on Metal's words (`metal.h`), the CUDA form of the same text on CUDA's (`cuda.h`). Lanes are fibres
that stop at barriers and simd operations. Found out, as `ShimError`: text that does not compile, a barrier or simd
operation that not every lane reaches, an index past either end of a buffer, an output element that was not
written, a missing barrier, where running the lanes in the opposite order shows it, and more threads or (in Metal's
words) more threadgroup memory than a GPU has.

It cannot see: the order in which a real `simd_sum` adds (here a butterfly 16, 8, 4, 2, 1); a multiplication and an
addition that a GPU's compiler contracts (here never); the last bits of exp, sin, cos and rsqrt; races within device
memory and races that the opposite order hides; indices outside a threadgroup array; address spaces (a pointer into
the wrong one compiles, which clang.py finds, and a threadgroup pointer as a parameter does not); what a GPU's own
compiler refuses; occupancy, register use and speed.

It needs Linux (ucontext, ELF sections) and a C++ compiler; tests that import it are skipped elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.shim.source import Value, Words, translation_unit

_COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
if _COMPILER is None or sys.platform != "linux":
    pytest.skip("the kernel shim needs Linux and a C++ compiler", allow_module_level=True)

_HERE = Path(__file__).resolve().parent
# A compiler that fortifies by default takes a jump between fibres for a fault.
_FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-w", f"-I{_HERE}")
# GNU's default linker takes half of the time that a kernel takes to build.
LINKER = ("-fuse-ld=gold",) if shutil.which("ld.gold") else ()
_SECONDS = 120
MOST_THREADS = 1024
"""Of a threadgroup, on Apple's GPUs and on NVIDIA's."""

Array = np.ndarray[Any, Any] | mx.array
Three = tuple[int, int, int]


class ShimError(Exception):
    """The kernel does not compile, or did something that a kernel must not do."""


def run_kernel(
    source: str,
    header: str = "",
    *,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, tuple[Sequence[int], mx.Dtype]],
    grid: Three,
    threadgroup: Three,
    template: Sequence[tuple[str, Value]] = (),
    words: Words = "metal",
    buffers: Mapping[str, mx.array] | None = None,
    fast_apart: bool = False,
) -> list[mx.array]:
    """Run `source`, the body of a kernel, and return its outputs in order.

    `outputs` gives shape and dtype by name; `grid` counts threads, as with `mx.fast.metal_kernel`. Inputs are
    made row-contiguous, which is MLX's default; one named in `buffers` is instead a view of the beginning of that
    array along each axis, and the kernel gets its strides. `fast_apart` as with `execute`. Raises ShimError; see the
    module for what that covers.
    """
    arrays = {name: mx.array(value) for name, value in inputs.items()}
    text = translation_unit(
        source,
        header,
        {name: (array.dtype, array.ndim) for name, array in arrays.items()},
        {name: dtype for name, (_, dtype) in outputs.items()},
        template,
        words,
    )
    wholes = dict(buffers or {})
    given = [(array, wholes.get(name, array)) for name, array in arrays.items()]
    return execute(_compiled(text), given, list(outputs.values()), grid, threadgroup, fast_apart=fast_apart)


def execute(
    program: Path,
    inputs: Sequence[tuple[mx.array, mx.array]],
    outputs: Sequence[tuple[Sequence[int], mx.Dtype]],
    grid: Three,
    threadgroup: Three,
    *,
    fast_apart: bool = False,
) -> list[mx.array]:
    """Run a program that is linked with the runtime, once in each order, and return its outputs.

    An input comes with the buffer that it is the beginning of, which may be itself; an output with shape and dtype.
    With `fast_apart` the functions of `metal::fast` give other bits than the precise ones. Raises ShimError.
    """
    if (threads := math.prod(threadgroup)) > MOST_THREADS:
        raise ShimError(f"{threads} threads a threadgroup; no GPU takes more than {MOST_THREADS}")
    request = struct.pack("=3i6I", len(inputs), len(outputs), fast_apart, *grid, *threadgroup)
    for array, whole in inputs:
        request += _described(array.shape, whole.shape, whole.nbytes) + _bytes(whole)
    for shape, dtype in outputs:
        request += _described(shape, shape, int(np.prod(shape)) * dtype.size)
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "request"), Path(folder, "response")
        asked.write_bytes(request)
        done = subprocess.run([program, asked, answered], capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode != 0:
            raise ShimError(done.stderr.strip() or f"the kernel ended with status {done.returncode}")
        response = answered.read_bytes()
    results, start = [], 0
    for shape, dtype in outputs:
        stop = start + int(np.prod(shape)) * dtype.size
        results.append(_array(response[start:stop], shape, dtype))
        start = stop
    return results


def _described(shape: Sequence[int], buffer: Sequence[int], nbytes: int) -> bytes:
    return struct.pack(f"={1 + 2 * len(shape)}iq", len(shape), *shape, *buffer, nbytes)


def _bytes(array: mx.array) -> bytes:
    whole = mx.contiguous(array).reshape(-1)
    return np.array(whole.view(mx.uint8)).tobytes() if whole.size else b""


def _array(content: bytes, shape: Sequence[int], dtype: mx.Dtype) -> mx.array:
    return mx.array(np.frombuffer(content, np.uint8)).view(dtype).reshape(tuple(shape))


@functools.cache
def folder() -> Path:
    """Return where compiled programs lie: one for the process, so that each is compiled once."""
    made = tempfile.TemporaryDirectory(prefix="kernel-shim-")
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def runtime() -> Path:
    """Return the compiled runtime, which every program is linked with."""
    built = folder() / "runtime.o"
    compile_with("-O2", "-c", _HERE / "runtime.cpp", "-o", built)
    return built


@functools.cache
def _compiled(text: str) -> Path:
    program = folder() / hashlib.sha256(text.encode()).hexdigest()[:16]
    written = program.with_suffix(".cpp")
    written.write_text(text)
    compile_with(*LINKER, written, runtime(), "-o", program)
    return program


def compile_with(*arguments: str | Path) -> None:
    """Run the compiler; raises ShimError with what it said."""
    assert _COMPILER is not None
    done = subprocess.run([_COMPILER, *_FLAGS, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ShimError(done.stderr.strip())
