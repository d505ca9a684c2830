"""CUDA sources that Metal's words do not fit, and launches of them of which only the inputs change."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from .settle import Call, constants
from .text import by_reference

_HERE = Path(__file__).resolve().parent
DEVICE = (_HERE / "cuda_device.h").read_text()
"""Stands before every header: the macros of Metal's words must not reach the headers of MLX that it includes."""

Template = Mapping[str, mx.Dtype | int | bool]


def number(template: Template, name: str) -> int:
    """Return a number of a template."""
    value = template[name]
    if isinstance(value, mx.Dtype):
        raise TypeError(f"{name} is a type, not a number")
    return int(value)


@dataclass(frozen=True)
class CudaSource:
    """The body of a kernel and the header before it."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: str
    header: str
    """What stands before the kernel."""


def read_cuda(
    folder: Path, name: str, inputs: Sequence[str], outputs: Sequence[str], header: str, define: str = ""
) -> CudaSource:
    """Read `<name>.cu` from `folder` and `header` from this folder; `define` is a macro's name and text."""
    macro = f"#define {define}\n" if define else ""
    head = macro + (_HERE / header).read_text()
    return CudaSource(name, tuple(inputs), tuple(outputs), (folder / f"{name}.cu").read_text(), head)


class CudaLaunch(NamedTuple):
    """A launch for fixed shapes; `blocks` counts thread blocks, `shared_memory` is in bytes."""

    source: CudaSource
    template: Template
    blocks: tuple[int, int]
    threads: int
    outputs: Sequence[tuple[tuple[int, ...], mx.Dtype]]
    shared_memory: int = 0


@functools.cache
def _kernel(source: CudaSource, template: tuple[tuple[str, mx.Dtype | int | bool], ...], shared_memory: int) -> Any:
    head = constants(template, "cuda")
    known = hashlib.sha256(f"{head}{source.body}{source.header}".encode()).hexdigest()
    return mx.fast.cuda_kernel(
        # MLX knows compiled kernels by their names.
        name=f"{source.name}_{known[:12]}",
        input_names=list(source.inputs),
        output_names=list(source.outputs),
        source=head + by_reference(source.body),
        header=by_reference(DEVICE + source.header),
        shared_memory=shared_memory,
    )


def prepare(launch: CudaLaunch) -> Call:
    """Return run(inputs=...) for a launch."""
    blocks, threads = launch.blocks, launch.threads
    return functools.partial(
        _kernel(launch.source, tuple(launch.template.items()), launch.shared_memory),
        grid=(blocks[0] * threads, blocks[1], 1),
        threadgroup=(threads, 1, 1),
        output_shapes=[shape for shape, _ in launch.outputs],
        output_dtypes=[dtype for _, dtype in launch.outputs],
    )
