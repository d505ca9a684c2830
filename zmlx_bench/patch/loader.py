"""Moved to `zmlx_bench.measured.loader`; this name goes with version 0.3."""

import warnings

from zmlx_bench.measured.loader import load_bind, open_kernels

__all__ = [
    "load_bind",
    "open_kernels",
]

warnings.warn("zmlx_bench.patch.loader has moved to zmlx_bench.measured.loader", DeprecationWarning, stacklevel=2)
