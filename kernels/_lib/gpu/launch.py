"""A GPU source and one launch of it, through `mx.fast.metal_kernel` or `mx.fast.cuda_kernel`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from zmlx_bench.measured.api import BindRequest, Unavailable

from .text import short

_HERE = Path(__file__).resolve().parent
WORDS = {"metal": (_HERE / "metal_words.h").read_text(), "cuda": (_HERE / "cuda_words.h").read_text()}


@dataclass(frozen=True)
class Source:
    """The body of a kernel in Metal's words."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: str
    header: str = ""
    strided: bool = False
    """Whether the body follows its inputs' strides; otherwise MLX copies an input that is not row-contiguous."""
    metal_only: bool = False
    """Whether only Metal takes it. The file's name says so, because a variant's identity on CUDA leaves it out."""


class Launch(NamedTuple):
    """One launch: `grid` counts threads, `template` gives the body's types and numbers."""

    source: Source
    inputs: Sequence[mx.array]
    output_shapes: Sequence[tuple[int, ...]]
    output_dtypes: Sequence[mx.Dtype]
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    template: Sequence[tuple[str, mx.Dtype | int | bool]]


Run = Callable[[Launch], list[mx.array]]


def read_source(
    folder: Path, name: str, inputs: Sequence[str], outputs: Sequence[str], header: str = "", strided: bool = False
) -> Source:
    """Read `<name>.gpu`, the body of a kernel that Metal and CUDA take, from `folder`."""
    path = folder / f"{name}.gpu"
    if not path.is_file() and path.with_suffix(".metal").is_file():
        raise ImportError(f"{name}.metal: is Metal's alone by its name; a body for CUDA too is {path.name}")
    return Source(name, tuple(inputs), tuple(outputs), path.read_text(), header, strided)


def read_metal(folder: Path, name: str, inputs: Sequence[str], outputs: Sequence[str], header: str = "") -> Source:
    """Read `<name>.metal`, the body of a kernel that Metal alone takes, from `folder`."""
    text = (folder / f"{name}.metal").read_text()
    return Source(name, tuple(inputs), tuple(outputs), text, header, metal_only=True)


def check_taken(source: Source, backend: str) -> None:
    """Raise Unavailable where the body is not the backend's."""
    if source.metal_only and backend != "metal":
        raise Unavailable(f"{source.name}.metal is Metal's alone; one for {backend} too is named {source.name}.gpu")


@functools.cache
def _kernel(source: Source, backend: str) -> Any:
    # Once a process: MLX compiles once for each object, template and set of dtypes.
    check_taken(source, backend)
    make = mx.fast.metal_kernel if backend == "metal" else mx.fast.cuda_kernel
    return make(
        name=source.name,
        input_names=list(source.inputs),
        output_names=list(source.outputs),
        # MLX looks for names such as `x_shape` in the text: what a comment says must not change what runs.
        source=short(source.body),
        header=WORDS[backend] + source.header,
        ensure_row_contiguous=not source.strided,
    )


def runner(backend: str) -> Run:
    """Return what runs a launch on `backend`, "metal" or "cuda", lazily as every operation of MLX."""

    def run(launch: Launch) -> list[mx.array]:
        outputs: list[mx.array] = _kernel(launch.source, backend)(
            inputs=launch.inputs,
            template=launch.template,
            grid=launch.grid,
            threadgroup=launch.threadgroup,
            output_shapes=launch.output_shapes,
            output_dtypes=launch.output_dtypes,
        )
        return outputs

    return run


def why_not(backend: str) -> str | None:
    """Return why no GPU source runs on `backend` here, in one sentence, or None."""
    if backend == "metal" and not mx.metal.is_available():
        return "needs a Mac with Apple silicon and MLX's Metal backend"
    if backend == "cuda" and not mx.cuda.is_available():
        return "needs an NVIDIA GPU and mlx[cuda13]"
    return None


def architecture() -> str:
    """Return what the device calls the GPU's architecture, as `applegpu_g16s`; empty where it has no name for it."""
    return str(mx.device_info(mx.default_device()).get("architecture", ""))


def require(kernel: str, request: BindRequest) -> None:
    """Raise Unavailable where no GPU source runs on the backend that is asked for."""
    reason = why_not(request.backend)
    if reason is not None:
        raise Unavailable(f"{kernel}.{request.mode} on {request.backend} {reason}")
