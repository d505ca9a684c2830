"""Moved to `zmlx_bench.measured.api`; this name goes with version 0.3."""

import warnings

from zmlx_bench.measured.contract import Binding, BindRequest, Split, Steps, Unavailable

__all__ = [
    "BindRequest",
    "Binding",
    "Split",
    "Steps",
    "Unavailable",
]

warnings.warn("zmlx_bench.patch.contract has moved to zmlx_bench.measured.api", DeprecationWarning, stacklevel=2)
