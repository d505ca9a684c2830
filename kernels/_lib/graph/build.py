"""Builds the graph extension for the mlx of the running interpreter: `python kernels/_lib/graph/build.py`.

Beside what every extension needs, it needs the headers of CUDA 13 (NVIDIA's wheels suffice), but no nvcc.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from zmlx_bench.measured import loader


def main() -> int:
    """Command line; returns the exit code."""
    loader.open_kernels(Path(__file__).resolve().parents[2])
    graph, extension, headers, build = (
        importlib.import_module(f"{loader.PACKAGE}._lib.{name}")
        for name in ("graph", "extension", "graph.headers", "extension.build")
    )
    return int(
        build.main(
            graph.EXTENSION,
            [
                f"ZMLX_MLX={headers.package('mlx')}",
                f"ZMLX_MLX_VERSION={extension.MLX_VERSION}",
                f"ZMLX_CUDA_INCLUDE={headers.cuda_include(*headers.TO_BUILD)}",
            ],
        )
    )


if __name__ == "__main__":
    sys.exit(main())
