"""Runs a kernel's launch in the shim, in both forms of its source, and changes sources for planted errors."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.shim.run import ShimError, run_kernel
from tests.shim.source import Words
from zmlx_bench.measured import loader

FORMS: tuple[Words, ...] = ("metal", "cuda")

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
_launch: Any = importlib.import_module("zmlx_kernels._lib.gpu.launch")


def module(path: str) -> Any:
    """Import `zmlx_kernels.<path>` as the patch layer does."""
    return importlib.import_module(f"zmlx_kernels.{path}")


def run(launch: Any, words: Words, buffers: dict[str, mx.array] | None = None) -> list[mx.array]:
    """Run a launch with the words of Metal or of CUDA; raises ShimError. `buffers` as with `run_kernel`."""
    source = launch.source
    return run_kernel(
        source.body,
        _launch.WORDS[words] + source.header,
        inputs=dict(zip(source.inputs, launch.inputs, strict=True)),
        outputs={
            name: (shape, dtype)
            for name, shape, dtype in zip(source.outputs, launch.output_shapes, launch.output_dtypes, strict=True)
        },
        grid=launch.grid,
        threadgroup=launch.threadgroup,
        template=launch.template,
        words=words,
        buffers=buffers,
    )


def mutated(launch: Any, right: str, wrong: str) -> Any:
    """Return the launch with one place of its source changed; the text must stand there exactly once."""
    assert launch.source.body.count(right) == 1, right
    return launch._replace(source=replace(launch.source, body=launch.source.body.replace(right, wrong)))


def same(a: mx.array, b: mx.array) -> bool:
    """Whether dtype, shape and every value are equal."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(mx.array_equal(a, b).item())


def passes(launch: Any, expected: list[mx.array], words: Words, buffers: dict[str, mx.array] | None = None) -> bool:
    """Whether the launch runs and gives `expected`."""
    try:
        return all(same(got, right) for got, right in zip(run(launch, words, buffers), expected, strict=True))
    except ShimError:
        return False


def settle(words: Words, launches: list[Any] | None = None) -> Any:
    """What settles a launch in the shim as `gpu.settle.settler` does on a GPU; `launches` gets each one that runs."""

    def settled(launch: Any) -> Any:
        def call(inputs: Any, output_shapes: Any = None) -> list[mx.array]:
            ready = launch._replace(inputs=inputs, output_shapes=output_shapes or launch.output_shapes)
            if launches is not None:
                launches.append(ready)
            return run(ready, words)

        return call

    return settled
