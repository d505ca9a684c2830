"""Runs a launch of a CUDA-only source in the shim, changes it for planted errors, and says how far off it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from tests.kernels.experts import doubles
from tests.shim.run import run_kernel

ERROR = {"tensor cores": 0.008, "slots": 0.03, "fp32": 0.004}
"""Root mean square error over that of the exact values: roundings of weights, sums and outputs to 8 bits."""


def run(launch: Any, *inputs: mx.array) -> list[mx.array]:
    """Run a launch in the shim and return its outputs."""
    source, threads = launch.source, launch.threads
    return run_kernel(
        source.body,
        f'#include "cuda_device.h"\n{source.header}',
        inputs=dict(zip(source.inputs, inputs, strict=True)),
        outputs=dict(zip(source.outputs, launch.outputs, strict=True)),
        grid=(launch.blocks[0] * threads, launch.blocks[1], 1),
        threadgroup=(threads, 1, 1),
        template=list(launch.template.items()),
        words="cuda",
    )


def changed(launch: Any, right: str, wrong: str) -> Any:
    """Return the launch with one place of its body or header changed."""
    source = launch.source
    assert (source.body + source.header).count(right) == 1, right
    body, header = source.body.replace(right, wrong), source.header.replace(right, wrong)
    return launch._replace(source=replace(source, body=body, header=header))


def error(ours: mx.array, exact: np.ndarray[Any, Any]) -> float:
    off = doubles(ours) - exact
    return float(np.sqrt((off**2).mean() / (exact**2).mean())) if np.isfinite(off).all() else np.inf
