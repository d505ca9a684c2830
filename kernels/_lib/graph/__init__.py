"""Launches that are put together once and started as one CUDA graph: a C++ extension for MLX's CUDA backend.

`load()` returns the extension module; it never compiles. `python kernels/_lib/graph/build.py` does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

from ..extension import Extension
from ..extension import NotBuilt as NotBuilt
from .headers import TO_BUILD, cuda_include


def _to_run() -> str:
    import mlx.core as mx

    if not mx.cuda.is_available():
        return "the decode graph needs an NVIDIA GPU and mlx[cuda13]"
    if cuda_include("cuda_bf16.h") is None:
        return "the decode graph needs CUDA's headers (pip install 'mlx[cuda13]', or set CUDA_HOME)"
    return ""


def _to_build() -> str:
    if cuda_include(*TO_BUILD) is None:
        return "CUDA's headers are missing (pip install 'mlx[cuda13]' nvidia-cuda-crt)"
    return ""


EXTENSION = Extension(
    "the decode graph is",
    "_zmlx_graph",
    Path(__file__).resolve().parent,
    "graph",
    "ZMLX_GRAPH_DIR",
    to_run=_to_run,
    to_build=_to_build,
)
missing = EXTENSION.missing


@cache
def load() -> ModuleType:
    """The extension module; raise NotBuilt where there is no build for this mlx, these sources and this Python."""
    return EXTENSION.load()
